"""Waiting for JAX's results in the program's place, so that an op ends when its work is done."""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from tinytrace.tracer.records import Flag

MOST_WAIT_S = 5.0  # at the end of the recording, for work that the program never waited for


class Watcher:
    """A thread that waits for arrays and ends spans; it is started when it is needed.

    It is no thread of `threading`, where the program would find it.

    Args:
        recorder: of this recording.
        wait: waits for an array, without the interpreter's lock.
        is_ready: whether that would return at once.
    """

    def __init__(
        self, recorder: Any, wait: Callable[[Any], Any], is_ready: Callable[[Any], bool]
    ) -> None:
        """Start nothing yet."""
        self._recorder = recorder
        self._wait = wait
        self._is_ready = is_ready
        self._queue: SimpleQueue[tuple[int, list[Any]] | None] = SimpleQueue()
        self._done: _thread.LockType | None = None
        self._process = os.getpid()

    def end_when_ready(self, token: int, arrays: list[Any]) -> None:
        """End a span when these arrays are ready: at once if they are.

        An array that was donated to another call before it was ready cannot be asked: its op counts as
        one that did not end normally.
        """
        if all(map(self._is_ready, arrays)):
            self._recorder.end(token, 0)
            return
        if self._done is None:
            self._done = _thread.allocate_lock()
            self._done.acquire()
            _thread.start_new_thread(self._run, (self._done,))
        self._queue.put((token, arrays))

    def stop(self) -> None:
        """End the thread, when what it waits for is ready; what takes too long is left open.

        A forked process has no such thread.
        """
        done, self._done = self._done, None
        if done is not None and self._process == os.getpid():
            self._queue.put(None)
            done.acquire(timeout=MOST_WAIT_S)

    def _run(self, done: _thread.LockType) -> None:
        try:
            while (item := self._queue.get()) is not None:
                token, arrays = item
                flags = 0
                while arrays:
                    try:
                        self._wait(arrays.pop())
                    except (
                        Exception
                    ):  # deleted, or its computation failed: the program is told as ever
                        flags = Flag.RAISED
                self._recorder.end(token, flags)
                del item
        finally:
            done.release()

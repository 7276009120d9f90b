"""Waiting for JAX's results in the program's place, so that an op ends when its work is done."""

from __future__ import annotations

import _thread
import os
import struct
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from tinytrace.tracer.records import Entry, Flag, Kind

MOST_WAIT_S = 5.0  # at the end of the recording, for work that the program never waited for
THREAD_NAME = "JAX, until results are ready"


class Call(NamedTuple):
    """A call that has returned: label of its op, call site, when it began, and its results."""

    label: int
    site: int
    start_ns: int
    arrays: list[Any]


class Watcher:
    """A thread that waits for arrays and has the ops on its track; it is started when it is needed.

    It is no thread of `threading`, where the program would find it.

    Args:
        recorder: of this recording, the compiled one.
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
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._done: _thread.LockType | None = None
        self._process = os.getpid()

    def returned(self, token: int, dispatch: int, label: int, arrays: list[Any]) -> None:
        """Make an op of a call: of its span, which ends, if its results are ready; else one that lasts until they are.

        That one begins with the call, or when the results of the call before it were ready: what is computed
        one after the other adds up to the time that it took.

        Args:
            token: of the span of the call, which is open.
            dispatch: its label as that.
            label: of the op.
            arrays: the results.
        """
        if all(map(self._is_ready, arrays)):
            self._recorder.become(token, Kind.LABELLED_OP, label)
            self._recorder.end(token, 0)
            return
        site, start_ns = self._recorder.become(token, Kind.SPAN, dispatch)
        self._recorder.end(token, 0)
        if not start_ns:
            return  # the recording has ended meanwhile
        if self._done is None:
            self._done = _thread.allocate_lock()
            self._done.acquire()
            _thread.start_new_thread(self._run, (self._done,))
        self._queue.put(Call(label, site, start_ns, arrays))

    def stop(self) -> None:
        """End the thread, when what it waits for is ready; what takes too long is left open.

        A forked process has no such thread.
        """
        done, self._done = self._done, None
        if done is not None and self._process == os.getpid():
            self._queue.put(None)
            done.acquire(timeout=MOST_WAIT_S)

    def _run(self, done: _thread.LockType) -> None:
        begin, end = self._recorder.begin_at, self._recorder.end
        named, free_ns = False, 0
        try:
            while (call := self._queue.get()) is not None:
                token = begin(Kind.LABELLED_OP, call.label, call.site, max(call.start_ns, free_ns))
                if token and not named:
                    named = True
                    self._name(token)
                flags = self._wait_for(call.arrays)
                end(token, flags)
                free_ns = time.monotonic_ns()
                del call  # and its arrays
        finally:
            done.release()

    def _wait_for(self, arrays: list[Any]) -> int:
        """Wait; an array that was donated to another call before it was ready cannot be asked: the op did not end."""
        flags = 0
        while arrays:
            try:
                self._wait(arrays.pop())
            except Exception:  # or its computation failed: the program is told as ever
                flags = Flag.RAISED
        return flags

    def _name(self, token: int) -> None:
        """Name the track; the number of a thread in the recording is in the tokens of its spans."""
        head = struct.pack("<IQ", (token - 1) >> 40, _thread.get_native_id())
        self._recorder.put(Entry.THREAD, head + THREAD_NAME.encode())

"""The lines of spans written by a thread of the compiled core, while the rest of the file is being made."""

from __future__ import annotations

import os
import stat
from types import ModuleType, TracebackType
from typing import Any, BinaryIO

import numpy as np

from tinytrace.analysis import chrome_lines
from tinytrace.exporters.chrome_spans import SpanLines
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.trace import Trace

REPORT_S = 0.1  # how often progress is told


class SpanWriter:
    """Writes the lines of the spans of a trace to a file, behind the caller's back where that can be done.

    A context: at its end, whatever ends it, nothing writes to the file any more.

    Args:
        trace: whose spans.
        ids: the ids of its tracks.
        out: where to, from its present end on.

    Attributes:
        is_behind: a thread has begun to write; otherwise `finish` does all the work.
    """

    def __init__(self, trace: Trace, ids: Tracks, out: BinaryIO) -> None:
        self._trace, self._ids, self._out = trace, ids, out
        self._job: Any = None
        self._native: ModuleType | None = chrome_lines.compiled()
        self.is_behind = False

    def __enter__(self) -> SpanWriter:
        """Begin."""
        lines = SpanLines(self._trace, self._ids)
        if self._native is not None and lines.few_texts and _is_plain_file(self._out):
            self._out.flush()
            self._job = _started(self._native, lines, self._out.fileno())
        self.is_behind = self._job is not None
        return self

    def finish(self, progress: Progress | None) -> None:
        """Return when all lines are in the file.

        Raises:
            OSError: they cannot be written.
        """
        if self._native is None or self._job is None:
            self._out.writelines(SpanLines(self._trace, self._ids).all(progress))
            return
        ended, patience_s = False, 0.0
        while not ended:
            ended, rows = self._native.json_write_wait(self._job, patience_s)
            if progress is not None:
                progress(rows / max(1, len(self._trace.spans)))
            patience_s = REPORT_S

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Stop the thread, if it has not ended."""
        if self._native is not None and self._job is not None:
            self._native.json_write_stop(self._job)


def _is_plain_file(out: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(out.fileno()).st_mode)
    except OSError:  # of memory
        return False


def _started(native: ModuleType, lines: SpanLines, fd: int) -> Any:
    """Start a thread that writes all lines; None: the system lets us have none."""
    start_ns, dur_ns, step = lines.columns()
    key = np.zeros(len(step), "i4")
    texts: list[bytes] = [b""]
    ranges: list[tuple[int, int]] = [(0, 0)]
    n_keys = 0
    for rows in lines.ranges():
        for part in lines.parts(rows):
            if isinstance(part, bytes):
                texts.append(part)
                ranges.append((rows.start, rows.start))
            elif isinstance(part, slice):
                if ranges[-1][0] != ranges[-1][1]:
                    texts.append(b"")
                    ranges.append((0, 0))
                ranges[-1] = (part.start, part.stop)
            else:
                numbers, index = part
                key[rows] = np.array(numbers, "i4")[index]
                n_keys = max(n_keys, *(k + 1 for k in numbers))
    rests = tuple(lines.rest(k) for k in range(n_keys))
    table = np.array(ranges, "i8")
    try:
        return native.json_write_start(fd, tuple(texts), table, rests, start_ns, dur_ns, key, step)
    except (OSError, ValueError):  # no thread for us; a line of a megabyte
        return None

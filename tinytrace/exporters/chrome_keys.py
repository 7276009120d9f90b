"""What is the same for many spans: their key, and the rest of their line in the file.

All spans that agree in everything but time and step (and rarely parent and flows) share a key. Its
text is rendered once, and a table in the file says what each key stands for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis.chrome_tables import KEY_DTYPES
from tinytrace.analysis.counting import count_trace
from tinytrace.exporters.chrome_text import CATEGORIES, shown
from tinytrace.exporters.span_keys import MAX_CACHED, Figures, distinct_rows
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


class Line(NamedTuple):
    """The rest of a span's line, from ``"k":`` on: its arguments, and what follows them."""

    arguments: bytes
    tail: bytes

    @property
    def rest(self) -> bytes:
        """Both, and the end of the line."""
        return self.arguments + self.tail + b"},\n"


class Keys:
    """Numbers the keys of a trace in the order in which the file meets them.

    Args:
        trace: whose spans.
        tracks: the ids of its threads.
    """

    def __init__(self, trace: Trace, tracks: Tracks) -> None:
        self._trace = trace
        self._tracks = tracks
        self._counts = count_trace(trace)
        self._columns = [getattr(trace.spans, name) for name in KEY_DTYPES]
        self._numbers: dict[tuple[int, ...], int] = {}
        self._lines: dict[int, Line] = {}

    def of_rows(self, rows: slice) -> tuple[dict[str, Any] | None, list[int], NDArray[np.int32]]:
        """Find the keys of these spans.

        Returns:
            The piece of the table of keys that is new (None: nothing is), the numbers of the keys that occur,
            and per span its index in them.
        """
        figures = Figures.of(self._counts, rows)
        columns = [*(column[rows] for column in self._columns), figures.state]
        first_rows, index = distinct_rows(columns)
        found = [tuple(int(c[row]) for c in columns) for row in first_rows.tolist()]
        first_new = len(self._numbers)
        numbers = [self._numbers.setdefault(key, len(self._numbers)) for key in found]
        new = [key for key, k in zip(found, numbers, strict=True) if k >= first_new]
        if len(self._lines) > MAX_CACHED:
            self._lines.clear()
        for row, k in zip(first_rows.tolist(), numbers, strict=True):
            if k not in self._lines:
                self._lines[k] = self._line(k, rows.start + row, figures)
        part = {
            "name": "keys",
            "first": first_new,
            "columns": {name: [key[i] for key in new] for i, name in enumerate(KEY_DTYPES)},
        }
        return part if new else None, numbers, index

    def line(self, k: int) -> Line:
        """Return the text of a key that `of_rows` has just found."""
        return self._lines[k]

    def _line(self, k: int, row: int, figures: Figures) -> Line:
        """Render the text of a key, of which this span is one."""
        trace, spans = self._trace, self._trace.spans
        kind, thread = int(spans.kind[row]), int(spans.thread[row])
        given, own = figures.span_arguments(row)
        tail = {
            "cat": CATEGORIES[Kind(kind)],
            "name": shown(trace.strings[spans.name_id[row]]),
            "pid": self._tracks.thread_pids[thread],
            "tid": self._tracks.thread_tids[thread],
        }
        text = orjson.dumps({"k": k} | given | own)[1:-1]
        return Line(text, b"}," + orjson.dumps(tail)[1:-1])

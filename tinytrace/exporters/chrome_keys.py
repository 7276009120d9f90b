"""What is the same for many spans: their key, and the rest of their line in the file.

All spans that agree in everything but time and step (and rarely parent and flows) share a key. Its
text is rendered once, and a table in the file says what each key stands for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis.chrome_tables import KEY_DTYPES, KEY_NAMES
from tinytrace.analysis.counting import ALL, FIGURES, TraceCounts, count_trace
from tinytrace.analysis.spans import numbered_keys, span_keys
from tinytrace.exporters.chrome_text import CATEGORIES, shown, viewable
from tinytrace.exporters.span_keys import MAX_CACHED, Figures, in_order
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


class Line(NamedTuple):
    """The rest of a span's line, from ``"":`` on: its arguments, and what follows them."""

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
        counts = count_trace(trace)
        self._groups = numbered_keys([span_keys(trace.spans).of, _state(counts)])
        self._figures = Figures.of(counts, self._groups.first)
        self._numbers: dict[int, int] = {}  # of a key, by its group
        self._lines: dict[int, Line] = {}

    def __len__(self) -> int:
        """How many keys the trace has."""
        return len(self._groups.first)

    def of_rows(self, rows: slice) -> tuple[dict[str, Any] | None, list[int], NDArray[np.int32]]:
        """Find the keys of these spans.

        Returns:
            The piece of the table of keys that is new (None: nothing is), the numbers of the keys that occur,
            and per span its index in them.
        """
        groups = self._groups.of[rows]
        first_rows, index = in_order(groups)
        found = groups[first_rows].tolist()
        first_new = len(self._numbers)
        numbers = [self._numbers.setdefault(group, len(self._numbers)) for group in found]
        new = [group for group, k in zip(found, numbers, strict=True) if k >= first_new]
        if len(self._lines) > MAX_CACHED:
            self._lines.clear()
        for group, k in zip(found, numbers, strict=True):
            if k not in self._lines:
                self._lines[k] = self._line(k, group)
        examples = self._groups.first[new]
        columns = {name: getattr(self._trace.spans, name)[examples].tolist() for name in KEY_DTYPES}
        part = {"name": "keys", "first": first_new, "columns": columns}
        return part if new else None, numbers, index

    def line(self, k: int) -> Line:
        """Return the text of a key that `of_rows` has just found."""
        return self._lines[k]

    def _line(self, k: int, group: int) -> Line:
        """Render the text of a key, which the spans of this group have."""
        trace, spans = self._trace, self._trace.spans
        row = int(self._groups.first[group])
        kind, thread = int(spans.kind[row]), int(spans.thread[row])
        given, own = self._figures.span_arguments(row, group)
        tail = {
            "cat": CATEGORIES[Kind(kind)],
            "name": shown(trace.strings[spans.name_id[row]]),
            "pid": self._tracks.thread_pids[thread],
            "tid": self._tracks.thread_tids[thread],
        }
        text = viewable(orjson.dumps({KEY_NAMES[0]: k} | given | own)[1:-1])
        return Line(text, b"}," + viewable(orjson.dumps(tail)[1:-1]))


def _state(counts: TraceCounts) -> NDArray[Any]:
    """Per span what tells spans of one key apart whose figures are written differently."""
    if all(counts.inside_declared(figure) is None for figure in FIGURES):
        return counts.leaf
    return Figures.of(counts, ALL).state

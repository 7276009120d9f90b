"""What is the same for many spans, and the arguments that viewers show with a span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.chrome_tables import KEY_NAMES
from tinytrace.analysis.counting import FIGURES, UNCOUNTED, Figure, Rows, TraceCounts
from tinytrace.exporters.chrome_text import callsite, shown_arguments, shown_value
from tinytrace.tracer.groups import numbered
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

MAX_CACHED = 50_000  # texts of keys
RESERVED = frozenset({*KEY_NAMES, "step", "parent", "dur_ns"})


@dataclass(frozen=True)
class Figures:
    """FLOPs and bytes that each of some spans adds to the sum over the file.

    Attributes:
        trace: whose spans.
        counts: of its signatures.
        flops, bytes: int64 per span; −1: none, which is written as null: not known, or other spans have
            them (ops inside this one; an op around it whose figures its author gave).
        leaf: per span: an op without ops inside.
    """

    trace: Trace
    counts: TraceCounts
    flops: NDArray[np.int64]
    bytes: NDArray[np.int64]
    leaf: NDArray[np.bool_]

    @classmethod
    def of(cls, counts: TraceCounts, rows: Rows) -> Figures:
        """Return those of some spans."""
        flops, moved = (_written(counts, figure, rows) for figure in FIGURES)
        return cls(counts.trace, counts, flops, moved, counts.leaf[rows])

    @property
    def state(self) -> NDArray[np.uint8]:
        """Per span, bits: an op without ops inside; no FLOPs; no bytes."""
        unknown = (self.flops < 0).astype("u1") << 1 | (self.bytes < 0).astype("u1") << 2
        state: NDArray[np.uint8] = self.leaf.astype("u1") | unknown
        return state

    def span_arguments(self, row: int, at: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a span says but its step: the program's own arguments, and ours, which hide none.

        An argument of the program whose name is taken is called ``args.<name>``.

        Args:
            row: of the span in the trace.
            at: its place among these spans.
        """
        trace, spans = self.trace, self.trace.spans
        flags, callsite_id = int(spans.flags[row]), int(spans.callsite_id[row])
        args_id = int(spans.args_id[row])
        own = self._op_arguments(row, at) if spans.kind[row] == Kind.OP else {}
        if callsite_id >= 0:
            own["callsite"] = callsite(trace.strings, trace.frames, callsite_id)
        for flag, word in ((Flag.OPEN, "open"), (Flag.RAISED, "raised")):
            if flags & flag:
                own[word] = True
        given = {}
        for word, value in (
            shown_arguments(trace.strings[args_id]) if args_id >= 0 else {}
        ).items():
            if word not in own or own[word] != value:
                taken = word in own or word in RESERVED
                given[f"args.{word}" if taken else word] = value
        return given, own

    def _op_arguments(self, row: int, at: int) -> dict[str, Any]:
        """Return what an op says: figures, shapes and dtypes, inputs first."""
        flops, moved = int(self.flops[at]), int(self.bytes[at])
        arguments: dict[str, Any] = {
            "flops": flops if flops >= 0 else None,
            "bytes": moved if moved >= 0 else None,
        }
        signature_id = int(self.trace.spans.signature_id[row])
        leaf = bool(self.leaf[at])
        if not leaf:
            arguments["ops_inside"] = True
        if signature_id < 0:
            return arguments
        signature = self.trace.signatures[signature_id]
        transcendentals = self.counts.signatures[signature_id].transcendentals
        if transcendentals and leaf and flops >= 0:
            arguments["transcendentals"] = transcendentals
        arguments["shapes"] = [list(o.shape) for o in signature.operands]
        arguments["dtypes"] = [o.dtype for o in signature.operands]
        if "->" in signature.attributes:  # einsum; shapes tell what axis= and the like do
            arguments["attributes"] = signature.attributes
        shown_ones: dict[str, Any] = shown_value(arguments)
        return shown_ones


def _written(counts: TraceCounts, figure: Figure, rows: Rows) -> NDArray[np.int64]:
    elsewhere, own = counts.elsewhere(figure, rows), counts.per_span(figure, rows)
    return np.where(elsewhere, UNCOUNTED, own).astype("i8")


def distinct_rows(columns: list[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct rows: where each occurs first, in that order, and per row its index in them."""
    code = np.zeros(len(columns[0]), "i8")
    values = 1  # codes are below this
    for column in columns:
        lowest, highest = int(column.min()), int(column.max())
        width = highest - lowest + 1
        if values * width > 2**62:
            code = numbered(code)[1]
            values = int(code.max()) + 1
        if width > 1:
            code = code * width + (column.astype("i8") - lowest)
            values *= width
    return in_order(code)


def in_order(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct values: where each occurs first, in that order, and per row its index in them."""
    first, index = numbered(values)
    order = np.argsort(first)
    rank = np.empty(len(order), "i4")
    rank[order] = np.arange(len(order))
    return first[order], rank[index]

"""What stays the same however spans are summed up."""

from __future__ import annotations

from tinytrace.analysis.budget import GROUP
from tinytrace.analysis.spans import self_ns
from tinytrace.tracer.trace import Trace


def totals(trace: Trace) -> dict[tuple[object, ...], tuple[int, ...]]:
    """Count, total and self time per group, over spans and aggregates, one by one."""
    found: dict[tuple[object, ...], list[int]] = {}
    spans, folded = trace.spans, trace.aggregates
    own_ns = self_ns(spans)

    def add(table: object, row: int, figures: tuple[int, ...]) -> None:
        name_id, *rest = (int(getattr(table, name)[row]) for name in GROUP)
        sums = found.setdefault((trace.strings[name_id], *rest), [0, 0, 0])
        for place, figure in enumerate(figures):
            sums[place] += figure

    for row in range(len(spans)):
        add(spans, row, (1, int(spans.dur_ns[row]), int(own_ns[row])))
    for row in range(len(folded)):
        names = ("count", "total_ns", "self_ns")
        add(folded, row, tuple(int(getattr(folded, name)[row]) for name in names))
    return {group: tuple(sums) for group, sums in found.items()}

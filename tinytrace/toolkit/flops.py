"""What a model computes, counted by running it once: `count_flops`."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts, count_trace
from tinytrace.analysis.op_groups import layer_of
from tinytrace.errors import UsageError
from tinytrace.toolkit.calling import as_callable
from tinytrace.toolkit.layers import layers_marked
from tinytrace.tracer.annotate import span
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import Session
from tinytrace.tracer.trees import inherited

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

MARK = "tinytrace.count_flops"
ALL_SPANS = 2**31 - 1  # so many are read whole: nothing is summed up
NOTHING_SEEN = (
    "the model ran no operation of NumPy that was recorded: there is nothing to count (models of other libraries "
    "are not seen by the hooks of NumPy)"
)


class FlopCount(int):
    """FLOPs, as an int, and where they come from.

    A multiply-add is 2; docs/counting.md has all rules. What has no formula is not in the sum, and is named in
    ``uncounted``: the sum is then a lower bound, which `str` says.

    Attributes:
        by_op: FLOPs per operation, most first.
        by_layer: FLOPs per nearest layer around, most first: by the path that leads to it (``blocks.2.attn``), or by
            its name, if the model marks it (`tinytrace.span`); ``""``: in none.
        transcendentals: evaluations of exp, log, sqrt…; not contained in the FLOPs.
        bytes: compulsory traffic of the counted operations, in bytes.
        calls: operations that ran.
        uncounted: operations without a formula, with the number of their calls.
        coverage: share of the time in operations that is of counted ones, 0…1.
    """

    by_op: dict[str, int]
    by_layer: dict[str, int]
    transcendentals: int
    bytes: int
    calls: int
    uncounted: dict[str, int]
    coverage: float

    def __str__(self) -> str:
        """As people read it."""
        text = _with_prefix(int(self))
        return (
            f"at least {text} (not counted: {', '.join(self.uncounted)})"
            if self.uncounted
            else text
        )

    def __format__(self, spec: str) -> str:
        """As `str`; with a format, as an int."""
        return format(int(self), spec) if spec else str(self)

    def __repr__(self) -> str:
        """The number."""
        return f"FlopCount({int(self)})"


def _with_prefix(value: int) -> str:
    """Return a number with three digits and the prefix of the SI.

    >>> _with_prefix(2_359_296), _with_prefix(12)
    ('2.36 MFLOPs', '12 FLOPs')
    """
    for size, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}FLOPs"
    return f"{value} FLOPs"


def count_flops(model: Any, *inputs: Any, **keywords: Any) -> FlopCount:
    """Run a model once and count what it computed.

    Right for whatever runs on NumPy, since nothing is known about what layers compute: the operations that ran are
    counted, by their shapes. What threads compute that the model starts is counted as well.

    Args:
        model: is called as ``model(*inputs, **keywords)``; where it is no callable, its ``forward`` is.
        inputs: what it is called with.
        keywords: likewise.

    Raises:
        UsageError: it cannot be called, or ran no operation that was seen.
        Exception: whatever the model raises.

    Example:
        >>> w = np.ones((3, 4))
        >>> flops = count_flops(lambda x: x @ w, np.ones((2, 3)))
        >>> flops == 2 * 2 * 3 * 4, flops.by_op
        (True, {'matmul': 48})
    """
    return flops_of_call(model, functools.partial(as_callable(model), *inputs, **keywords))


def flops_of_call(model: Any, call: Callable[[], Any]) -> FlopCount:
    """Count what one call computes, as `count_flops` does.

    Args:
        model: whose layers are told apart.
        call: runs it.

    Raises:
        UsageError: it ran no operation that was seen.
        Exception: whatever the call raises.
    """
    if Session.is_recording():
        current = Session._current
        assert current is not None
        with layers_marked(model), span(MARK):
            call()
        with current.muted():
            from tinytrace.tracer.assemble import read_run

            return _counted(read_run(current.run_folder, ALL_SPANS))
    with tempfile.TemporaryDirectory(prefix="tinytrace-") as folder:
        options = Options(
            Path(folder) / "trace.json", sampler="none", children=False, hardware_counters="off"
        )
        session = Session(options, list(sys.argv))
        session.start()
        try:
            with layers_marked(model), span(MARK):
                call()
        finally:
            session.stop()
            session.release()
        return _counted(session.trace())


def _counted(trace: Trace) -> FlopCount:
    """Count what ran inside the last mark: below it, and in threads that began meanwhile."""
    counts = count_trace(trace)
    rows = np.flatnonzero(_inside(trace) & (trace.spans.kind == Kind.OP))
    if not len(rows):
        raise UsageError(NOTHING_SEEN)
    flops = counts.per_span("flops", rows)
    result = FlopCount(_sum(flops))
    spans = trace.spans
    names = spans.name_id[rows]
    result.by_op = _by(trace, names, flops)
    result.by_layer = _by(trace, _layers(trace)[rows], flops)
    transcendentals = _transcendentals(counts, rows)
    result.transcendentals = _sum(transcendentals)
    result.bytes = _sum(counts.per_span("bytes", rows))
    result.calls = len(rows)
    uncounted = names[flops < 0]
    ids, calls = np.unique(uncounted, return_counts=True)
    result.uncounted = {
        trace.strings[i]: n for i, n in zip(ids.tolist(), calls.tolist(), strict=True)
    }
    own_ns = counts.own_ns[rows]
    total_ns = int(own_ns.sum())
    result.coverage = float(own_ns[flops >= 0].sum() / total_ns) if total_ns else 1.0
    return result


def _inside(trace: Trace) -> NDArray[np.bool_]:
    spans = trace.spans
    marks = [i for i, text in enumerate(trace.strings) if text == MARK]
    found = np.flatnonzero(np.isin(spans.name_id, marks) & (spans.kind == Kind.SPAN))
    if not len(found):
        return np.zeros(len(spans), "?")
    mark = int(found[np.argmax(spans.start_ns[found])])
    own = np.where(np.arange(len(spans)) == mark, 1, -1).astype("i8")
    inside = np.asarray(inherited(own, spans.parent)) == 1
    first_ns = np.full(len(trace.threads), np.iinfo("i8").max)
    np.minimum.at(first_ns, spans.thread, spans.start_ns)
    began_meanwhile = first_ns >= spans.start_ns[mark]
    return np.asarray(inside | began_meanwhile[spans.thread], "?")


def _layers(trace: Trace) -> NDArray[np.int64]:
    layers = layer_of(trace)
    marks = [i for i, text in enumerate(trace.strings) if text == MARK]
    return np.where(np.isin(layers, marks), -1, layers)


def _transcendentals(counts: TraceCounts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    per_signature = np.append(counts.transcendentals, 0)
    return np.where(
        counts.leaf[rows], per_signature[counts.trace.spans.signature_id[rows]], 0
    ).clip(min=0)


def _sum(figures: NDArray[np.int64]) -> int:
    return sum(figures[figures > 0].tolist())


def _by(trace: Trace, ids: NDArray[np.int64], flops: NDArray[np.int64]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for i in np.unique(ids).tolist():
        total = _sum(flops[ids == i])
        if total:
            sums[trace.strings[i] if i >= 0 else ""] = total
    return dict(sorted(sums.items(), key=lambda item: -item[1]))

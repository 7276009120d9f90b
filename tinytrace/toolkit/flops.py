"""What a model computes, counted by running it once: `count_flops`."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import Counts, TraceCounts, count, count_trace
from tinytrace.analysis.op_groups import layer_of
from tinytrace.errors import UsageError
from tinytrace.toolkit.calling import as_callable
from tinytrace.tracer.annotate import span
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import Session
from tinytrace.tracer.trees import inherited

if TYPE_CHECKING:
    from tinytrace.toolkit.torch_ops import TorchOp
    from tinytrace.tracer.trace import Signature, Trace

MARK = "tinytrace.count_flops"
ALL_SPANS = 2**31 - 1  # so many are read whole: nothing is summed up
NOTHING_SEEN = (
    "the model ran no operation of NumPy or PyTorch that was recorded: there is nothing to count (models of other "
    "libraries are not seen)"
)


class FlopCount(int):
    """FLOPs, as an int, and where they come from.

    A multiply-add is 2; docs/counting.md has all rules. What has no formula is not in the sum, and is named in
    ``uncounted``: the sum is then a lower bound, which `str` says.

    Attributes:
        by_op: FLOPs per operation, most first.
        by_layer: FLOPs, most first: of NumPy's operations per nearest span around (`tinytrace.span`), of PyTorch's
            per module (its path, ``blocks.2.attn``); ``""``: in none, in the model itself, or in a backward pass.
        transcendentals: evaluations of exp, log, sqrt…; not contained in the FLOPs.
        bytes: compulsory traffic of the counted operations, in bytes.
        calls: operations that ran.
        uncounted: operations without a formula, with the number of their calls.
        coverage: share of the time in operations that is of counted ones, 0…1; of those on a GPU, the time that
            launching them took.
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

    Right for whatever runs on NumPy or PyTorch, since nothing is known about layers: the operations that ran are
    counted, by their shapes. What threads compute that the model starts is counted as well (of PyTorch's operations,
    those of this thread alone). Gradients are on or off as they were: put the call in ``torch.no_grad()`` if so used.

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
        with _torch_ops(model) as torch_ops, span(MARK):
            call()
        with current.muted():
            from tinytrace.tracer.assemble import read_run

            return _counted(read_run(current.run_folder, ALL_SPANS), torch_ops)
    with tempfile.TemporaryDirectory(prefix="tinytrace-") as folder:
        options = Options(Path(folder) / "trace.json", sampler="none", children=False)
        session = Session(options, list(sys.argv))
        session.start()
        try:
            with _torch_ops(model) as torch_ops, span(MARK):
                call()
        finally:
            session.stop()
            session.release()
        return _counted(session.trace(), torch_ops)


def _torch_ops(model: Any) -> AbstractContextManager[list[TorchOp]]:
    """Note PyTorch's operations, where it was imported: nothing can run on it before."""
    if "torch" not in sys.modules:
        return nullcontext([])
    from tinytrace.toolkit.torch_ops import dispatched_ops

    return dispatched_ops(model)


@dataclass
class _Sum:
    """Costs of calls, added up."""

    flops: int = 0
    transcendentals: int = 0
    bytes: int = 0
    calls: int = 0
    ns: int = 0
    counted_ns: int = 0
    by_op: Counter[str] = field(default_factory=Counter)
    by_layer: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)

    def result(self) -> FlopCount:
        """What users get."""
        result = FlopCount(self.flops)
        result.by_op, result.by_layer = (dict(c.most_common()) for c in (self.by_op, self.by_layer))
        result.transcendentals, result.bytes = self.transcendentals, self.bytes
        result.calls, result.uncounted = self.calls, dict(self.uncounted)
        result.coverage = self.counted_ns / self.ns if self.ns else 1.0
        return result


def _counted(trace: Trace, torch_ops: list[TorchOp]) -> FlopCount:
    """Count what ran inside the last mark: below it, and in threads that began meanwhile; and PyTorch's operations."""
    total = _Sum()
    _add_recorded(trace, total)
    _add_dispatched(torch_ops, total)
    if not total.calls:
        raise UsageError(NOTHING_SEEN)
    return total.result()


def _add_recorded(trace: Trace, total: _Sum) -> None:
    counts = count_trace(trace)
    spans = trace.spans
    rows = np.flatnonzero(_inside(trace) & (spans.kind == Kind.OP))
    flops = counts.per_span("flops", rows)
    names = spans.name_id[rows]
    total.flops += _sum(flops)
    total.by_op.update(_by(trace, names, flops))
    total.by_layer.update(_by(trace, _layers(trace)[rows], flops))
    total.transcendentals += _sum(_transcendentals(counts, rows))
    total.bytes += _sum(counts.per_span("bytes", rows))
    total.calls += len(rows)
    ids, calls = np.unique(names[flops < 0], return_counts=True)
    for i, n in zip(ids.tolist(), calls.tolist(), strict=True):
        total.uncounted[trace.strings[i]] += n
    own_ns = counts.own_ns[rows]
    total.ns += int(own_ns.sum())
    total.counted_ns += int(own_ns[flops >= 0].sum())


def _add_dispatched(ops: list[TorchOp], total: _Sum) -> None:
    """Add PyTorch's operations: none of them lies in another one."""
    costs: dict[Signature, Counts] = {}
    for signature, layer, dur_ns in ops:
        cost = costs.get(signature)
        if cost is None:
            cost = costs[signature] = count(signature)
        total.calls += 1
        total.ns += dur_ns
        total.bytes += cost.bytes or 0
        if cost.flops is None:
            total.uncounted[signature.op] += 1
            continue
        total.counted_ns += dur_ns
        total.transcendentals += cost.transcendentals
        total.flops += cost.flops
        if cost.flops:
            total.by_op[signature.op] += cost.flops
            total.by_layer[layer] += cost.flops


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
    return sums

"""Where the steps of a run are: marked by the program, or found by themselves. docs/steps.md says how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.signature_roofs import BLAS
from tinytrace.analysis.spans import op_tree
from tinytrace.analysis.step_patterns import (
    INNER,
    Found,
    Loop,
    Sequence,
    find_loop,
    make_sequence,
    other_loops,
)
from tinytrace.tracer.groups import group_ids, numbered, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Spans, Trace
from tinytrace.tracer.trees import inherited

How = Literal["marks", "step numbers", "optimizer", "pattern"]
Confidence = Literal["certain", "high", "medium", "low"]
# Functions that are an optimizer's by their names: `Adam.step`, and `step` in optimizers.py. Environments,
# simulations and trainers have a `step` as well.
OPTIMIZER_NAMES = r"(?i:optim|adam|sgd|rmsprop|adagrad|adadelta|lbfgs|momentum|lion)\w*"
OPTIMIZERS = re.compile(rf"{OPTIMIZER_NAMES}\.(step|update)$")
# Python 3.10 tells a method's name without that of its class: there the file is all that can say it.
OPTIMIZER_FILES = re.compile(rf"(optim\w*|(^|[/\\]){OPTIMIZER_NAMES})\.py$")
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of one thread, in order of time. They do not overlap.

    Attributes:
        thread: row of ``Trace.threads``; −1: no steps.
        number: (n,) what `tinytrace.step` numbered them, else 0 … n − 1.
        start_ns, end_ns: (n,). A step that was found lasts to the beginning of the next one if nothing ran in
            between that is not part of a step, else to the end of its last op.
        how: ``marks`` of the program (`tinytrace.step`), ``step numbers`` of spans whose marks are not in the
            trace, ``optimizer`` (the loop in which one runs once) or ``pattern``; None: no steps.
        confidence: ``certain`` for what the program marked; None: no steps.
        reason: what speaks for it, and against; without steps, why there are none.
        missing: how many further steps are known as sums only (``aggregates``); None: not known.
    """

    thread: int
    number: Ints
    start_ns: Ints
    end_ns: Ints
    how: How | None
    confidence: Confidence | None
    reason: str
    missing: int | None = 0

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def dur_ns(self) -> Ints:
        """(n,) duration of each."""
        return self.end_ns - self.start_ns

    @property
    def are_sure(self) -> bool:
        """There are some, and not with low confidence: figures may go by them."""
        return len(self) > 0 and self.confidence != "low"

    def number_of(self, trace: Trace) -> Ints:
        """Return per span of the trace the number of the step in which it began, in whatever thread; −1: none."""
        spans = trace.spans
        if not len(self):
            return np.full(len(spans), -1)
        at = np.searchsorted(self.start_ns, spans.start_ns, "right") - 1
        process = trace.threads.process
        inside = (at >= 0) & (spans.start_ns < self.end_ns[at])
        inside &= process[spans.thread] == process[self.thread]
        return np.where(inside, self.number[at], -1)


def find_steps(trace: Trace) -> Steps:
    """Return the steps of the thread that has most of them, by time.

    Marks are believed. Without any, the ops of the thread with most op time are searched for the loop that
    they are made of (`tinytrace.analysis.step_patterns`).

    Args:
        trace: any trace.

    Example:
        >>> import numpy as np, tinytrace as tt
        >>> with tt.trace(sampler="none") as recording:
        ...     for _ in range(3):
        ...         with tt.step():
        ...             _ = np.ones(3) + 1
        >>> steps = find_steps(recording.result)
        >>> len(steps), steps.how
        (3, 'marks')
    """
    spans = trace.spans
    marks = np.flatnonzero((spans.kind == Kind.STEP) & (spans.flags & Flag.OPEN == 0))
    if len(marks):
        return _marked(trace, marks)
    if (spans.step >= 0).any():
        return _numbered(trace)
    return _found(trace)


def _none(reason: str) -> Steps:
    nothing = np.empty(0, "i8")
    return Steps(-1, nothing, nothing, nothing, None, None, reason)


def _busiest(thread: Ints, time_ns: Ints) -> int:
    """The thread with most time."""
    return int(np.argmax(sums(thread.astype("i8"), int(thread.max()) + 1, time_ns)))


def _marked(trace: Trace, marks: Ints) -> Steps:
    """Steps in which no further step is."""
    spans = trace.spans
    is_mark = np.zeros(len(spans), "?")
    is_mark[marks] = True
    up = spans.parent[marks].astype("i8")
    around = np.append(inherited(np.where(is_mark, np.arange(len(spans)), -1), spans.parent), -1)
    is_mark[around[up][around[up] >= 0]] = False
    marks = np.flatnonzero(is_mark)
    thread = _busiest(spans.thread[marks], spans.dur_ns[marks])
    marks = marks[spans.thread[marks] == thread]
    start_ns = spans.start_ns[marks].astype("i8")
    end_ns = start_ns + spans.dur_ns[marks]
    end_ns[:-1] = np.minimum(end_ns[:-1], start_ns[1:])  # those of coroutines may overlap
    folded = trace.aggregates
    missing = int(folded.count[(folded.kind == Kind.STEP) & (folded.thread == thread)].sum())
    number = spans.step[marks].astype("i8")
    return Steps(
        thread, number, start_ns, end_ns, "marks", "certain", "marked by the program", missing
    )


def _numbered(trace: Trace) -> Steps:
    spans = trace.spans
    rows = np.flatnonzero(spans.step >= 0)
    thread = _busiest(spans.thread[rows], spans.dur_ns[rows])
    rows = rows[spans.thread[rows] == thread]
    first, step = numbered(spans.step[rows])
    start_ns = np.full(len(first), np.iinfo("i8").max)
    np.minimum.at(start_ns, step, spans.start_ns[rows])
    end_ns = np.zeros(len(first), "i8")
    np.maximum.at(end_ns, step, spans.start_ns[rows] + spans.dur_ns[rows])
    order = np.argsort(start_ns, kind="stable")
    start_ns, end_ns = start_ns[order], end_ns[order]
    end_ns[:-1] = np.minimum(end_ns[:-1], start_ns[1:])
    return Steps(
        thread, spans.step[rows[first]].astype("i8")[order], start_ns, end_ns, "step numbers", "certain",
        "from the first to the last span of each number; the marks themselves are not in the trace", None,
    )  # fmt: skip


def _found(trace: Trace) -> Steps:
    spans = trace.spans
    rows = np.flatnonzero(op_tree(spans) == np.arange(len(spans)))
    if not len(rows):
        return _none("no marks, and no operations in which a loop could be seen")
    thread = _busiest(spans.thread[rows], spans.dur_ns[rows])
    rows = rows[spans.thread[rows] == thread]
    sequence = _sequence(trace, rows, thread)
    found = find_loop(sequence)
    if found is None:
        return _none("no marks, and no pattern of call sites repeats regularly enough")
    start_ns = sequence.start_ns[found.begin]
    end_ns = sequence.end_ns[found.end - 1]
    folded = trace.aggregates
    is_cut = bool(((folded.kind == Kind.OP) & (folded.thread == thread)).any())
    if is_cut:
        whole = _whole(sequence, found)
        start_ns, end_ns = start_ns[whole], end_ns[whole]
    else:
        follows = found.begin[1:] == found.end[:-1]
        end_ns[:-1] = np.where(follows, start_ns[1:], end_ns[:-1])
    confidence, reason = _trust(found, other_loops(sequence, found), is_cut)
    how: How = "optimizer" if found.loop.has_optimizer else "pattern"
    return Steps(
        thread, np.arange(len(start_ns)), start_ns, end_ns, how, confidence, reason, None if is_cut else 0
    )  # fmt: skip


def _sequence(trace: Trace, rows: Ints, thread: int) -> Sequence:
    """The outermost ops of one thread (these rows), as the search for loops wants them."""
    spans, frames = trace.spans, trace.frames
    site = spans.callsite_id[rows].astype("i8")
    function = np.append(group_ids([frames.name_id, frames.file_id])[0], -1)[site]
    by_name = np.append(np.array(_optimizer_frames(trace), "?"), False)[site]
    start_ns = spans.start_ns[rows].astype("i8")
    inside = _inside(spans, thread, start_ns)
    return make_sequence(
        site,
        spans.name_id[rows],
        function=function,
        optimizer=by_name | inside,
        update=_of_signatures(trace, rows, _is_update),
        product=_of_signatures(trace, rows, lambda signature: signature.op in BLAS),
        start_ns=start_ns,
        end_ns=start_ns + spans.dur_ns[rows],
    )


def _of_signatures(trace: Trace, rows: Ints, test: Callable[[Signature], bool]) -> Mask:
    """Whether the signature of each of these spans passes a test."""
    passed = np.array([*map(test, trace.signatures), False], "?")
    return np.asarray(passed[trace.spans.signature_id[rows]], "?")


def _is_update(signature: Signature) -> bool:
    """Whether a call looks like ``w -= rate * gradient``: in place, of arrays of one shape.

    A softmax subtracts in place, too, but a maximum of another shape.
    """
    if signature.op != "subtract" or len(signature.operands) != 3:
        return False
    target, other, result = signature.operands
    return result.alias == 0 and target.shape == other.shape and target.is_array


def is_optimizer(function: str, file: str) -> bool:
    """Return whether a function is an optimizer by its name, or by that of its file and ``step`` or ``update``.

    Args:
        function: its name, with that of its class where Python tells it.
        file: path.

    Example:
        >>> is_optimizer("Adam.step", "train.py"), is_optimizer("step", "/my/adam.py"), is_optimizer("step", "train.py")
        (True, True, False)
    """
    by_file = bool(OPTIMIZER_FILES.search(file)) and function.endswith(("step", "update"))
    return by_file or bool(OPTIMIZERS.search(function))


def _optimizer_frames(trace: Trace) -> list[bool]:
    """Per frame: it is in a function that is an optimizer's by its name."""
    frames, text = trace.frames, trace.strings
    known: dict[tuple[int, int], bool] = {}
    for key in zip(frames.name_id.tolist(), frames.file_id.tolist(), strict=True):
        if key not in known:
            known[key] = is_optimizer(*(text[i] if i >= 0 else "" for i in key))
    return [known[k] for k in zip(frames.name_id.tolist(), frames.file_id.tolist(), strict=True)]


def _inside(spans: Spans, thread: int, at_ns: Ints) -> Mask:
    """Whether each of these times, in order, is in an optimizer's span of the thread."""
    of = np.flatnonzero((spans.kind == Kind.OPTIMIZER) & (spans.thread == thread))
    change = np.zeros(len(at_ns) + 1, "i8")
    np.add.at(change, np.searchsorted(at_ns, spans.start_ns[of]), 1)
    np.add.at(change, np.searchsorted(at_ns, spans.start_ns[of] + spans.dur_ns[of]), -1)
    return np.asarray(np.cumsum(change[:-1]) > 0, "?")


def _whole(sequence: Sequence, found: Found) -> Mask:
    """Which steps were kept whole, in a trace of which ops were taken out.

    As far as can be told: they have as many ops as most have, and no gap that is longer than a usual step.
    """
    dur_ns = sequence.end_ns[found.end - 1] - sequence.start_ns[found.begin]
    size = found.end - found.begin
    gap = np.append(np.maximum(0, sequence.start_ns[1:] - sequence.end_ns[:-1]), 0)
    gap[found.end - 1] = 0  # behind a step, not in it
    long = np.append(0, np.cumsum(gap > max(1, np.median(dur_ns))))
    has_hole = long[found.end] > long[found.begin]
    return np.asarray((size == np.argmax(np.bincount(size))) & ~has_hole, "?")


def _trust(found: Found, others: dict[str, Loop], is_cut: bool) -> tuple[Confidence, str]:
    loop, rival = found.loop, found.rival
    same = f"{100 * loop.same:.0f} % of them run the same ops as often"
    reason = (
        f"{loop.count:,} repetitions; {same}; {100 * loop.coverage:.0f} % of op time is in such"
    )
    reason += ", each with one optimizer's step" if loop.has_optimizer else ""
    confidence: Confidence = "high" if loop.same >= 0.9 and loop.coverage >= INNER else "medium"
    if rival is not None:
        confidence = "low"
        inner = "they may be the inner loop of another"
        outer = "the steps may be a loop in them"
        reason += (
            f"; {inner if rival.count < loop.count else outer}, which ran {rival.count:,} times"
        )
    elif found.by_updates:
        confidence = "medium"
        reason += "; which loop it is, by where parameters are changed in place"
    for when, other in others.items():
        confidence = "low" if confidence == "low" else "medium"
        reason += f"; another loop, which ran {other.count:,} times {when} it, is in none of them"
    if is_cut:
        confidence = "low"
        reason += "; ops were aggregated, so that only steps that were kept whole can be seen"
    return confidence, reason

"""What a mechanical rewrite gains: both forms timed in turns, on operands of the signatures of a trace.

docs/verify.md says what that shows, and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinytrace.analysis.comparison import Verdict
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.in_turns import Bench, Outcome, clock_for, compared, timed
from tinytrace.analysis.op_groups import Grouping, OpGroup
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.paired import Interval
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.analysis.peaks_measure import SHARE_OF_MEMORY, available_bytes, blas_limit
from tinytrace.analysis.replay import NotRebuiltError, check, extent_bytes
from tinytrace.analysis.rewrites import REWRITES, Rewrite, can_be_rewritten
from tinytrace.analysis.verifiable import Asked, asked_for, parts_asked_for
from tinytrace.errors import UsageError
from tinytrace.tracer.groups import group_ids
from tinytrace.tracer.machine import numerics
from tinytrace.tracer.records import Layout
from tinytrace.tracer.session import Session
from tinytrace.tracer.trace import Operand, Signature, Trace

CONFIDENCE = 0.95  # of all intervals of one answer together
LEAST_SHARE = 0.001  # of the time of all ops: what is rarer gains nothing worth a line
# Memory per operand: its values as they are drawn, their cast, and in both forms, with results and copies of those.
COPIES = 6


@dataclass(frozen=True, slots=True)
class Verified:
    """One rewrite of one signature.

    Attributes:
        rewrite: its name, see `rewrites.REWRITES`.
        what, condition: in words.
        before, after: as code.
        operands: in words.
        group: the calls of this op with this signature.
        outcome: None: it was not measured.
        reason: why it was not.
    """

    rewrite: str
    what: str
    condition: str
    before: str
    after: str
    operands: str
    group: OpGroup
    outcome: Outcome | None
    reason: str | None = None

    @property
    def traced_ns(self) -> float:
        """What one call took in the trace, on average."""
        return self.group.self_ns / self.group.calls

    @property
    def saved_ns(self) -> Interval | None:
        """What all these calls would take less, if each gained what was measured; None: no gain was shown.

        Calls × time of one × (1 − 1 ÷ ratio), for the ends of the interval as well. The time of one is what it takes
        here or what it took in the trace, whichever is less: what made it slower in one of them may not be gained.
        """
        if self.outcome is None or self.outcome.speedup.verdict is not Verdict.FASTER:
            return None
        ratio = self.outcome.speedup.ratio
        spent_ns = self.group.calls * min(self.outcome.before_ns, self.traced_ns)
        shares = (1 - 1 / r for r in (ratio.estimate, ratio.low, ratio.high))
        return Interval(*(spent_ns * share for share in shares))


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` tells.

    Attributes:
        rows: the rewrites, those of the ops with most time first.
        n_candidates: how many there are in all.
        threads: of BLAS, while they were measured.
        cpu: where they were measured.
        same_machine: whether the trace was recorded there, with the same NumPy and BLAS; None: not known.
        confidence: of all intervals together.
    """

    rows: tuple[Verified, ...]
    n_candidates: int
    threads: int
    cpu: str
    same_machine: bool | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rewrite that applies to a signature of a trace."""

    rewrite: Rewrite
    signature: Signature
    group: OpGroup


def candidates(trace: Trace, asked: Asked | str | None = None) -> list[Candidate]:
    """Return the rewrites that apply to ops of a trace, those of the signatures with most time first.

    Args:
        trace: any trace.
        asked: for what, or a name as in `asked_for`; None: all.

    Raises:
        UsageError: there is nothing of that name.

    Example:
        >>> candidates(Trace())
        []
    """
    asked = asked if isinstance(asked, Asked) else asked_for(trace, asked)
    rewrites = [REWRITES[name] for name in asked.rewrites]
    parts = op_parts(count_trace(trace))
    mine = parts_asked_for(asked, parts)
    ids, count = group_ids([parts.name_id, parts.signature_id, ~parts.outer, mine])
    grouping = Grouping(parts, ids, count, lambda part: trace.strings[parts.name_id[part]])
    self_ns = grouping.sum(np.where(mine, parts.self_ns, 0))
    least_ns = LEAST_SHARE * int(self_ns.sum())
    chosen, wanted = [], []
    for group in grouping.largest(self_ns, None).tolist():
        part = int(grouping.parts_of(group)[0])
        number = int(parts.signature_id[part])
        if number < 0 or parts.outer[part] or not mine[part] or self_ns[group] < least_ns:
            continue
        signature = trace.signatures[number]
        if fitting := [rewrite for rewrite in rewrites if can_be_rewritten(rewrite, signature)]:
            chosen.append(group)
            wanted.append((signature, fitting))
    rows = grouping.rows(np.array(chosen, "i8"))
    return [
        Candidate(rewrite, signature, row)
        for row, (signature, fitting) in zip(rows, wanted, strict=True)
        for rewrite in fitting
    ]


def verify(
    trace: Trace, asked: Asked | str | None = None, top: int = 8, bench: Bench | None = None
) -> Verification:
    """Measure what rewrites of ops of a trace gain, on this machine.

    Args:
        trace: any trace.
        asked: for what: the id of a finding, the name of a rule or of a rewrite; None: all rewrites.
        top: how many rewrites at most, those of the ops with most time.
        bench: how they are timed.

    Raises:
        UsageError: there is nothing of that name, or this process is being recorded: the timing would be, too.
    """
    if Session.is_recording():
        raise UsageError("nothing can be timed in a process that is being recorded: stop first")
    bench = bench or Bench()
    found = candidates(trace, asked)
    threads = _threads(trace)
    alpha = (1 - CONFIDENCE) / max(1, min(top, len(found)))  # Bonferroni
    rows = tuple(_verified(found[:top], bench, threads, alpha))
    here = Machine.here(threads)
    recorded_on = Machine.of(trace)
    told = trace.meta.get("machine")
    return Verification(
        rows=rows,
        n_candidates=len(found),
        threads=threads,
        cpu=here.cpu,
        same_machine=None if not isinstance(told, dict) else recorded_on == here,
        confidence=CONFIDENCE,
    )


def _threads(trace: Trace) -> int:
    """BLAS threads of the program, but no more than there are here; where it is not told, those of here."""
    here = int(numerics()["threads"])
    told = trace.meta.get("numerics")
    count = told.get("threads") if isinstance(told, dict) else None
    if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
        return min(count, here)
    return here


def _verified(
    chosen: Sequence[Candidate], bench: Bench, threads: int, alpha: float
) -> Iterator[Verified]:
    for done, candidate in enumerate(chosen):
        outcome, reason = None, None
        try:
            with np.errstate(all="ignore"):
                outcome = _measured(candidate, bench, threads, alpha)
        except NotRebuiltError as problem:
            reason = str(problem)
        except MemoryError:
            reason = "there is not enough memory for its operands"
        rewrite, signature = candidate.rewrite, candidate.signature
        before, after = rewrite.code(signature)
        yield Verified(
            rewrite=rewrite.name,
            what=rewrite.what,
            condition=rewrite.condition,
            before=before,
            after=after,
            operands=", ".join(map(describe, signature.inputs)),
            group=candidate.group,
            outcome=outcome,
            reason=reason,
        )
        bench.progress((done + 1) / len(chosen))


def describe(operand: Operand) -> str:
    """Return an operand in words.

    Example:
        >>> describe(Operand("float64", (3, 4), Layout.STRIDED, (80, 16)))
        'float64 3x4 strided'
    """
    if layout_of(operand) == Layout.PYTHON_SCALAR:
        return f"Python {operand.dtype}"
    if layout_of(operand) == Layout.NUMPY_SCALAR:
        return f"NumPy {operand.dtype}"
    shape = "x".join(map(str, operand.shape)) or "0-d"
    how = {Layout.F: " in F order", Layout.STRIDED: " strided"}
    return f"{operand.dtype} {shape}{how.get(Layout(layout_of(operand)), '')}"


def _measured(candidate: Candidate, bench: Bench, threads: int, alpha: float) -> Outcome:
    """Build both forms, compare their results, time them.

    Raises:
        NotRebuiltError: they cannot be built, or take too much memory or time; in words.
    """
    rewrite, signature = candidate.rewrite, candidate.signature
    largest = bench.largest_bytes
    if largest is None:
        largest = int(available_bytes() * SHARE_OF_MEMORY)
    needed = COPIES * extent_bytes(signature)
    if needed > largest:
        raise NotRebuiltError(
            f"its operands take {needed / 1e6:,.0f} MB, more than a quarter of what is free"
        )
    first = rewrite.forms(signature, 0, False)
    limit = blas_limit() if bench.limit is None else bench.limit
    with limit(threads):
        results = first.before(), first.after()
    check(signature, results[0])
    difference, identical = compared(*results)
    del first, results
    forms = rewrite.forms(signature, 0, True)
    clock = bench.clock or clock_for(signature.op, threads)
    outcome = timed(forms, Bench(clock, limit), threads, alpha)
    return replace(outcome, difference=difference, identical=identical)

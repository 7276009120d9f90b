"""Two traces: what moved the end-to-end time, and what work changed.

The exact part (calls, FLOPs, bytes, allocations) has no noise. The timed part has: the two runs were not made
in turns, so that whatever the machine did meanwhile is in the difference ("unpaired"). Intervals cover what
varied within the runs; how much the ops that do the same differ widens the margin that a difference must
exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.diff_calls import Calls, Key, Side, total
from tinytrace.analysis.diff_circumstances import circumstances
from tinytrace.analysis.diff_devices import device_diff
from tinytrace.analysis.diff_intervals import (
    Z,
    log_ratio_spread,
    weighted_median,
)
from tinytrace.analysis.diff_lines import SampledLine, SampledLines, match_lines
from tinytrace.analysis.diff_match import Files, Pair, match
from tinytrace.analysis.diff_steps import are_alike, median_ratio
from tinytrace.analysis.diff_timeline import Timeline, timeline
from tinytrace.analysis.diff_values import (
    Account,
    Diff,
    Drift,
    LineChange,
    OpChange,
    Ratio,
    Steps,
    Verdict,
    Work,
)
from tinytrace.analysis.operands import operands_text
from tinytrace.analysis.places import file_and_line
from tinytrace.analysis.step_report import MAD_TO_SIGMA
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

LEAST_MARGIN = (
    1.05  # what placement of code and data alone makes of a time (Mytkowicz et al., ASPLOS 2009)
)
LEAST_ROWS = 5  # to tell the machine's drift from what one op did
LEAST_SAMPLES = 10  # a Poisson count of 10 is known to a third
_ABSENT = Side(0, 0, 0, None, None, None, 0)


def diff(before: Trace, after: Trace, top: int = 10) -> Diff:
    """Compare two traces.

    Calls are matched by operation, operands, file and function; lines may have been shifted, and the folder
    may be another one. Where the numbers of steps differ, what ran in steps is compared per step.

    Args:
        before: any trace, of another tool too.
        after: any other.
        top: how many rows of each list at most; the account says what the others add up to.

    Example:
        >>> diff(Trace(), Trace()).identical
        True
    """
    return _Comparison(before, after, top).result()


class _Comparison:
    """Two traces while they are compared."""

    def __init__(self, before: Trace, after: Trace, top: int) -> None:
        self._traces, self._top = (before, after), top
        self._timelines = timeline(before), timeline(after)
        n_before, n_after = (line.n_steps for line in self._timelines)
        self._folded = bool(len(before.aggregates) or len(after.aggregates))
        self._has_steps = bool(n_before and n_after)
        self._other_loop = False
        self._match(per_step=self._has_steps and n_before != n_after)
        if self._per_step and self._are_found() and not self._is_one_loop():
            self._has_steps, self._other_loop = False, True
            self._match(per_step=False)

    def _match(self, *, per_step: bool) -> None:
        """Find the calls of both traces in the other one: all of them, or those in steps."""
        self._per_step = per_step
        n_before, n_after = (line.n_steps for line in self._timelines)
        self._units = (n_before, n_after) if per_step else (1, 1)
        self._calls = tuple(
            Calls(trace, line, per_step=per_step, only_ops=self._folded)
            for trace, line in zip(self._traces, self._timelines, strict=True)
        )
        keys = self._calls[0].keys, self._calls[1].keys
        self._files = Files(*self._traces, keys)
        self._pairs, self._lines = match(*keys, self._files)

    def _are_found(self) -> bool:
        """Whether the steps of a side are not what the program said."""
        return any(
            line.steps is not None and line.steps.confidence != "certain"
            for line in self._timelines
        )

    def _is_one_loop(self) -> bool:
        sides = zip(self._pairs, *self._sides(), strict=True)
        both = [(a, b) for pair, a, b in sides if pair.before and pair.after]
        return are_alike(both, *self._units)

    def result(self) -> Diff:
        """Everything."""
        sides, self._per_call = self._sums()
        rows = list(zip(self._pairs, *sides, self._per_call, strict=True))
        drift = self._drift(rows)
        self._margin = LEAST_MARGIN
        if drift is not None:
            moved = abs(math.log(drift.ratio)) + 2 * math.log(drift.spread)
            self._margin = max(LEAST_MARGIN, math.exp(moved))
        changes = [self._change(*row) for row in rows]
        sampled = [
            SampledLines(trace, line, per_step=self._per_step)
            for trace, line in zip(self._traces, self._timelines, strict=True)
        ]
        matched = match_lines(sampled[0], sampled[1], self._files, self._lines)
        lines = [self._line(*pair) for pair in matched]
        whole = self._whole()
        moved_ops = _largest([c for c in changes if _moved(c)])
        other_work = sorted((c for c in changes if not c.same_work), key=_work_order)
        moved_lines = _largest([line for line in lines if line.delta_ns])
        work = self._work(0, sides[0]), self._work(1, sides[1])
        names = [_thread(*one) for one in zip(self._traces, self._timelines, strict=True)]
        has_lines = all(one.samples for one in sampled)
        return Diff(
            identical=not self._traces[0].differences(self._traces[1]),
            same_work=not other_work,
            basis="step" if self._per_step else "run",
            thread_before=names[0],
            thread_after=names[1],
            account=self._account(whole, moved_ops, [_accounted(side) for side in sides]),
            lines_account=(
                self._account(whole, moved_lines, _sampled_ns(sampled)) if has_lines else None
            ),
            steps=self._steps(),
            work_before=work[0],
            work_after=work[1],
            units_before=self._units[0],
            units_after=self._units[1],
            ops=tuple(moved_ops[: self._top]),
            work=tuple(other_work[: self._top]),
            n_work=len(other_work),
            lines=tuple(moved_lines[: self._top]) if has_lines else (),
            import_delta_ns=self._delta(sampled[0].import_ns, sampled[1].import_ns),
            tinytrace_delta_ns=self._delta(sampled[0].tinytrace_ns, sampled[1].tinytrace_ns),
            drift=drift,
            margin=self._margin,
            notes=tuple(
                circumstances(
                    *self._traces, renamed=self._files.renamed, per_step=self._per_step,
                    samples=(sampled[0].samples, sampled[1].samples),
                )
            ) + tuple(self._doubts()),
            devices=device_diff(*self._traces, self._top),
        )  # fmt: skip

    def _pair_of(self) -> list[NDArray[np.int64]]:
        """Per side and group of calls, the number of its pair."""
        rows = [np.zeros(len(calls.keys), "i8") for calls in self._calls]
        for number, pair in enumerate(self._pairs):
            rows[0][list(pair.before)] = number
            rows[1][list(pair.after)] = number
        return rows

    def _sides(self) -> tuple[list[Side], list[Side]]:
        """Per pair what each side spent."""
        n = len(self._pairs)
        left, right = (
            calls.sides(pair_of, n)
            for calls, pair_of in zip(self._calls, self._pair_of(), strict=True)
        )
        return left, right

    def _sums(self) -> tuple[tuple[list[Side], list[Side]], list[Ratio | None]]:
        """Per pair: what each side spent, and the ratio of times per call."""
        left, right = self._sides()
        n = len(self._pairs)
        blocks = [
            calls.blocks(pair_of, n)
            for calls, pair_of in zip(self._calls, self._pair_of(), strict=True)
        ]
        low, high = log_ratio_spread(blocks[0], blocks[1])
        ratios: list[Ratio | None] = []
        for a, b, below, above in zip(left, right, low.tolist(), high.tolist(), strict=True):
            known = a.self_ns > 0 and b.self_ns > 0 and not math.isnan(below)
            value = b.self_ns / b.calls / (a.self_ns / a.calls) if known else 1.0
            ratios.append(Ratio.around(value, below, above) if known else None)
        return (left, right), ratios

    def _drift(self, rows: Sequence[tuple[Pair, Side, Side, Ratio | None]]) -> Drift | None:
        same = [
            (math.log(ratio.value), a.self_ns + b.self_ns)
            for pair, a, b, ratio in rows
            if ratio is not None and pair.same_operands and self._is_same_work(a, b)
            and self._calls[0].keys[pair.before[0]].kind == Kind.OP
        ]  # fmt: skip
        if len(same) < LEAST_ROWS:
            return None
        logs, times = (np.array(column, "f8") for column in zip(*same, strict=True))
        middle = weighted_median(logs, times)
        # Heavy ops hardly vary while light ones do, or the other way round: the larger of both.
        spreads = [
            weighted_median(np.abs(logs - middle), weights)
            for weights in (times, np.ones(len(times)))
        ]
        return Drift(len(same), math.exp(middle), math.exp(MAD_TO_SIGMA * max(spreads)))

    def _is_same_work(self, a: Side, b: Side) -> bool:
        mine = (a.calls, a.flops, a.transcendentals, a.bytes, a.uncounted_calls)
        theirs = (b.calls, b.flops, b.transcendentals, b.bytes, b.uncounted_calls)
        return all(
            x == y if x is None or y is None else x * self._units[1] == y * self._units[0]
            for x, y in zip(mine, theirs, strict=True)
        )

    def _change(self, pair: Pair, a: Side, b: Side, ratio: Ratio | None) -> OpChange:
        left = [self._calls[0].keys[i] for i in pair.before]
        right = [self._calls[1].keys[i] for i in pair.after]
        verdict = self._verdict(ratio)
        if not left or not right:
            verdict, ratio = Verdict.GONE if left else Verdict.NEW, None
        one = (left or right)[0]
        return OpChange(
            kind=Kind(one.kind).name.lower(),
            name=one.name,
            operands_before=_operands(left),
            operands_after=_operands(right),
            callsite_before=_callsite(left),
            callsite_after=_callsite(right),
            before=a if left else None,
            after=b if right else None,
            delta_ns=self._delta(a.account_ns, b.account_ns),
            all_threads_delta_ns=self._delta(a.self_ns, b.self_ns),
            per_call=ratio,
            verdict=verdict,
            same_work=bool(left and right) and pair.same_operands and self._is_same_work(a, b),
        )

    def _line(self, left: SampledLine | None, right: SampledLine | None) -> LineChange:
        before_ns, after_ns = (0 if one is None else one.self_ns for one in (left, right))
        some = left or right
        assert some is not None
        time = self._line_ratio(left, right)
        return LineChange(
            place_before=None if left is None else file_and_line(left.place.file, left.place.line),
            place_after=None
            if right is None
            else file_and_line(right.place.file, right.place.line),
            function=some.place.function,
            before_ns=before_ns,
            after_ns=after_ns,
            before_samples=0 if left is None else left.samples,
            after_samples=0 if right is None else right.samples,
            delta_ns=self._delta(before_ns, after_ns),
            time=time,
            verdict=self._verdict(time),
        )

    def _line_ratio(self, left: SampledLine | None, right: SampledLine | None) -> Ratio | None:
        """Samples are a Poisson process: the variance of a sum of weights is the sum of their squares."""
        if left is None or right is None or min(left.samples, right.samples) < LEAST_SAMPLES:
            return None
        if not left.self_ns or not right.self_ns:
            return None
        value = right.self_ns / self._units[1] / (left.self_ns / self._units[0])
        spread = Z * math.sqrt(left.squares / left.self_ns**2 + right.squares / right.self_ns**2)
        return Ratio.around(value, spread, spread)

    def _verdict(self, ratio: Ratio | None) -> Verdict:
        if ratio is None:
            return Verdict.INCONCLUSIVE
        if ratio.high < 1 / self._margin:
            return Verdict.FASTER
        if ratio.low > self._margin:
            return Verdict.SLOWER
        within = ratio.low >= 1 / LEAST_MARGIN and ratio.high <= LEAST_MARGIN
        return Verdict.EQUIVALENT if within else Verdict.INCONCLUSIVE

    def _delta(self, before_ns: float, after_ns: float) -> float:
        return after_ns / self._units[1] - before_ns / self._units[0]

    def _whole(self) -> tuple[float, float]:
        """End-to-end time of both."""
        before, after = self._timelines
        if self._per_step:
            return before.step_ns / self._units[0], after.step_ns / self._units[1]
        return float(before.wall_ns), float(after.wall_ns)

    def _account(
        self,
        whole: tuple[float, float],
        rows: Sequence[OpChange] | Sequence[LineChange],
        in_rows_ns: Sequence[int],
    ) -> Account:
        listed, unlisted = rows[: self._top], rows[self._top :]
        rest = [w - ns / n for w, ns, n in zip(whole, in_rows_ns, self._units, strict=True)]
        delta = whole[1] - whole[0]
        listed_ns = math.fsum(row.delta_ns for row in listed)
        return Account(
            before_ns=whole[0],
            after_ns=whole[1],
            delta_ns=delta,
            listed_delta_ns=listed_ns,
            unlisted=len(unlisted),
            unlisted_delta_ns=math.fsum(row.delta_ns for row in unlisted),
            rest_before_ns=rest[0],
            rest_after_ns=rest[1],
            rest_delta_ns=rest[1] - rest[0],
            explained_percent=100 * listed_ns / delta if delta else None,
        )

    def _steps(self) -> Steps | None:
        left, right = self._timelines
        if not self._has_steps or left.steps is None or right.steps is None:
            return None
        how = left.steps.how, right.steps.how
        assert how[0] is not None
        assert how[1] is not None
        before_ns, after_ns, ratio = median_ratio(left, right)
        return Steps(
            before=left.n_steps,
            after=right.n_steps,
            how_before=how[0],
            how_after=how[1],
            warmup_before=left.warmup,
            warmup_after=right.warmup,
            median_before_ns=before_ns,
            median_after_ns=after_ns,
            ratio=ratio,
            verdict=self._verdict(ratio),
        )

    def _doubts(self) -> Iterator[str]:
        """Why steps that were found are not used."""
        if self._other_loop:
            left, right = (line.n_steps for line in self._timelines)
            yield (
                f"the steps that were found, {left:,} and {right:,}, are not of one loop: the whole runs are "
                "compared; with tt.step() in the program they would be compared per step"
            )
        for which, line in zip(("first", "second"), self._timelines, strict=True):
            if line.doubt:
                yield f"steps of the {which} run are not used, being found with low confidence: {line.doubt}"

    def _work(self, side: int, sums: Sequence[Side]) -> Work:
        ops = [
            one
            for pair, one in zip(self._pairs, sums, strict=True)
            for groups in [(pair.before, pair.after)[side]]
            if groups and self._calls[side].keys[groups[0]].kind == Kind.OP
        ]
        allocations = _last_values(self._traces[side], "allocations")
        peaks = _largest_values(self._traces[side], "array_peak_mb")
        return Work(
            op_calls=sum(one.calls for one in ops),
            flops=total([one.flops for one in ops]),
            transcendentals=total([one.transcendentals for one in ops]),
            bytes=total([one.bytes for one in ops]),
            uncounted_calls=sum(one.uncounted_calls for one in ops),
            allocations=None if self._per_step or not allocations else round(sum(allocations)),
            array_peak_mb=max(peaks, default=None),
        )


def _moved(change: OpChange) -> bool:
    return bool(change.delta_ns or change.all_threads_delta_ns) or None in (
        change.before,
        change.after,
    )


def _largest(rows: list[Any]) -> list[Any]:
    """Those that moved the time most first; rows of other threads by their time there."""
    return sorted(
        rows, key=lambda r: (-abs(r.delta_ns), -abs(getattr(r, "all_threads_delta_ns", 0.0)))
    )


def _work_order(change: OpChange) -> tuple[float, ...]:
    a, b = change.before or _ABSENT, change.after or _ABSENT
    parts = ((b.bytes, a.bytes), (b.flops, a.flops), (b.calls, a.calls))
    return tuple(-abs((x or 0) - (y or 0)) for x, y in parts)


def _accounted(sides: Iterable[Side]) -> int:
    return sum(side.account_ns for side in sides)


def _sampled_ns(sampled: Iterable[SampledLines]) -> list[int]:
    return [sum(line.self_ns for line in one.lines) for one in sampled]


def _thread(trace: Trace, line: Timeline) -> str | None:
    return trace.strings[trace.threads.name_id[line.thread]] if line.thread >= 0 else None


def _callsite(keys: Sequence[Key]) -> str | None:
    if not keys:
        return None
    parts = [part for part in (file_and_line(keys[0].file, keys[0].line), keys[0].function) if part]
    return " ".join(parts) or None


def _operands(keys: Sequence[Key]) -> str | None:
    known = [key.signature for key in keys if key.signature is not None]
    if not known:
        return None
    largest = max(known, key=lambda signature: sum(o.elements for o in signature.operands))
    others = f" and {len(known) - 1} more" if len(known) > 1 else ""
    return f"{operands_text(largest)}{others}"


def _series_values(trace: Trace, name: str) -> list[NDArray[np.float64]]:
    counters = trace.counters
    found = [counters.value[counters.series_id == n] for n in _series(trace, name)]
    found = [values[np.isfinite(values)] for values in found]
    return [values for values in found if len(values)]


def _series(trace: Trace, name: str) -> list[int]:
    return [n for n, i in enumerate(trace.series.name_id.tolist()) if trace.strings[i] == name]


def _last_values(trace: Trace, name: str) -> list[float]:
    return [float(values[-1]) for values in _series_values(trace, name)]


def _largest_values(trace: Trace, name: str) -> list[float]:
    return [float(values.max()) for values in _series_values(trace, name)]

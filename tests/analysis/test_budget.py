"""The size budget: what is dropped is counted, what is summed is exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.test_json_size import written_bytes
from tests.builders import (
    FEATURES,
    START_NS,
    TraceBuilder,
    big_trace,
    random_trace,
    signature_of,
    trace_of,
)
from tests.totals import totals
from tinytrace.analysis.budget import GROUP, fit, json_bytes
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.summary import summarise
from tinytrace.analysis.thinning import thin_counters
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Counters, Flows, Trace

ADD = "add[9:f4,9:f4->9:f4]"


def _steps(count: int, ops: int = 20) -> Trace:
    steps = []
    for number in range(count):
        slow = 50 if number == count // 2 else 1
        steps.append(f"step({' '.join([f'{ADD}:{slow}@train.py:{i}' for i in range(ops)])})")
    return trace_of(" ".join(steps))


def test_a_trace_within_the_budget_is_left_alone() -> None:
    trace = _steps(3)
    assert fit(trace, 10_000_000) is trace


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 80),
    st.frozensets(st.sampled_from(FEATURES)),
    st.integers(0, 60_000),
)
def test_sums_per_group_are_what_they_were(
    seed: int, n_spans: int, features: frozenset[str], budget_bytes: int
) -> None:
    trace = random_trace(seed, n_spans, features)
    smaller = fit(trace, budget_bytes)
    assert totals(smaller) == totals(trace)
    for figure in ("flops", "bytes"):
        before, after = (count_trace(t).total(figure) for t in (trace, smaller))
        assert after == before
    assert smaller.samples.weight_ns.sum() + smaller.meta.get("audit", {}).get(
        "dropped_samples_ns", 0
    ) == pytest.approx(trace.samples.weight_ns.sum(), abs=0)
    assert set(trace.warnings) <= set(smaller.warnings)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 60_000))
def test_what_is_kept_is_a_valid_trace(seed: int, n_spans: int, budget_bytes: int) -> None:
    smaller = fit(random_trace(seed, n_spans), budget_bytes)
    spans, samples, n = smaller.spans, smaller.samples, len(smaller.spans)
    assert (spans.parent < np.arange(n)).all() or not n
    assert (np.diff(spans.thread) >= 0).all()
    same = np.diff(spans.thread) == 0
    assert (np.diff(spans.start_ns)[same] >= 0).all()
    assert (np.diff(samples.t_ns)[np.diff(samples.thread) == 0] >= 0).all()
    assert (np.diff(samples.thread) >= 0).all()
    for column in (smaller.flows.from_span, smaller.flows.to_span):
        assert ((column >= 0) & (column < n)).all()
    written_bytes(smaller)  # every id is in range


@pytest.mark.parametrize("budget_bytes", [30_000, 60_000, 200_000])
def test_the_file_written_is_within_the_budget_and_uses_it(budget_bytes: int) -> None:
    trace = fit(_steps(200), budget_bytes)
    assert 0.6 * budget_bytes < written_bytes(trace) <= budget_bytes


def test_first_and_slowest_step_stay_whole_and_others_are_drawn() -> None:
    trace = _steps(200)
    smaller = fit(trace, 150_000)
    ops = smaller.spans.kind == Kind.OP
    kept = Counter(smaller.spans.step[ops].tolist())
    assert {0, 100} < set(kept)
    assert set(kept.values()) == {20}
    assert len(kept) > 5


def test_another_seed_draws_other_steps() -> None:
    trace = _steps(200)
    drawn = [set(fit(trace, 150_000, seed).spans.step.tolist()) for seed in (0, 0, 1)]
    ops = [fit(trace, 150_000, seed).spans.start_ns.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert ops[0] == ops[1] != ops[2]


def test_spans_around_ops_are_kept_before_ops() -> None:
    smaller = fit(_steps(200), 150_000)
    assert (smaller.spans.kind == Kind.STEP).sum() == 200
    inside = smaller.spans.kind == Kind.OP
    parents = smaller.spans.parent[inside]
    assert (smaller.spans.kind[parents] == Kind.STEP).all()


def test_without_steps_stretches_of_time_are_kept() -> None:
    trace = trace_of(" ".join([f"{ADD}:2({ADD}:1)"] * 1500))
    smaller = fit(trace, 100_000)
    starts = smaller.spans.start_ns[smaller.spans.parent < 0]
    assert 100 < len(starts) < 1000
    assert starts[0] == START_NS
    gaps = np.diff(starts) > 2000
    assert 10 < gaps.sum() < len(starts) / 2  # runs of ops that follow one another, many of them
    assert len(smaller.spans) == 2 * len(starts)  # no op is parted from the op inside it


def test_a_single_huge_step_is_cut_into_stretches() -> None:
    trace = trace_of(f"step({' '.join([ADD] * 3000)})")
    smaller = fit(trace, 100_000)
    assert 100 < len(smaller.spans) < 1000
    assert totals(smaller) == totals(trace)


def test_ops_with_figures_of_the_user_are_kept() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    add = signature_of("add", "9,9->9")
    for number in range(2000):
        start_ns = START_NS + 1000 * number
        if number % 100 == 50:
            builder.span(thread, start_ns, 900, "mine", args={"flops": 10**6, "bytes": 5})
        else:
            builder.span(thread, start_ns, 900, "add", signature=add)
    trace = builder.build()
    smaller = fit(trace, 60_000)
    names = Counter(smaller.strings[i] for i in smaller.spans.name_id)
    assert names["mine"] == 20
    assert 0 < names["add"] < 1000
    assert count_trace(smaller).total("flops") == count_trace(trace).total("flops")


def test_figures_of_the_user_survive_their_ops() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    add = signature_of("add", "9,9->9")
    for number in range(3000):
        start_ns = START_NS + 1000 * number
        args = {"flops": 10**6, "bytes": None} if number % 2 else {"flops": None, "bytes": 7}
        row = builder.span(thread, start_ns, 900, "mine", args=args)
        builder.span(thread, start_ns + 10, 100, "add", signature=add, parent=row)
    trace = builder.build()
    smaller = fit(trace, 20_000)
    assert len(smaller.spans) < 100
    assert count_trace(trace).total("flops") == 1500 * (10**6 + 9)
    for figure in ("flops", "bytes"):
        assert count_trace(smaller).total(figure) == count_trace(trace).total(figure)
        whole = sum(row.flops_per_byte is not None for row in summarise(smaller).ops)
        assert whole == sum(row.flops_per_byte is not None for row in summarise(trace).ops)


def test_ops_that_raised_lend_no_flops_to_the_aggregates() -> None:
    trace = trace_of(" ".join([f"{ADD} add!{'[9:f4,9:f4->9:f4]'}"] * 300))
    assert (trace.spans.flags & Flag.RAISED).sum() > 0
    smaller = fit(trace, 20_000)
    assert len(smaller.spans) < len(trace.spans)
    assert count_trace(smaller).total("flops") == 9 * 300


def test_the_rates_over_time_are_those_of_the_whole_trace() -> None:
    trace = big_trace(20_000)
    smaller = fit(trace, 1_000_000)
    names = [smaller.strings[i] for i in smaller.series.name_id]
    assert names == ["gflops", "gbps"]
    value = smaller.counters.value[smaller.counters.series_id == 0]
    t_ns = smaller.counters.t_ns[smaller.counters.series_id == 0]
    total = float(value[:-1] @ np.diff(t_ns))
    assert total == pytest.approx(count_trace(trace).total("flops"), rel=1e-6)


def test_flows_that_lost_an_end_are_counted() -> None:
    trace = _steps(200)
    n = len(trace.spans)
    columns = {
        "from_span": np.arange(n - 1),
        "to_span": np.arange(1, n),
        "kind_id": np.zeros(n - 1),
    }
    trace = replace(trace, flows=Flows(**columns))
    smaller = fit(trace, 150_000)
    spans = smaller.spans
    assert smaller.meta["audit"]["dropped_flows"] == n - 1 - len(smaller.flows) > 0
    gap = spans.start_ns[smaller.flows.to_span] - spans.start_ns[smaller.flows.from_span]
    assert (gap >= 0).all()
    assert any("flows" in warning for warning in smaller.warnings)


def test_what_was_dropped_is_said_in_numbers() -> None:
    trace = _steps(200)
    smaller = fit(trace, 150_000)
    lost = len(trace.spans) - len(smaller.spans)
    audit = smaller.meta["audit"]
    assert audit["aggregated_spans"] == lost == smaller.aggregates.count.sum() > 0
    assert audit["budget_bytes"] == 150_000
    (warning,) = smaller.warnings
    assert f"{lost:,} of {len(trace.spans):,} spans" in warning
    assert "of 200 steps" in warning


def test_arguments_of_dropped_spans_leave_the_table_of_strings() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    for number in range(2000):
        builder.span(
            thread, START_NS + 1000 * number, 900, "load", kind=Kind.DATA, args={"n": number}
        )
    smaller = fit(builder.build(), 50_000)
    assert 0 < len(smaller.spans) < 1000
    assert len(smaller.strings) < len(smaller.spans) + 10
    texts = [smaller.strings[i] for i in smaller.spans.args_id]
    numbers = (smaller.spans.start_ns - START_NS) // 1000
    assert texts == [f'{{"n": {n}}}' for n in numbers]


def test_aggregates_of_before_are_added_to() -> None:
    trace = fit(_steps(300), 200_000)
    again = fit(trace, 80_000)
    assert totals(again) == totals(_steps(300))
    groups = list(zip(*(getattr(again.aggregates, name).tolist() for name in GROUP), strict=True))
    assert len(groups) == len(set(groups))
    assert again.meta["audit"]["aggregated_spans"] == again.aggregates.count.sum()


def _sampled(count: int) -> Trace:
    builder = TraceBuilder()
    builder.thread(builder.process(1), 1)
    builder.thread(0, 2)
    frames = [builder.frame(f"f{i}", "train.py", i) for i in range(30)]
    rng = np.random.default_rng(0)
    for number in range(count):
        ran = int(rng.integers(0, 2)) * 900_000
        path = [frames[0], frames[int(rng.integers(1, 30))]]
        builder.sample(number % 2, START_NS + (number + 1) * 10**6, 10**6, path, ran)
    return builder.build()


def test_merged_samples_weigh_the_same_per_stack_and_state() -> None:
    trace = _sampled(6000)
    smaller = fit(trace, 150_000)
    assert len(smaller.samples) < 2000
    assert written_bytes(smaller) <= 150_000

    def weights(t: Trace) -> Counter[tuple[int, int, bool]]:
        found: Counter[tuple[int, int, bool]] = Counter()
        samples = t.samples
        for row in range(len(samples)):
            key = (int(samples.thread[row]), int(samples.stack_id[row]), bool(samples.on_cpu[row]))
            found[key] += int(samples.weight_ns[row])
        return found

    assert weights(smaller) == weights(trace)
    assert smaller.samples.cpu_ns.sum() == trace.samples.cpu_ns.sum()


def test_samples_that_cannot_be_merged_are_dropped_lightest_first() -> None:
    trace = _sampled(600)
    smaller = fit(trace, 9_000)
    lost_ns = smaller.meta["audit"]["dropped_samples_ns"]
    assert lost_ns == trace.samples.weight_ns.sum() - smaller.samples.weight_ns.sum() > 0
    assert any("the lightest" in warning for warning in smaller.warnings)


def test_neighbours_in_one_stack_are_merged_before_anything_else() -> None:
    builder = TraceBuilder()
    builder.thread(builder.process(1), 1)
    frames = [builder.frame(f"f{i}", "train.py", i) for i in range(2)]
    for number in range(3000):
        builder.sample(0, START_NS + (number + 1) * 10**6, 10**6, [frames[number // 100 % 2]], 5)
    smaller = fit(builder.build(), 30_000)
    assert len(smaller.samples) == 30
    assert (np.diff(smaller.samples.t_ns) == 100 * 10**6).all()


def test_thinned_counters_keep_their_extremes() -> None:
    value = np.sin(np.arange(10_000) / 500)
    value[1234], value[777], value[55] = 99.0, -99.0, np.nan
    counters = Counters(t_ns=np.arange(10_000), series_id=np.arange(10_000) // 5000, value=value)
    thinned = thin_counters(counters, 200)
    assert 150 < len(thinned) <= 200
    assert {99.0, -99.0} < set(thinned.value.tolist())
    assert {0, 4999, 5000, 9999} <= set(thinned.t_ns.tolist())
    assert (np.diff(thinned.t_ns) > 0).all()


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 70))
def test_thinned_counters_are_no_more_than_asked_for(series: list[int], limit: int) -> None:
    n = len(series)
    counters = Counters(t_ns=np.arange(n), series_id=np.sort(series), value=np.arange(n) % 7)
    assert len(thin_counters(counters, limit)) == min(n, limit) or len(counters) > limit
    assert len(thin_counters(counters, limit)) <= max(limit, 0)


def test_a_budget_that_nothing_fits_drops_all_that_can_be_dropped() -> None:
    trace = _steps(50)
    smaller = fit(trace, 0)
    assert len(smaller.spans) == len(smaller.counters) == 0
    assert totals(smaller) == totals(trace)
    assert json_bytes(smaller) < json_bytes(trace)

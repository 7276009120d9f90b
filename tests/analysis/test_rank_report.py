"""Where the time of each rank of a job went: hand-made jobs, and figures that follow from them by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import START_NS, traces
from tests.job_by_hand import US, Job
from tinytrace.analysis.account import Where, account_of
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.device_account import Spent
from tinytrace.analysis.findings import findings
from tinytrace.analysis.merge import Part, merge_traces
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.rank_report import RankReport, rank_report
from tinytrace.analysis.reader import load
from tinytrace.analysis.report import report_of
from tinytrace.cli.ranks_text import say_ranks
from tinytrace.cli.sheet import Sheet
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

DATA = Path(__file__).parents[1] / "data"
PARTS = ("ops", "waiting", "transfer", "unsplit", "data", "python", "imports", "blocked", "other")


def reported(job: Job) -> RankReport:
    found = rank_report(op_parts(count_trace(job.trace())))
    assert found is not None
    return found


def microseconds(report: RankReport, *fields: str) -> list[list[float]]:
    return [[getattr(time, f"{name}_ns") / US for name in fields] for time in report.ranks]


def test_a_trace_of_no_job_has_no_rank_report() -> None:
    assert rank_report(op_parts(count_trace(Trace()))) is None
    assert report_of(Trace()).ranks is None


def test_the_arrival_of_the_last_splits_a_collective_into_waiting_and_transfer() -> None:
    job = Job(3)
    for rank, start in enumerate((10, 40, 25)):
        job.call(rank, "all_reduce", start, 50, bytes=1000)
    report = reported(job)
    assert microseconds(report, "waiting", "transfer", "unsplit") == [
        [30, 10, 0], [0, 10, 0], [15, 10, 0]]  # fmt: skip
    assert [time.last for time in report.ranks] == [0, 1, 0]
    assert microseconds(report, "awaited") == [[0], [45], [0]]
    [collective] = report.collectives
    assert (collective.op, collective.n_sets, collective.bytes) == ("all_reduce", 1, 1000)
    assert (collective.skew_ns, collective.waiting_ns, collective.transfer_ns) == (
        30 * US, 45 * US, 30 * US)  # fmt: skip
    assert collective.bytes_per_s == 100e6


def test_the_time_of_a_rank_adds_up() -> None:
    job = Job(2)
    job.op(0, "matmul", 0, 20)
    job.call(0, "barrier", 20, 50)
    job.call(1, "barrier", 45, 50)
    stack = [job.builder.frame("step", "train.py", 3)]
    job.builder.sample(0, START_NS + 70 * US, 20 * US, stack, cpu_ns=20 * US)
    job.builder.sample(0, START_NS + 90 * US, 20 * US, stack, cpu_ns=0)
    report = reported(job)
    first = report.ranks[0]
    parts = (
        "ops",
        "waiting",
        "transfer",
        "unsplit",
        "data",
        "python",
        "imports",
        "blocked",
        "other",
    )
    assert microseconds(report, *parts)[0] == [20, 25, 5, 0, 0, 20, 0, 20, 10]
    assert sum(getattr(first, f"{name}_ns") for name in PARTS) == first.wall_ns == 100 * US


def test_communication_is_a_line_of_the_account_with_the_ops_in_it() -> None:
    job = Job(2)
    job.op(0, "matmul", 0, 20)
    job.call(0, "all_reduce", 20, 50)
    inner = job.builder.spans[-1]
    job.builder.span(0, inner[0] + 5 * US, 10 * US, "add", parent=len(job.builder.spans) - 1)
    stack = [job.builder.frame("step", "train.py", 3)]
    job.builder.sample(0, START_NS + 60 * US, 30 * US, stack, cpu_ns=30 * US)
    account = account_of(job.trace())
    assert account is not None
    assert {e.where: e.spent_ns // US for e in account.entries if e.spent_ns} == {
        Where.UNCOUNTED: 20, Where.COMMUNICATION: 30, Where.PYTHON: 10, Where.UNATTRIBUTED: 40}  # fmt: skip


def test_everyone_waits_for_the_root_of_a_broadcast_and_it_for_nobody() -> None:
    job = Job(3)
    for rank, start in enumerate((40, 10, 45)):
        job.call(rank, "broadcast", start, 50, peer=0)
    report = reported(job)
    assert microseconds(report, "waiting", "transfer") == [[0, 10], [30, 10], [0, 5]]


def test_the_root_of_a_reduction_waits_for_everyone_and_the_others_for_nobody() -> None:
    job = Job(3)
    for rank, start in enumerate((10, 30, 20)):
        job.call(rank, "reduce", start, 50, peer=0)
    report = reported(job)
    assert microseconds(report, "waiting", "transfer") == [[20, 20], [0, 20], [0, 30]]
    assert [time.last for time in report.ranks] == [0, 1, 0]


def test_a_receive_waits_for_its_send() -> None:
    job = Job(2)
    job.call(0, "receive", 10, 50, peer=1, tag=7)
    job.call(1, "send", 30, 35, peer=0, tag=7)
    report = reported(job)
    assert microseconds(report, "waiting", "transfer", "unsplit") == [[20, 20, 0], [0, 0, 5]]


def test_a_wait_belongs_to_what_was_begun_and_communication_meanwhile_is_hidden() -> None:
    job = Job(2)
    for rank, start in enumerate((0, 15)):
        job.call(rank, "all_reduce", start, start + 1, requests="0")
        job.op(rank, "matmul", start + 1, 20)
        job.call(rank, "wait", 20, 30, requests="0")
    report = reported(job)
    assert microseconds(report, "waiting", "transfer", "in_flight", "hidden") == [
        [1, 10, 30, 19], [0, 11, 15, 4]]  # fmt: skip


def test_who_was_last_is_not_said_within_the_error_of_the_clocks() -> None:
    job = Job(2, errors_us=[20, 20])
    job.call(0, "barrier", 10, 50)
    job.call(1, "barrier", 40, 50)
    report = reported(job)
    assert (report.n_sets, report.undecided) == (1, 1)
    assert report.stragglers == ()


def test_where_a_rank_is_missing_the_others_waited_for_each_other_at_least() -> None:
    job = Job(3)
    job.call(0, "barrier", 10, 50)
    job.call(1, "barrier", 40, 50)
    report = reported(job)
    assert microseconds(report, "waiting", "transfer", "unsplit") == [
        [30, 0, 10], [0, 0, 10], [0, 0, 0]]  # fmt: skip
    assert (report.n_sets, report.unmatched, report.stragglers) == (0, 2, ())


def test_a_straggler_is_named_with_what_it_did_more_of() -> None:
    job = Job(3)
    for rank, end in enumerate((10, 10, 60)):
        job.op(rank, "matmul", 0, end, line=42)
        job.call(rank, "barrier", end, 70)
    report = reported(job)
    [straggler] = report.stragglers
    assert (straggler.rank, straggler.last, straggler.awaited_ns) == (2, 1, 100 * US)
    most = straggler.more[0]
    assert (most.name, most.place) == ("matmul", "train.py:42")
    assert (most.spent_ns, most.others_ns) == (60 * US, 10 * US)


def test_missing_ranks_are_named() -> None:
    job = Job(2, world_size=4)
    job.call(0, "barrier", 10, 50)
    report = reported(job)
    assert (report.world_size, report.missing) == (4, (2, 3))


@pytest.mark.parametrize("n", [2, 20])
def test_the_text_says_it_all(n: int) -> None:
    job = Job(n, errors_us=[1] * n, world_size=n + 1)
    for rank in range(n):
        end = 60 if rank == 1 else 10
        job.op(rank, "matmul", 0, end, line=42)
        job.call(rank, "barrier", end, 70)
    out = io.StringIO()
    sheet = Sheet(out)
    say_ranks(report_of(job.trace()), sheet)
    sheet.print()
    text = out.getvalue()
    assert f"Ranks: {n} of {n + 1}" in text
    assert f"Warning: not in this trace: rank {n}" in text
    assert "Rank 1 came last in 1 of 1" in text
    assert "matmul at train.py:42 60.0 us (others 10.0 us)" in text
    assert "at most 1 us apart" in text.replace("1.00 us", "1 us")
    assert ("waited for longest" in text) == (n > 16)


def test_waiting_for_what_was_begun_earlier_is_on_the_rank_that_began_last() -> None:
    job = Job(3)
    for rank, start in enumerate((0, 40, 10)):
        job.call(rank, "all_reduce", start, start + 1, requests="0")
        job.call(rank, "wait", max(20, start + 1), 50, requests="0")
    report = reported(job)
    # ranks 0 and 2 wait from 20 to 40 in their waits, and 1 us each in the calls that begin
    [straggler] = report.stragglers
    assert (straggler.rank, straggler.last, straggler.awaited_ns) == (1, 1, 42 * US)
    assert straggler.cost_ns == 21 * US  # one of the others at most gains all that it waited


def test_what_a_straggler_costs_is_its_lead_over_the_one_before() -> None:
    job = Job(3)
    for turn in (0, 40):
        for rank, start in enumerate((5, 20, 30)):
            job.call(rank, "barrier", turn + start, turn + 35)
    [straggler] = reported(job).stragglers
    assert (straggler.rank, straggler.last, straggler.awaited_ns) == (2, 2, 70 * US)
    assert straggler.cost_ns == 20 * US


def test_a_straggler_is_explained_by_what_it_did_since_all_last_met() -> None:
    job = Job(3)
    for rank in range(3):
        job.op(
            rank, "load", 0, 20 if rank == 0 else 5, line=1
        )  # before anybody met: no reason to come late now
        job.call(rank, "barrier", 20, 22)
        job.op(rank, "matmul", 22, 60 if rank == 1 else 30, line=42)
        job.call(rank, "barrier", 60 if rank == 1 else 30, 62)
    [straggler] = [s for s in reported(job).stragglers if s.rank == 1]
    [more] = straggler.more
    assert (more.name, more.place, more.spent_ns, more.others_ns) == (
        "matmul", "train.py:42", 38 * US, 8 * US)  # fmt: skip


def test_sleeping_and_waiting_for_data_are_told_by_their_lines() -> None:
    job = Job(2)
    for rank in range(2):
        job.call(rank, "barrier", 0, 2)
        job.call(rank, "barrier", 72 if rank else 12, 75)
    site = job.builder.frame("load", "data.py", 7)
    job.span(1, "data", 2, 32, Kind.DATA, callsite=site)
    stack = [job.builder.frame("step", "train.py", 9)]
    job.builder.sample(1, START_NS + 62 * US, 30 * US, stack, cpu_ns=0)
    [straggler] = reported(job).stragglers
    told = [(m.name, m.place, m.spent_ns // US, m.others_ns // US) for m in straggler.more]
    # what no span and no sample tells: 10 us in both, so that it is none of the reasons
    assert told == [("waiting for data", "data.py:7", 30, 0), ("blocked", "train.py:9", 30, 0)]


def test_a_group_without_known_members_is_not_whole_while_ranks_are_missing() -> None:
    for world_size, n_sets in ((0, 1), (8, 0)):
        job = Job(2, world_size=world_size)
        for rank in range(2):
            job.call(rank, "barrier", 10 + 20 * rank, 50, ranks="")
        assert reported(job).n_sets == n_sets


@pytest.mark.parametrize(("method", "split"), [("clock of the day", False), ("same host", True)])
def test_calls_by_clocks_that_nobody_can_compare_are_not_split(method: str, split: bool) -> None:
    job = Job(2)
    job.builder.meta["ranks"][1] |= {"error_ns": None, "method": method}
    job.call(0, "barrier", 10, 50)
    job.call(1, "barrier", 40, 50)
    report = reported(job)
    assert bool(report.stragglers) is split
    assert microseconds(report, "unsplit") == ([[0], [0]] if split else [[40], [10]])


def test_the_median_of_marked_steps_is_told_for_each_rank() -> None:
    job = Job(2)
    for rank, lengths in enumerate(((10, 20, 14), (30,))):
        at = 0
        for length in lengths:
            job.span(rank, "step", at, at + length, Kind.STEP)
            at += length
    for rank in range(2):
        job.call(rank, "barrier", 90, 95)
    report = reported(job)
    assert [(t.steps, t.step_ns) for t in report.ranks] == [(3, 14 * US), (1, 30 * US)]
    assert report.ranks[0].step_spread_ns == pytest.approx(1.4826 * 4 * US)
    assert report.ranks[1].step_spread_ns is None


def kernel(job: Job, thread: int, name: str, start_us: int, end_us: int, **more: Any) -> None:
    """A kernel as torch.profiler writes it."""
    job.span(thread, name, start_us, end_us, Kind.OP)
    said = job.builder.string(orjson.dumps({"cat": "kernel", **more}).decode())
    job.builder.spans[-1] = (*job.builder.spans[-1][:-1], said)


def on_gpus(slow_us: int) -> Job:
    """Two ranks whose GPUs compute, and all-reduce beside and after that; rank 1 computes longer."""
    job = Job(2)
    group = {"Process Group Name": "0", "Process Group Ranks": "[0, 1]", "Group size": 2}
    for rank, entry in enumerate(job.builder.meta["ranks"]):
        process = job.builder.process(0, f"GPU {rank}", START_NS, START_NS + 100 * US)
        entry["processes"] = [process]
        threads = [job.builder.thread(process, stream) for stream in (7, 8)]
        end = 30 + rank * slow_us
        kernel(job, threads[0], "gemm", 10, end)
        for number, (start, stop) in enumerate(((5, 20), (end, 90))):
            said = {"Collective name": "allreduce", "Seq": number, **group}
            kernel(job, threads[1], "ncclDevKernel_AllReduce_Sum_f32_RING_LL", start, stop, **said)
    return job


def test_overlap_on_devices_is_that_of_their_accounts() -> None:
    trace = on_gpus(slow_us=40).trace()
    report = report_of(trace)
    assert report.ranks is not None and report.devices is not None
    # of the first all-reduce 10 us beside the product, of the others nothing
    assert microseconds(report.ranks, "in_flight", "hidden", "exposed") == [
        [75, 10, 65], [35, 10, 25]]  # fmt: skip
    for rank, section in zip(report.ranks.ranks, report.devices.sections, strict=True):
        account = section.account
        assert rank.in_flight_ns == account.communication_ns
        assert rank.exposed_ns == account.spent_ns(Spent.COMMUNICATION)


def test_a_straggler_among_gpus_is_told_by_the_kernels_it_ran_since_it_last_communicated() -> None:
    [straggler] = reported(on_gpus(slow_us=40)).stragglers
    assert (straggler.rank, straggler.last, straggler.awaited_ns) == (1, 1, 40 * US)
    [more] = straggler.more
    assert (more.name, more.spent_ns, more.others_ns) == ("gemm", 50 * US, 10 * US)


def test_two_ranks_of_a_real_job_of_128_are_not_split() -> None:
    parts = [load(DATA / f"hta_sampled_rank-{rank}.json.gz") for rank in (0, 1)]
    trace = merge_traces([Part(str(rank), part) for rank, part in enumerate(parts)])
    report = report_of(trace)
    assert report.ranks is not None and report.devices is not None
    assert report.ranks.world_size == 128
    assert report.ranks.missing == tuple(range(2, 128))
    assert (report.ranks.n_sets, report.ranks.stragglers) == (0, ())
    for rank, section in zip(report.ranks.ranks, report.devices.sections, strict=True):
        assert rank.in_flight_ns == section.account.communication_ns > 0
        assert rank.exposed_ns == section.account.spent_ns(Spent.COMMUNICATION)
        assert rank.waiting_ns == rank.transfer_ns == 0


def test_what_is_begun_and_carried_out_on_a_gpu_is_awaited_once() -> None:
    job = on_gpus(slow_us=40)
    said = {"Collective name": "allreduce", "Process Group Name": "0", "Group size": 2}
    for rank in range(2):
        for number in range(2):
            args = {**said, "Process Group Ranks": "[0, 1]", "Seq": number}
            start = 10 * number + 5 * rank
            job.span(rank, "c10d::allreduce_", start, start + 2, Kind.OP, args=args)
    report = reported(job)
    assert report.n_sets == 2
    assert [(one.rank, one.last) for one in report.stragglers] == [(1, 1)]


def test_beginning_something_is_no_meeting() -> None:
    job = Job(2)
    for rank, (first, second) in enumerate(((60, 62), (10, 70))):
        job.op(rank, "matmul", 0, first - 2)
        job.call(rank, "all_reduce", first, first + 1, requests="0")
        job.op(rank, "matmul", first + 1, second)
        job.call(rank, "all_reduce", second, 80)
    straggler = next(one for one in reported(job).stragglers if one.rank == 1)
    assert [(m.spent_ns, m.others_ns) for m in straggler.more] == [(67 * US, 59 * US)]


def test_ops_of_communication_itself_hide_nothing() -> None:
    job = Job(2)
    for rank in range(2):
        job.op(rank, "matmul", 0, 5)
        job.call(rank, "all_reduce", 10, 50)
        outer = len(job.builder.spans) - 1
        job.span(rank, "add", 20, 30, Kind.OP, parent=outer)
    assert microseconds(reported(job), "in_flight", "hidden") == [[40, 0], [40, 0]]


def test_a_straggler_costs_no_more_than_one_rank_waited_for_it() -> None:
    job = Job(3)
    for receiver, start, sent in ((0, 10, 30), (1, 20, 50)):
        job.call(receiver, "receive", start, sent + 5, peer=2, tag=7)
        job.call(2, "send", sent, sent + 1, peer=receiver, tag=7)
    [straggler] = reported(job).stragglers
    assert (straggler.awaited_ns, straggler.cost_ns) == (50 * US, 30 * US)


def test_ranks_for_which_hardly_anybody_waited_are_not_named() -> None:
    job = Job(2)
    for start, late, by in ((0, 0, 40), (50, 1, 3)):
        for rank in range(2):
            job.call(rank, "barrier", start + (by if rank == late else 0), start + 45)
    report = reported(job)
    assert [one.rank for one in report.stragglers] == [0, 1]
    assert [one.rank for one in report.worth_naming] == [0]


OPS = ("all_reduce", "barrier", "broadcast", "reduce", "send", "receive", "wait", "matmul", "data")
CALLS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(OPS), st.integers(0, 90), st.integers(0, 30),
        st.sampled_from(["", "0", "1", "0-1"]), st.integers(-1, 2),
    ),
    max_size=25,
)  # fmt: skip


@given(CALLS, st.sampled_from([None, [0, 20, 5]]), st.integers(0, 4))
def test_whatever_ranks_do_their_time_adds_up(
    calls: list[tuple[int, str, int, int, str, int]], errors_us: list[int] | None, size: int
) -> None:
    job = Job(3, errors_us=errors_us, world_size=size)
    for rank, op, start, lasts, requests, peer in calls:
        if op == "matmul":
            job.op(rank, op, start, start + lasts)
        elif op == "data":
            job.span(rank, op, start, start + lasts, Kind.DATA)
        else:
            more = {"requests": requests} if requests else {}
            job.call(rank, op, start, start + lasts, peer=peer, **more)
    report = reported(job)
    for time in report.ranks:
        parts = [getattr(time, f"{name}_ns") for name in PARTS]
        assert min(parts) >= 0
        assert sum(parts) == time.wall_ns
        assert 0 <= (time.hidden_ns or 0) <= time.in_flight_ns
    for one in report.stragglers:
        assert 0 <= one.cost_ns <= one.awaited_ns
        assert all(m.spent_ns > m.others_ns >= 0 for m in one.more)
    findings(job.trace(), min_share=0)


@given(traces())
def test_any_trace_whose_processes_are_said_to_be_ranks_has_a_report(trace: Trace) -> None:
    entries = [{"process": row, "rank": row} for row in range(len(trace.processes))]
    told = replace(trace, meta={**trace.meta, "ranks": entries})
    report = rank_report(op_parts(count_trace(told)))
    for time in report.ranks if report else ():
        assert sum(getattr(time, f"{name}_ns") for name in PARTS) == time.wall_ns

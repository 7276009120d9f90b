"""Which spans are communication, and which of one rank belongs to which of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.collectives import Communication, Place, Role, communication
from tinytrace.analysis.communication_facts import canonical
from tinytrace.analysis.foreign import load_foreign
from tinytrace.analysis.reader import load
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

US = 1000
DATA = Path(__file__).parents[1] / "data"


class Job:
    """Ranks that communicate: each call starts 10 µs after the one before it and takes 5 µs."""

    def __init__(self, n: int, ranks: list[int] | None = None) -> None:
        self.builder = TraceBuilder()
        self.numbers = ranks or list(range(n))
        self.now_ns = [START_NS] * n
        for row in range(n):
            process = self.builder.process(100, f"rank {self.numbers[row]}")
            self.builder.thread(process, 100)
        self.builder.meta["ranks"] = [
            {"process": row, "rank": rank} for row, rank in enumerate(self.numbers)
        ]

    def call(self, row: int, op: str, dur_us: int = 5, **args: Any) -> int:
        given = {"communication": op, "group": "0", "ranks": f"0-{len(self.numbers) - 1}", **args}
        span = self.builder.span(
            row, self.now_ns[row], dur_us * US, op, kind=Kind.SPAN, args=_without_nones(given)
        )
        self.now_ns[row] += 10 * US
        return span

    def trace(self) -> Trace:
        return self.builder.build()


def _without_nones(args: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in args.items() if value is not None}


def sets(found: Communication) -> list[list[int]]:
    """Per set the ranks in it."""
    members: list[list[int]] = [[] for _ in range(found.n_sets)]
    for rank, number in zip(found.calls.rank.tolist(), found.calls.set_id.tolist(), strict=True):
        if number >= 0:
            members[number].append(rank)
    return members


def test_the_nth_collective_of_a_group_in_one_rank_belongs_to_the_nth_in_the_others() -> None:
    job = Job(3)
    for row in range(3):
        for op in ("barrier", "all_reduce", "all_reduce"):
            job.call(row, op, bytes=8)
    found = communication(job.trace())
    assert sets(found) == [[0, 1, 2]] * 3
    assert found.is_complete.tolist() == [True] * 3
    assert found.warnings == ()
    calls = found.calls
    assert [found.ops[i] for i in calls.op_id.tolist()] == [
        "barrier",
        "all_reduce",
        "all_reduce",
    ] * 3
    assert calls.sequence.tolist() == [0, 1, 2] * 3
    assert calls.bytes.tolist() == [8] * 9
    assert (calls.end_ns - calls.start_ns == 5 * US).all()
    assert found.synchronises.all() and found.is_transfer.all()


def test_groups_are_matched_apart() -> None:
    job = Job(2)
    job.call(0, "all_reduce", group="a")
    job.call(0, "all_reduce", group="b")
    job.call(1, "all_reduce", group="b")
    job.call(1, "all_reduce", group="a")
    found = communication(job.trace())
    assert sets(found) == [[0, 1], [0, 1]]
    assert {g.name for g in found.groups} == {"a", "b"}
    assert found.groups[0].ranks == (0, 1)


def test_messages_are_matched_by_sender_receiver_and_tag_in_their_order() -> None:
    job = Job(2)
    first = job.call(0, "send", peer=1, tag=7)
    second = job.call(0, "send", peer=1, tag=7)
    other = job.call(0, "send", peer=1, tag=8)
    spans = [(job.call(1, "receive", peer=0, tag=tag)) for tag in (8, 7, 7)]
    trace = job.trace()
    calls = communication(trace).calls
    by_span = dict(zip(calls.span.tolist(), calls.set_id.tolist(), strict=True))
    assert by_span[other] == by_span[spans[0]]
    assert by_span[first] == by_span[spans[1]]
    assert by_span[second] == by_span[spans[2]]
    assert len(set(by_span.values())) == 3
    assert calls.role.tolist() == [Role.SEND] * 3 + [Role.RECEIVE] * 3


def test_a_send_receive_is_both() -> None:
    job = Job(2)
    for row in range(2):
        job.call(row, "send_receive", peer=1 - row, tag=0, source=1 - row, source_tag=0)
    found = communication(job.trace())
    assert sorted(map(sorted, sets(found))) == [[0, 1], [0, 1]]
    assert found.calls.span.tolist() == [0, 0, 1, 1]


def test_from_where_ranks_do_different_things_nothing_is_matched() -> None:
    job = Job(2)
    for op in ("all_reduce", "barrier", "all_reduce"):
        job.call(0, op)
    for op in ("all_reduce", "all_reduce"):
        job.call(1, op)
    found = communication(job.trace())
    assert sets(found) == [[0, 1]]
    assert found.warnings[0] == (
        "collective 1 of group 0 differs between ranks (rank 0: barrier; rank 1: all_reduce): "
        "from there on its collectives are not matched"
    )


def test_an_all_reduce_of_different_sizes_is_none_but_an_all_gather_may_be() -> None:
    for op, matched in (("all_reduce", 0), ("all_gather", 1)):
        job = Job(2)
        job.call(0, op, bytes=8)
        job.call(1, op, bytes=16)
        assert communication(job.trace()).n_sets == matched


def test_calls_without_a_counterpart_are_counted() -> None:
    job = Job(2)
    job.call(0, "barrier")
    job.call(1, "barrier")
    job.call(1, "barrier")  # rank 0 was killed before
    job.call(1, "send", peer=0, tag=1)
    job.call(0, "receive", peer=None, tag=None)
    found = communication(job.trace())
    assert sets(found) == [[0, 1]]
    assert found.warnings == (
        "1 collective calls have no counterpart in another rank (of rank 1)",
        "2 sends and receives are not matched: some receive from anybody, and what they got is not known",
    )


def test_what_a_receive_from_anybody_may_have_got_is_not_matched_with_another() -> None:
    job = Job(2)
    for tag in (1, 1, 2):
        job.call(0, "send", peer=1, tag=tag)
    job.call(1, "receive", tag=1)
    job.call(1, "receive", peer=0, tag=1)  # the second message, not the first
    job.call(1, "receive", peer=0, tag=2)
    calls = communication(job.trace()).calls
    assert calls.set_id.tolist() == [-1, -1, 0, -1, -1, 0]


def test_a_missing_rank_leaves_sets_incomplete() -> None:
    job = Job(2)
    for row in range(2):
        job.call(row, "barrier", ranks="0-2")
    found = communication(job.trace())
    assert (found.n_sets, found.is_complete.tolist()) == (1, [False])


def test_of_two_recordings_of_one_rank_the_first_is_matched() -> None:
    job = Job(3, ranks=[0, 1, 1])
    for row in range(3):
        job.call(row, "barrier", ranks="0-1")
    found = communication(job.trace())
    assert found.calls.set_id.tolist() == [0, 0, -1]
    assert found.warnings == (
        "rank 1 is there more than once: only the calls of the first are matched",
    )


def test_what_goes_on_after_its_call_is_done_when_it_was_waited_for() -> None:
    job = Job(1)
    job.call(0, "all_reduce", requests="0")
    job.call(0, "all_reduce", requests="1")
    job.call(0, "wait", requests="0-1")
    job.call(0, "all_reduce", requests="0")  # the number is free again
    calls = communication(job.trace()).calls
    waited_ns = START_NS + 25 * US
    assert calls.done_ns.tolist() == [waited_ns, waited_ns, waited_ns, -1]
    assert calls.begun_by.tolist() == [-1, -1, 1, -1]


def test_a_call_that_raised_does_not_count_and_one_that_never_ended_is_not_done() -> None:
    job = Job(2)
    job.call(0, "send", peer=1, tag=0)
    job.builder.spans[-1] = (*job.builder.spans[-1][:4], Flag.RAISED, *job.builder.spans[-1][5:])
    job.call(0, "send", peer=1, tag=0)
    job.call(1, "receive", peer=0, tag=0)
    job.call(1, "barrier")
    job.builder.spans[-1] = (*job.builder.spans[-1][:4], Flag.OPEN, *job.builder.spans[-1][5:])
    calls = communication(job.trace()).calls
    assert calls.role.tolist() == [Role.OTHER, Role.SEND, Role.RECEIVE, Role.COLLECTIVE]
    assert calls.set_id.tolist() == [-1, 0, 0, -1]
    assert calls.done_ns.tolist()[-1] == -1


def test_calls_of_a_rank_that_were_summed_up_are_not_matched() -> None:
    job = Job(2)
    for row in range(2):
        job.call(row, "barrier")
    name_id = job.builder.string("barrier")
    job.builder.aggregates.append(
        (name_id, Kind.SPAN, 1, -1, -1, 70, 70, 9, 9, 1, 1, START_NS, START_NS)
    )
    found = communication(job.trace())
    assert found.n_sets == 0
    assert found.warnings == (
        "70 communication calls of rank 1 were summed up: its calls are not matched",
    )


def test_processes_whose_rank_is_told_by_their_calls_alone() -> None:
    job = Job(2)
    del job.builder.meta["ranks"]
    for row in range(2):
        job.call(row, "barrier", rank=row)
    found = communication(job.trace())
    assert sets(found) == [[0, 1]]


def test_a_trace_of_one_rank_is_not_reproached_for_the_others() -> None:
    job = Job(1)
    job.call(0, "barrier", ranks="0-3")
    assert communication(job.trace()).warnings == ()


COLLECTIVE = {
    "Collective name": "allreduce", "In msg nelems": 2049000, "Out msg nelems": 2049000, "Group size": 2,
    "dtype": "Float", "Process Group Name": "0", "Process Group Ranks": "[0, 1]",
}  # fmt: skip


def nccl_events() -> list[dict[str, Any]]:
    """What torch.profiler writes of one all_reduce on a GPU: five spans of one call."""
    kernel = "ncclKernel_AllReduce_RING_LL_Sum_float(ncclDevComm*, unsigned long, ncclWork*)"
    spans: list[tuple[str, str, int, float, float, dict[str, Any]]] = [
        ("cpu_op", "c10d::allreduce_", 99, 595.0, 294.0, {}),
        ("cpu_op", "record_param_comms", 99, 648.0, 189.0, COLLECTIVE),
        ("user_annotation", "nccl:all_reduce", 99, 670.0, 92.0, {}),
        ("gpu_user_annotation", "nccl:all_reduce", 0, 900.0, 60.0, {}),
        ("kernel", kernel, 0, 910.0, 40.0, COLLECTIVE),
    ]
    return [
        {
            "ph": "X",
            "cat": cat,
            "name": name,
            "pid": pid,
            "tid": 40,
            "ts": ts,
            "dur": dur,
            "args": args,
        }
        for cat, name, pid, ts, dur, args in spans
    ]


def test_torch_s_five_spans_of_an_all_reduce_are_its_call_and_its_kernel() -> None:
    document = {"traceEvents": nccl_events(), "distributedInfo": {"rank": 1, "world_size": 2}}
    found = communication(load_foreign(document, "trace.json"))
    calls = found.calls
    assert calls.place.tolist() == [Place.CALL, Place.DEVICE]
    assert calls.start_ns.tolist() == [595_000, 910_000]
    assert calls.bytes.tolist() == [2049000 * 4] * 2
    assert calls.rank.tolist() == [1, 1]
    assert found.is_transfer.tolist() == [False, True]
    assert found.ops == ("all_reduce",)
    assert [(g.name, g.ranks) for g in found.groups] == [("0", (0, 1))]


def test_gloo_threads_in_a_recorded_trace_of_torch() -> None:
    found = communication(load(DATA / "hta_cpu_only_rank-34.json.gz"))
    assert found.calls.place.tolist() == [Place.WORKER] * 10
    assert found.calls.bytes.tolist() == [321271 * 4, 2082411 * 4] * 5
    assert set(found.calls.rank.tolist()) == {34}


def test_names_of_kernels_and_operators() -> None:
    assert canonical("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)") == "all_reduce"
    assert canonical("ncclKernel_ReduceScatter_RING_SIMPLE_Sum_half(x)") == "reduce_scatter"
    assert canonical("c10d::alltoall_base_") == "all_to_all"
    assert canonical("c10d::reduce_") == "reduce"
    assert canonical("gloo:barrier") == "barrier"


def test_a_message_that_nobody_waited_for_is_a_transfer_all_the_same() -> None:
    job = Job(2)
    job.call(0, "send", peer=1, tag=0, requests="0")
    job.call(0, "barrier")
    job.call(1, "receive", peer=0, tag=0)
    found = communication(job.trace())
    assert found.calls.done_ns.tolist()[0] == -1
    assert found.is_transfer.tolist() == [True, True, True]


def test_what_a_gpu_does_later_is_not_done_when_its_call_returns() -> None:
    job = Job(1)
    job.call(0, "all_reduce", queued=True)
    job.call(0, "all_reduce")
    calls = communication(job.trace()).calls
    assert calls.done_ns.tolist() == [-1, START_NS + 15 * US]


def test_threads_of_a_library_count_where_no_call_says_when_it_was_done() -> None:
    job = Job(2)
    job.builder.thread(1, 101, "pt_gloo_runloop")
    job.call(0, "all_reduce")
    for thread in (0, 2):
        job.builder.span(thread, START_NS, 5 * US, "gloo:all_reduce", kind=Kind.SPAN)
    found = communication(job.trace())
    by_rank = dict.fromkeys((0, 1), "")
    for rank, place, counts in zip(
        found.calls.rank.tolist(),
        found.calls.place.tolist(),
        found.is_transfer.tolist(),
        strict=True,
    ):
        by_rank[rank] += Place(place).name if counts else ""
    assert by_rank == {0: "CALL", 1: "WORKER"}

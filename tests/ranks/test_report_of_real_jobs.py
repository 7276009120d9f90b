"""The report on jobs of real ranks, beside what the programs say of themselves by the same clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytrace.analysis.collectives import Place
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.findings import findings, straggler
from tinytrace.analysis.merge import Part, merge_traces
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.rank_report import RankReport, rank_report
from tinytrace.analysis.rank_times import Job, job_of
from tinytrace.analysis.reader import load
from tinytrace.tracer.trace import Trace

LIMIT_S = 120
BIN = Path(sys.executable).parent
TURNS = 15
# Work that differs by a factor of 80 between ranks, some 20 ms: ranks of MPI spin while they wait, and where they are
# more than the cores, one of them is held up for some ms now and then.
COMMON = f"""
import json, time
import numpy as np
TURNS = {TURNS}
a = np.random.default_rng(0).standard_normal((96, 96))
told = []
def timed(op, call):
    begin = time.monotonic_ns()
    result = call()
    told.append((op, begin, time.monotonic_ns()))
    return result
def compute(times):
    x = a
    for _ in range(times):
        x = np.tanh(a @ x)  # LATE BY WORK
def tell(rank):
    with open("told%d.json" % rank, "w") as file:
        json.dump(told, file)
"""
MPI = (
    COMMON
    + """
from mpi4py import MPI
world = MPI.COMM_WORLD
rank = world.rank
data, out = np.ones(1000), np.empty(1000)
world.Barrier()
for turn in range(TURNS):
    compute(400 if rank == 1 else 5)
    timed("all_reduce", lambda: world.Allreduce(data, out))
    if rank == 0:
        time.sleep(0.01)  # LATE BY SLEEP
    timed("broadcast", lambda: world.Bcast(data, 0))
    if rank == 0:
        request = world.Irecv(out, 2, tag=4)
        timed("wait", request.Wait)
    elif rank == 2:
        time.sleep(0.01)
        timed("send", lambda: world.Send(data, 0, tag=4))
tell(rank)
"""
)
GLOO = (
    COMMON
    + """
import os, torch, torch.distributed as dist
here = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meet", **here)
torch.set_num_threads(1)
rank, gradient = dist.get_rank(), torch.ones(1000)
class Batches:
    def __iter__(self):
        for turn in range(TURNS):
            if rank == 1:
                time.sleep(0.01)  # LATE BY DATA
            yield turn
dist.barrier()
for turn in Batches():
    timed("all_reduce", lambda: dist.all_reduce(gradient))
for turn in range(TURNS):
    compute(400 if rank == 0 else 5)
    timed("all_reduce", lambda: dist.all_reduce(gradient))
for turn in range(TURNS):
    work = dist.all_reduce(gradient, async_op=True)
    timed("compute", lambda: compute(5))
    work.wait()
tell(rank)
dist.destroy_process_group()
"""
)
Told = list[tuple[str, int, int]]


def line_of(program: str, mark: str) -> int:
    """The line of a program that has this comment."""
    [number] = [n for n, line in enumerate(program.split("\n"), 1) if mark in line]
    return number


def run_job(
    folder: Path, program: str, ranks: int, launcher: list[str] | None = None
) -> tuple[Trace, list[Told]]:
    """Run a job, by a launcher or process by process; return its merged trace, and what each rank says of itself."""
    (folder / "program.py").write_text(program)
    record = [sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
    places = [{"RANK": str(rank), "WORLD_SIZE": str(ranks)} for rank in range(ranks)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*(launcher or []), *record], cwd=folder, env={**os.environ, **threads, **place},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for place in ([{}] if launcher else places)
    ]  # fmt: skip
    try:
        for process in started:
            said, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, said
    finally:
        for process in started:
            process.kill()
    traces = [load(folder / f"out/trace-rank{rank}.json") for rank in range(ranks)]
    told = [json.loads((folder / f"told{rank}.json").read_text()) for rank in range(ranks)]
    return merge_traces([Part(f"r{rank}", trace) for rank, trace in enumerate(traces)]), told


def report_of(trace: Trace) -> RankReport:
    """What is known of its ranks."""
    found = rank_report(op_parts(count_trace(trace)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def mpi(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, list[Told]]:
    launcher = [str(BIN / "mpiexec"), "-n", "3"]
    return run_job(tmp_path_factory.mktemp("mpi"), MPI, 3, launcher)


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, list[Told]]:
    return run_job(tmp_path_factory.mktemp("gloo"), GLOO, 2)


def times_of(told: list[Told], op: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(ranks, calls, 2): before and after each call of an operation, by the program."""
    return np.array([[times for name, *times in mine if name == op] for mine in told], "i8")


class Seen:
    """Calls of a collective, (ranks, calls) each: what the program saw, and the rows that were recorded of it.

    The span of a call lies between the program's two readings of the clock. What these are apart more than it
    lasts bounds how late it begins: ``slack_ns``.
    """

    def __init__(self, job: Job, told: list[Told], op: str) -> None:
        calls = job.found.calls
        self.before, self.after = np.moveaxis(times_of(told, op), 2, 0)
        ranks, n = self.before.shape
        mine = job.found.of_ops(frozenset({op})) & (calls.place == Place.CALL)
        rows = [np.flatnonzero(mine & (calls.rank == rank))[:n] for rank in range(ranks)]
        self.rows = np.array(rows)
        assert (calls.start_ns[self.rows] >= self.before).all()
        assert (calls.end_ns[self.rows] <= self.after).all()
        lasted = calls.end_ns[self.rows] - calls.start_ns[self.rows]
        self.slack_ns = self.after - self.before - lasted


def job_in(trace: Trace) -> Job:
    """The job of a trace."""
    job = job_of(trace)
    assert job is not None
    return job


def check_waiting(trace: Trace, told: list[Told], op: str, root: int | None = None) -> None:
    """Compare the waiting in some collectives with what the program saw."""
    job = job_in(trace)
    seen = Seen(job, told, op)
    waited = job.waits.waiting_ns[np.searchsorted(job.waits.call, seen.rows)]
    came = seen.before.max(axis=0) if root is None else seen.before[root]
    true = np.maximum(np.minimum(came, seen.after) - seen.before, 0)
    assert (np.abs(waited - true) <= seen.slack_ns.max(axis=0) + seen.slack_ns).all()
    assert (waited >= 0).all()


def test_waiting_in_collectives_of_mpi_is_what_the_program_sees(
    mpi: tuple[Trace, list[Told]],
) -> None:
    check_waiting(*mpi, "all_reduce")
    check_waiting(*mpi, "broadcast", root=0)


def test_waiting_for_a_late_sender_is_in_the_wait_of_the_receive(
    mpi: tuple[Trace, list[Told]],
) -> None:
    trace, told = mpi
    job = job_in(trace)
    calls = job.found.calls
    sends = np.array([times for name, *times in told[2] if name == "send"])
    waits = np.array([times for name, *times in told[0] if name == "wait"])
    rows = np.flatnonzero((calls.begun_by >= 0) & (calls.rank == 0))
    waited = job.waits.waiting_ns[np.searchsorted(job.waits.call, rows)]
    span_ns = (calls.end_ns - calls.start_ns)[rows]
    send_rows = np.flatnonzero(job.found.of_ops(frozenset({"send"})) & (calls.rank == 2))
    slack = (waits[:, 1] - waits[:, 0] - span_ns) + (
        sends[:, 1] - sends[:, 0] - (calls.end_ns - calls.start_ns)[send_rows]
    )
    true = np.maximum(np.minimum(sends[:, 0], waits[:, 1]) - waits[:, 0], 0)
    assert (np.abs(waited - true) <= slack).all()


def test_stragglers_of_mpi_are_named_with_the_lines_that_make_them_late(
    mpi: tuple[Trace, list[Told]],
) -> None:
    trace, told = mpi
    one = next(s for s in report_of(trace).stragglers if s.rank == 1)
    seen = Seen(job_in(trace), told, "all_reduce")
    lead = seen.before[1] - seen.before[[0, 2]].max(axis=0)
    slack = seen.slack_ns.max(axis=0)
    assert (
        (lead > slack).sum() <= one.last <= (lead > -slack).sum() + 1
    )  # the first barrier, perhaps
    assert (one.more[0].name, one.more[0].line) == ("matmul", line_of(MPI, "LATE BY WORK"))
    assert one.more[0].spent_ns > 2 * one.more[0].others_ns
    zero = next(s for s in report_of(trace).stragglers if s.rank == 0)
    assert ("blocked", line_of(MPI, "LATE BY SLEEP")) in [(m.name, m.line) for m in zero.more]
    named = [f for f in findings(trace, min_share=0) if f.rule == straggler.NAME]
    assert (line_of(MPI, "LATE BY WORK"), "compute") in [(f.line, f.function) for f in named]


@pytest.mark.parametrize("job", ["mpi", "gloo"])
def test_the_time_of_real_ranks_adds_up(job: str, request: pytest.FixtureRequest) -> None:
    trace, told = request.getfixturevalue(job)
    for rank in report_of(trace).ranks:
        parts = [
            rank.ops_ns, rank.waiting_ns, rank.transfer_ns, rank.unsplit_ns, rank.data_ns, rank.python_ns,
            rank.imports_ns, rank.blocked_ns, rank.other_ns,
        ]  # fmt: skip
        assert sum(parts) == rank.wall_ns
        assert min(parts) >= 0
    assert len(report_of(trace).ranks) == len(told)


def test_waiting_in_collectives_of_gloo_is_what_the_program_sees(
    gloo: tuple[Trace, list[Told]],
) -> None:
    check_waiting(*gloo, "all_reduce")


def test_stragglers_of_gloo_are_named_with_the_lines_that_make_them_late(
    gloo: tuple[Trace, list[Told]],
) -> None:
    zero, one = sorted(report_of(gloo[0]).stragglers, key=lambda s: s.rank)
    assert (zero.more[0].name, zero.more[0].line) == ("matmul", line_of(GLOO, "LATE BY WORK"))
    assert one.more[0].line == line_of(GLOO, "LATE BY DATA")


def test_what_is_computed_while_gloo_communicates_is_hidden(gloo: tuple[Trace, list[Told]]) -> None:
    trace, told = gloo
    for rank in report_of(trace).ranks:
        computed = [end - begin for op, begin, end in told[rank.rank] if op == "compute"]
        assert rank.hidden_ns is not None
        assert 0 < rank.hidden_ns <= min(sum(computed), rank.in_flight_ns)

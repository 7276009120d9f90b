"""Jobs of real ranks: MPI's, gloo's, and ones that are killed; recorded, merged, and read back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cores import CORES
from tests.ranks.by_hand import MS, entries
from tests.ranks.two_hosts import Hosts, apart, networked
from tinytrace.analysis.clock_models import ClockModel
from tinytrace.analysis.collectives import Place, Role, communication
from tinytrace.analysis.merge import Part, merge_traces
from tinytrace.analysis.merged_tables import join, retimed
from tinytrace.analysis.reader import load
from tinytrace.tracer.trace import Trace

LIMIT_S = 120
BIN = Path(sys.executable).parent
MPI = """
import sys, time
import numpy as np
from mpi4py import MPI
world = MPI.COMM_WORLD
rank, size = world.rank, world.size
data, result = np.full(1000, float(rank)), np.empty(1000)
for turn in range(30):
    if rank == 1 and turn >= 20:
        time.sleep(0.01)  # a straggler
    world.Barrier()
    world.Allreduce(data, result)
world.Allreduce(MPI.IN_PLACE, result)
assert world.allreduce(rank) == size * (size - 1) // 2
assert world.bcast({"a": 1} if rank == 0 else None) == {"a": 1}
following, before = (rank + 1) % size, (rank - 1) % size
request = world.Isend([data, MPI.DOUBLE], following, tag=3)
world.Recv(result, before, tag=3)
request.Wait()
requests = [world.irecv(source=before, tag=4), world.isend("text", following, tag=4)]
assert MPI.Request.waitall(requests)[0] == "text"
status = MPI.Status()
if rank == 0:
    world.recv(status=status)
    world.Recv(result, status=status)
    world.recv(tag=9)  # from whom, nobody asks
elif rank == 1:
    world.send("from me", 0, tag=6)
    world.Send(data, 0, tag=7)
    world.send("more", 0, tag=9)
world.Sendrecv(data, following, 5, result, before, 5)
halves = world.Split(0, -rank)
halves.Reduce(data, result, root=0)
halves.Free()
world.Send(data, MPI.PROC_NULL)
try:
    world.Send(data, size + 7)
except MPI.Exception:
    pass
sys.stdout.write("done %d\\n" % rank)
"""
GLOO = """
import torch, torch.distributed as dist
from torch.distributed import P2POp, batch_isend_irecv, irecv, isend
dist.init_process_group("gloo")
rank = dist.get_rank()
data = torch.ones(1000)
for _ in range(2):
    dist.all_reduce(data)
    dist.all_reduce(data, async_op=True).wait()
    dist.barrier()
    dist.broadcast(data, 1)
    dist.send(data, 1, tag=4) if rank == 0 else dist.recv(data, 0, tag=4)
    dist.all_gather([torch.empty(1000) for _ in range(2)], data)
    objects = [None, None]
    dist.all_gather_object(objects, {"rank": rank})
    assert objects == [{"rank": 0}, {"rank": 1}]
    for work in batch_isend_irecv([P2POp(isend, data, 1 - rank), P2POp(irecv, torch.empty(1000), 1 - rank)]):
        work.wait()
dist.all_reduce(data, group=dist.new_group([0, 1]))
dist.destroy_process_group()
"""
CLONE_NEWTIME = 0x80
IN_TIME_NAMESPACE = f"""
import ctypes, subprocess, sys
if ctypes.CDLL(None).unshare({CLONE_NEWTIME:#x}) == 0:
    with open("/proc/self/timens_offsets", "w") as file:
        file.write("monotonic 7 20000000")
sys.exit(subprocess.call(sys.argv[1:]))
"""


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job in a folder."""
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, timeout=LIMIT_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("", 0))
        return str(listening.getsockname()[1])


def mpi_job(folder: Path, core: str) -> list[Trace]:
    """Run the MPI program in two ranks; return the trace of each."""
    (folder / "program.py").write_text(MPI)
    ended = run(
        [str(BIN / "mpiexec"), "-n", "2", sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"],
        folder, TINYTRACE_CORE=core,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.split("\n")) == ["", "done 0", "done 1"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "trace-rank0.json",
        "trace-rank1.json",
    ]
    return [load(folder / f"out/trace-rank{rank}.json") for rank in (0, 1)]


@pytest.fixture(scope="module", params=CORES)
def mpi_traces(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Trace]:
    return mpi_job(tmp_path_factory.mktemp("mpi"), request.param)


def test_every_call_of_mpi_ranks_is_matched(mpi_traces: list[Trace]) -> None:
    trace = merge_traces([Part(f"r{row}", t) for row, t in enumerate(mpi_traces)])
    found = communication(trace)
    calls = found.calls
    kinds = [found.ops[i] for i in calls.op_id[calls.rank == 0].tolist()]
    assert kinds == [
        *["barrier", "all_reduce"] * 30, "all_reduce", "all_reduce", "broadcast", "send", "receive", "wait",
        "receive", "send", "wait", "receive", "receive", "receive", "send", "receive", "reduce", "send",
    ]  # fmt: skip
    raised = calls.role == Role.OTHER  # a send to a rank that does not exist
    assert int(raised.sum()) == 2
    alone = (calls.set_id < 0) & (calls.role != Role.WAIT) & ~raised
    assert calls.tag[alone].tolist() == [
        9,
        9,
    ]  # the receive from anybody of which no status was asked
    assert calls.tag[(calls.role == Role.RECEIVE) & (calls.rank == 0)].tolist() == [
        3,
        4,
        6,
        7,
        9,
        5,
    ]
    assert found.is_complete.all()
    assert set(calls.bytes[found.of_ops(frozenset({"reduce"}))].tolist()) == {8000}
    # the communicator that was split off has its ranks the other way round: its root is rank 1
    assert calls.peer[found.of_ops(frozenset({"reduce"}))].tolist() == [1, 1]
    assert [g.ranks for g in found.groups if g.name.startswith("communicator")] == [(1, 0)]
    begun = calls.begun_by[calls.role == Role.WAIT]
    assert (begun >= 0).all() and (calls.done_ns >= calls.end_ns).all()
    assert trace.strings[trace.processes.name_id[1]] == "rank 1: program.py"


def test_a_planted_skew_of_real_ranks_is_recovered_within_the_error_that_is_told(
    mpi_traces: list[Trace],
) -> None:
    first, second = mpi_traces
    true = merge_traces([Part("0", first), Part("1", second)])
    for skew_ns in (MS, -37 * MS, 100 * MS):
        # what a host would have recorded whose clock is behind, and of which nothing is known
        moved = retimed(join([second]), [ClockModel(-skew_ns)])
        domain = {"host": "elsewhere", "boot_id": "another"}
        moved = Trace(**{**vars(moved), "meta": {**second.meta, "clock_domain": domain}})
        merged = merge_traces([Part("0", first), Part("1", moved)])
        found = entries(merged)[1]
        assert found["method"] == "collectives"
        assert abs(found["offset_ns"] - skew_ns) <= found["error_ns"]
        wrong = merged.spans.start_ns - true.spans.start_ns
        assert np.abs(wrong).max() <= found["error_ns"]


def test_a_straggler_among_real_ranks_is_the_last_to_come(mpi_traces: list[Trace]) -> None:
    trace = merge_traces([Part(f"r{row}", t) for row, t in enumerate(mpi_traces)])
    found = communication(trace)
    calls = found.calls
    barriers = found.of_ops(frozenset({"barrier"}))
    zero, one = (calls.start_ns[barriers & (calls.rank == rank)][20:] for rank in (0, 1))
    assert (one > zero).all()


def check_clock(trace: Trace, hosts: Hosts, skew_ns: int) -> None:
    """Assert that the clock of the second of two ranks was put right."""
    first, second = entries(trace)
    if not hosts.are_apart:
        assert (second["method"], second["offset_ns"]) == ("same clock", 0)
        return
    assert (first["host"], second["host"], second["method"]) == ("a", "b", "collectives")
    assert abs(second["offset_ns"] + skew_ns) <= second["error_ns"]


def test_mpi_ranks_on_two_hosts_are_put_on_one_clock(tmp_path: Path) -> None:
    skew_ns = 100 * MS
    (tmp_path / "program.py").write_text(MPI)
    hosts = apart(tmp_path, skew_ns)
    record = [sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
    one, two = ([*prefix, *record] for prefix in hosts.prefixes)
    ended = run([str(BIN / "mpiexec"), "-n", "1", *one, ":", "-n", "1", *two], tmp_path)
    assert ended.returncode == 0, ended.stderr
    trace = merge_traces(
        [Part(f"r{r}", load(tmp_path / f"out/trace-rank{r}.json")) for r in (0, 1)]
    )
    check_clock(trace, hosts, skew_ns)
    assert communication(trace).is_complete.all()


def test_gloo_ranks_on_two_hosts_that_a_cable_joins_are_put_on_one_clock(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(GLOO)
    skew_ns = 20 * MS
    port = free_port()
    with networked(tmp_path, skew_ns) as hosts:
        ranks = []
        for rank, (prefix, interface) in enumerate(
            zip(hosts.prefixes, hosts.interfaces, strict=True)
        ):
            job = {
                "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": hosts.address, "MASTER_PORT": port,
                "GLOO_SOCKET_IFNAME": interface, "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            command = [*prefix, sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
            ranks.append(subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **job}))
        assert [rank.wait(LIMIT_S) for rank in ranks] == [0, 0]
    trace = merge_traces(
        [Part(f"r{r}", load(tmp_path / f"out/trace-rank{r}.json")) for r in (0, 1)]
    )
    check_clock(trace, hosts, skew_ns)
    assert communication(trace).is_complete.all()


def test_a_rank_in_a_time_namespace_is_put_right_exactly(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import tinytrace as tt\nwith tt.span('here'): pass\n")
    (tmp_path / "namespace.py").write_text(IN_TIME_NAMESPACE)
    record = [sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
    job = {"WORLD_SIZE": "2"}
    assert run(record, tmp_path, RANK="0", **job).returncode == 0
    within = [sys.executable, "namespace.py", *record]
    assert run(within, tmp_path, RANK="1", **job).returncode == 0
    traces = [load(tmp_path / f"out/trace-rank{rank}.json") for rank in (0, 1)]
    trace = merge_traces([Part("0", traces[0]), Part("1", traces[1])])
    second = entries(trace)[1]
    # Where the kernel makes no such namespaces, the program runs on the clock of all: nothing is to be put right.
    planted_ns = traces[1].meta["clock_domain"].get("monotonic_offset_ns", 0)
    assert planted_ns in (0, 7_020_000_000)
    assert (second["offset_ns"], second["error_ns"], second["method"]) == (
        -planted_ns,
        0,
        "same clock",
    )
    zero, one = trace.processes.start_ns.tolist()
    assert (
        0 < one - zero < 7_000_000_000
    )  # the second was started after the first, and not by 7 s more


def test_gloo_ranks_of_torchrun_are_matched(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(GLOO)
    ended = run(
        [str(BIN / "torchrun"), "--nproc-per-node", "2", "-m", "tinytrace", "-q", "--steps", "9:10", "-o", "out/",
         "program.py"],
        tmp_path, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    trace = merge_traces(
        [Part(f"r{r}", load(tmp_path / f"out/trace-rank{r}.json")) for r in (0, 1)]
    )
    found = communication(trace)
    calls = found.calls
    # Without torch's profiler, which sees gloo's own threads, too, while it is on.
    of_program = (calls.rank == 0) & (calls.place == Place.CALL)
    kinds = [found.ops[i] for i in calls.op_id[of_program].tolist()]
    turn = [
        "all_reduce", "all_reduce", "wait", "barrier", "broadcast", "send", "all_gather", "all_gather",
        "all_gather", "send", "receive", "wait", "wait",
    ]  # fmt: skip
    assert kinds == [*turn, *turn, "all_reduce"]
    assert (calls.set_id[calls.role != Role.WAIT] >= 0).all()
    assert found.is_complete.all() and found.warnings == ()
    assert (calls.bytes[found.of_ops(frozenset({"all_reduce", "broadcast"}))] == 4000).all()
    assert [entry["rank"] for entry in entries(trace)] == [0, 1]
    assert (calls.done_ns >= calls.end_ns).all()


def test_a_rank_that_was_killed_is_merged_from_what_it_left(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os, signal, tinytrace as tt\nwith tt.span('before'): pass\n"
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    record = [sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
    record.remove("-q")
    zero, one = (run(record, tmp_path, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1))
    assert (zero.returncode, one.returncode) == (0, -signal.SIGKILL)
    assert "rank 0 of 2; all of them: python -m tinytrace merge" in zero.stderr
    merged = run([sys.executable, "-m", "tinytrace", "merge", "out", "-o", "job.json"], tmp_path)
    assert merged.returncode == 0
    assert "-rank1; the clock of the first" in merged.stderr
    trace = load(tmp_path / "job.json")
    assert [entry["rank"] for entry in entries(trace)] == [0, 1]
    names = [trace.strings[i] for i in trace.spans.name_id.tolist()]
    assert names.count("before") == 2
    assert trace.meta["audit"]["unfinished_processes"] == 1
    assert list((tmp_path / "out/.tinytrace").iterdir())  # `recover` still has it

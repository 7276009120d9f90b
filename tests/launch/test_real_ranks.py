"""Jobs of real ranks: MPI's, gloo's, and ones that are killed; recorded, merged, and read back."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cores import CORES
from tests.ranks_by_hand import MS, entries
from tinytrace.analysis.clock_models import ClockModel
from tinytrace.analysis.collectives import Role, communication
from tinytrace.analysis.merge import Part, merge
from tinytrace.analysis.merged_tables import join, retimed
from tinytrace.analysis.reader import load
from tinytrace.tracer.ranks import TIME_OFFSETS, monotonic_offset_ns
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


@pytest.mark.parametrize("core", CORES)
def test_every_call_of_mpi_ranks_is_matched(tmp_path: Path, core: str) -> None:
    trace = merge([Part(f"r{row}", t) for row, t in enumerate(mpi_job(tmp_path, core))])
    found = communication(trace)
    calls = found.calls
    kinds = [found.ops[i] for i in calls.op_id[calls.rank == 0].tolist()]
    assert kinds == [
        *["barrier", "all_reduce"] * 30, "all_reduce", "all_reduce", "broadcast", "send", "receive", "wait",
        "receive", "send", "wait", "send", "receive", "reduce", "send",
    ]  # fmt: skip
    raised = calls.role == Role.OTHER  # a send to a rank that does not exist
    assert int(raised.sum()) == 2
    assert ((calls.set_id >= 0) == ((calls.role != Role.WAIT) & ~raised)).all()
    assert found.is_complete.all()
    assert set(calls.bytes[found.of_ops(frozenset({"reduce"}))].tolist()) == {8000}
    # the communicator that was split off has its ranks the other way round: its root is rank 1
    assert calls.peer[found.of_ops(frozenset({"reduce"}))].tolist() == [1, 1]
    assert [g.ranks for g in found.groups if g.name.startswith("communicator")] == [(1, 0)]
    begun = calls.begun_by[calls.role == Role.WAIT]
    assert (begun >= 0).all() and (calls.done_ns >= calls.end_ns).all()
    assert trace.strings[trace.processes.name_id[1]] == "rank 1: program.py"


def test_a_planted_skew_of_real_ranks_is_recovered_within_the_error_that_is_told(
    tmp_path: Path,
) -> None:
    first, second = mpi_job(tmp_path, CORES[0])
    true = merge([Part("0", first), Part("1", second)])
    for skew_ns in (MS, -37 * MS, 100 * MS):
        # what a host would have recorded whose clock is behind, and of which nothing is known
        moved = retimed(join([second]), [ClockModel(-skew_ns)])
        domain = {"host": "elsewhere", "boot_id": "another"}
        moved = Trace(**{**vars(moved), "meta": {**second.meta, "clock_domain": domain}})
        merged = merge([Part("0", first), Part("1", moved)])
        found = entries(merged)[1]
        assert found["method"] == "collectives"
        assert abs(found["offset_ns"] - skew_ns) <= found["error_ns"]
        wrong = merged.spans.start_ns - true.spans.start_ns
        assert np.abs(wrong).max() <= found["error_ns"]


def test_a_straggler_among_real_ranks_is_the_last_to_come(tmp_path: Path) -> None:
    trace = merge([Part(f"r{row}", t) for row, t in enumerate(mpi_job(tmp_path, CORES[0]))])
    found = communication(trace)
    calls = found.calls
    barriers = found.of_ops(frozenset({"barrier"}))
    zero, one = (calls.start_ns[barriers & (calls.rank == rank)][20:] for rank in (0, 1))
    assert (one > zero).all()


def test_a_rank_in_a_time_namespace_is_put_right_exactly(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import tinytrace as tt\nwith tt.span('here'): pass\n")
    (tmp_path / "namespace.py").write_text(IN_TIME_NAMESPACE)
    record = [sys.executable, "-m", "tinytrace", "-q", "-o", "out/", "program.py"]
    job = {"WORLD_SIZE": "2"}
    assert run(record, tmp_path, RANK="0", **job).returncode == 0
    within = [sys.executable, "namespace.py", *record]
    assert run(within, tmp_path, RANK="1", **job).returncode == 0
    traces = [load(tmp_path / f"out/trace-rank{rank}.json") for rank in (0, 1)]
    trace = merge([Part("0", traces[0]), Part("1", traces[1])])
    _, second = entries(trace)
    may_have_one = ctypes.CDLL(None).geteuid() == 0 and TIME_OFFSETS.exists()
    planted_ns = -traces[1].meta["clock_domain"].get("monotonic_offset_ns", 0)
    assert planted_ns in ((0, -7_020_000_000) if may_have_one else (0,))
    offset_ns = second["offset_ns"] - monotonic_offset_ns(TIME_OFFSETS)
    assert (offset_ns, second["error_ns"], second["method"]) == (planted_ns, 0, "same clock")
    zero, one = trace.processes.start_ns.tolist()
    assert 0 < one - zero < 60 * 10**9  # the second was started after the first


def test_gloo_ranks_of_torchrun_are_matched(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(GLOO)
    ended = run(
        [str(BIN / "torchrun"), "--nproc-per-node", "2", "-m", "tinytrace", "-q", "-o", "out/", "program.py"],
        tmp_path, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    trace = merge([Part(f"r{r}", load(tmp_path / f"out/trace-rank{r}.json")) for r in (0, 1)])
    found = communication(trace)
    calls = found.calls
    kinds = [found.ops[i] for i in calls.op_id[calls.rank == 0].tolist()]
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
    ends = [run(record, tmp_path, RANK=str(rank), WORLD_SIZE="2").returncode for rank in (0, 1)]
    assert ends == [0, -signal.SIGKILL]
    merged = run([sys.executable, "-m", "tinytrace", "merge", "out", "-o", "job.json"], tmp_path)
    assert merged.returncode == 0
    assert "-rank1; the clock of the first" in merged.stderr
    trace = load(tmp_path / "job.json")
    assert [entry["rank"] for entry in entries(trace)] == [0, 1]
    names = [trace.strings[i] for i in trace.spans.name_id.tolist()]
    assert names.count("before") == 2
    assert trace.meta["audit"]["unfinished_processes"] == 1
    assert list((tmp_path / "out/.tinytrace").iterdir())  # `recover` still has it

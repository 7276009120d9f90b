"""What adapters of communication libraries share; and that the libraries are as before when recording has ended."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cores import CORES
from tinytrace.tracer.adapters.communicating import MOST_REQUESTS, Parameters, Requests

MPI = """
import sys
from mpi4py import MPI
import tinytrace as tt
from tinytrace.analysis.collectives import communication
world = MPI.COMM_SELF
def methods():
    return {n: vars(c)[n] for c in (MPI.Comm, MPI.Intracomm, MPI.Request) for n in vars(c)}
before = methods()
for _ in range(2):
    with tt.trace(sys.argv[1]):
        world.Barrier()
        world.allreduce(1)
        kept = world.Barrier
    assert all(methods()[n] is m for n, m in before.items())
    kept()  # what the program kept calls the original
    world.Barrier()
    found = communication(tt.load(sys.argv[1]))
    assert [found.ops[i] for i in found.calls.op_id] == ["barrier", "all_reduce"], found.ops
"""
TORCH = """
import sys
import torch, torch.distributed as dist
from torch.distributed import P2POp, isend, distributed_c10d as c10d
import tinytrace as tt
from tinytrace.analysis.collectives import Place, communication
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
names = ("all_reduce", "send", "isend", "barrier")
before = [vars(m)[n] for m in (dist, c10d) for n in names] + [dist.Work.__dict__["wait"]]
with tt.trace(sys.argv[1]):
    dist.all_reduce(torch.ones(2, dtype=torch.float64))
    assert dist.all_reduce is c10d.all_reduce
    P2POp(isend, torch.ones(2), 0)  # it takes no others than those it knows
after = [vars(m)[n] for m in (dist, c10d) for n in names] + [dist.Work.__dict__["wait"]]
assert all(a is b for a, b in zip(before, after))
with tt.trace(sys.argv[1] + ".gz"):
    torch.ones(2)
assert not any("isend" in text for text in tt.load(sys.argv[1] + ".gz").warnings)  # nothing was communicated
dist.barrier()
trace = tt.load(sys.argv[1])
found = communication(trace)
calls = found.calls.take(found.calls.place == Place.CALL)
assert ([found.ops[i] for i in calls.op_id], calls.bytes.tolist()) == (["all_reduce"], [16])
assert any("isend is not seen" in text for text in trace.warnings), trace.warnings
dist.destroy_process_group()
"""


class Work:
    pass


@pytest.mark.parametrize(
    ("program", "core"), [*((MPI, core) for core in CORES), (TORCH, CORES[0])], ids=lambda x: x[-4:]
)
def test_a_library_is_as_before_when_recording_has_ended(
    program: str, core: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "trace.json")],
        env={**os.environ, "TINYTRACE_CORE": core}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_the_number_of_a_request_is_free_again_when_it_was_waited_for_or_forgotten() -> None:
    requests = Requests()
    works = [Work() for _ in range(3)]
    for work in works:
        requests.give(requests.take(), work)
    assert [requests.slot_of(work) for work in works] == [0, 1, 2]
    requests.free(1)
    assert (requests.slot_of(works[1]), requests.take()) == (-1, 1)
    del work
    works.clear()
    gc.collect()
    assert sorted(requests.take() for _ in range(2)) == [0, 2]


def test_a_request_without_weak_references_loses_its_number_to_what_takes_its_place() -> None:
    requests = Requests()
    place = [1]  # a list has no weak references; the same object stands for another at its place
    requests.give(requests.take(), place)
    requests.give(requests.take(), place)
    assert requests.slot_of(place) == 1
    assert requests.take() == 0


def test_requests_without_end_are_no_longer_numbered() -> None:
    requests = Requests()
    assert [requests.take() for _ in range(MOST_REQUESTS + 1)][-2:] == [MOST_REQUESTS - 1, -1]
    requests.give(0, None)
    assert requests.take() == 0


def test_arguments_are_found_wherever_they_stand() -> None:
    def call(data: int, root: int = 7, *, tag: int) -> None: ...

    find = Parameters(call)
    assert find((1,), {"tag": 3}, "root") == 7
    assert find((1, 2), {"tag": 3}, "root") == 2
    assert find((), {"data": 5, "tag": 3}, "data") == 5
    assert find((1,), {}, "tag") is None
    assert find((1,), {}, "no such") is None

"""Programs that use PyTorch: they run as without us, however they use it, and are in the trace."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from tests.launch.both import Place, ops, process_names
from tests.tracer.adapters import torch_programs
from tinytrace.tracer.records import Kind

PROGRAMS = (
    Path(torch_programs.__file__)
    .read_text(encoding="utf-8")
    .replace("from __future__ import annotations\n", "")
)
# As many chunks as there can be: whatever goes wrong between two of them goes wrong here.
MANY_CHUNKS = """
import sys
torch_profiler = sys.modules.get("tinytrace.tracer.torch_profiler")
if torch_profiler is None and "tinytrace" in sys.modules:
    import tinytrace.tracer.torch_profiler as torch_profiler
if torch_profiler is not None:
    torch_profiler.FIRST_CHUNK_NS = torch_profiler.LONGEST_CHUNK_NS = 0
"""
# Operations that are going on while code runs that looks like a place between two of them.
IN_FLIGHT = (
    MANY_CHUNKS
    + PROGRAMS
    + """
import threading, warnings
from torch.autograd.profiler import record_function
from torch.utils.checkpoint import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

warnings.simplefilter("ignore")
torch.manual_seed(0)
linear = nn.Linear(8, 8)
sgd = torch.optim.SGD(linear.parameters(), lr=0.01)
x = torch.ones(4, 8)

def a_step():
    sgd.zero_grad()
    linear(x).sum().backward()
    sgd.step()

class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        with torch.no_grad():
            sgd.step()
            return linear(x)
    @staticmethod
    def backward(ctx, gradient):
        sgd.step()
        with record_function("in backward"):
            pass
        return linear(gradient)

class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        sgd.step()
        return func(*args, **(kwargs or {}))

@torch.library.custom_op("tests::own", mutates_args=())
def own(x: torch.Tensor) -> torch.Tensor:
    sgd.step()
    return x.clone()

def in_thread():
    for _ in range(20):
        linear(x)

for _ in range(6):
    with record_function("around"):
        a_step()
        a_step()
    y = x.clone().requires_grad_()
    for reentrant in (True, False):
        checkpoint(linear, y, use_reentrant=reentrant).sum().backward()
    Own.apply(y).sum().backward()
    with Mode():
        x + 1
    own(x)
    thread = threading.Thread(target=in_thread)
    thread.start()
    a_step()
    thread.join()
    torch.jit.wait(torch.jit.fork(linear, x))
hooked = nn.Linear(8, 8)
each = {p: torch.optim.SGD([p], lr=0.1) for p in hooked.parameters()}
for p in hooked.parameters():
    p.register_post_accumulate_grad_hook(lambda p: each[p].step())
for _ in range(10):
    hooked(x).sum().backward()
train(4)
print(sum(float(p.detach().sum()) for p in (*linear.parameters(), *hooked.parameters())))
Model()(torch.ones(2, 6, 3))  # fails in a layer
"""
)
LOADER = (
    MANY_CHUNKS
    + PROGRAMS
    + """
if __name__ == "__main__":
    train(4, workers=2)
    print("done")
"""
)
KILLED = (
    MANY_CHUNKS + PROGRAMS + "train(4)\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
)
RANKS = (
    MANY_CHUNKS.replace("= 0", "= 10**12")  # a single one
    + PROGRAMS
    + """
import os
import torch.distributed as dist
import torch.multiprocessing as mp

def rank(number, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2)
    torch.manual_seed(number)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        sgd.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        sgd.step()
    print(round(float(next(model.parameters()).detach().sum()), 4), flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(rank, (os.path.abspath("store"),), nprocs=2)
"""
)


def names(place: Place, kind: Kind = Kind.OP) -> Counter[str]:
    trace = place.trace()
    return Counter(
        trace.strings[name]
        for name, of in zip(trace.spans.name_id.tolist(), trace.spans.kind.tolist(), strict=True)
        if of == kind
    )


def test_chunks_end_and_begin_where_no_operation_is_going_on(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=IN_FLIGHT)
    place.environment = {"MALLOC_PERTURB_": "77", "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    ended = place.same("train.py")
    assert ended.status == 1
    assert ended.stderr.startswith(b"Traceback") and b"mat1 and mat2" in ended.stderr
    trace = place.trace()
    assert len(trace.meta["torch_profiler"]["windows_ns"]) > 12
    assert Counter(ops(trace))["aten::cross_entropy_loss"] == 4


def test_workers_of_data_loaders_run_without_the_profiler_of_their_parent(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=LOADER)
    ended = place.same("train.py")
    assert ended.stdout == b"done\n"
    found = names(place)
    assert found["aten::cross_entropy_loss"] == 4
    assert found["multiply"] == 8  # NumPy's, in the workers
    assert [w for w in place.trace().warnings if "processes that were forked" in w]


def test_what_a_killed_program_did_before_the_last_chunk_is_recovered(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=KILLED)
    assert place.record("train.py").status == -signal.SIGKILL
    trace = place.recover()
    assert 3 <= Counter(ops(trace))["aten::cross_entropy_loss"] <= 4
    assert trace.meta["torch_profiler"]["windows_ns"]


def test_ranks_of_a_job_are_each_in_the_trace(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=RANKS)
    ended = place.record("train.py")
    first, second = ended.stdout.split()
    assert first == second
    trace = place.trace()
    assert len(process_names(trace)) == 3
    process = trace.threads.process[trace.spans.thread]
    layer = trace.spans.kind == Kind.LAYER
    for row in (1, 2):
        mine = [trace.strings[i] for i in trace.spans.name_id[layer & (process == row)]]
        assert Counter(mine) == {"DistributedDataParallel": 4, "module": 4, "0": 4, "1": 4}
        of = [trace.strings[i] for i in trace.spans.name_id[process == row]]
        assert Counter(of)["aten::addmm"] == 4

"""JAX on the CPU: calls of jitted functions last until their results are ready, and the program is not changed.

Each program runs in a process of its own: once imported, JAX warns of every fork.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest

import tinytrace as tt
from tests.contract.recorded import record
from tests.cores import CORES
from tests.launch.both import Ended, Place
from tests.recorded import Recorded, Row, read
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.op_groups import group_ops
from tinytrace.tracer.adapters.jax_ready import MOST_WAIT_S, THREAD_NAME, Watcher
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.session import load_core

# Pure Python says that it cannot: the last but one.
COMPILED = pytest.mark.parametrize("compiled", [core for core in CORES if core == "c"])
PROGRAM = """
import functools, traceback
import jax, jax.numpy as jnp, numpy as np

@jax.jit
def product(x, y):
    print("traced")
    return x @ y

@functools.partial(jax.jit, static_argnames="n")
def scaled(x, n):
    return x * n

x, y = np.ones((64, 32), np.float32), np.ones((32, 16), np.float32)
for _ in range(3):
    r = product(x, y)
print(jax.block_until_ready(r).shape, float(r.sum()), type(product).__name__, np.asarray(r).sum())
for n in (2, 3, 3):
    scaled(x, n=n).block_until_ready()
try:
    product(x, x)
except TypeError:
    traceback.print_exc()
print(jax.grad(lambda x: product(x, y).sum())(x).shape)
bound, donated = jax.jit(functools.partial(jnp.add, 1)), jax.jit(lambda x: x + x, donate_argnums=0)
for _ in range(2):
    bound(2)
    donated(jnp.ones((4, 4))).block_until_ready()
with jax.disable_jit():
    scaled(x, n=5)
"""


def inside(outer: Row, row: Row) -> bool:
    return outer.start_ns <= row.start_ns and row.end_ns <= outer.end_ns


def ops(recorded: Recorded, name: str) -> list[Row]:
    return [row for row in recorded.named(name) if row.kind == Kind.OP]


@COMPILED
def test_jitted_functions_are_ops_with_the_figures_of_xla(tmp_path: Path, compiled: str) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    place.core = compiled
    printed = place.same("train.py").stdout.splitlines()
    assert printed[0] == b"traced"
    assert printed[1] == b"(64, 16) 32768.0 PjitFunction 32768.0"
    recorded = read(place.trace())
    calls = ops(recorded, "product")
    assert [call.args["flops"] for call in calls] == [2 * 64 * 32 * 16] * 2, (
        "the first one compiles"
    )
    assert {call.args["bytes"] for call in calls} == {4 * (64 * 32 + 32 * 16 + 64 * 16)}
    assert "modelled" in calls[0].args["figures"]
    assert calls[0].args["arguments"] == "float32[64, 32], float32[32, 16]"
    assert {call.function for call in calls} == {"<module>"}
    [group] = [g for g in group_ops(recorded.trace) if g.op == "product"]
    assert (group.calls, group.flops) == (2, 2 * 2 * 64 * 32 * 16)
    assert count_trace(recorded.trace).total("flops") >= 2 * 2 * 64 * 32 * 16

    first, wrong = recorded.named("product (first call)")
    assert (first.flags, wrong.flags) == (Flag(0), Flag.RAISED)
    for phase in ("trace", "lower", "compile"):
        row = next(r for r in recorded.named(f"{phase} product") if inside(first, r))
        assert row.parent == "product (first call)"
    assert len(recorded.named("scaled (first call)")) == 2, "one for each static value"
    assert len(ops(recorded, "scaled")) == 1
    [donated] = ops(recorded, "<lambda>")
    assert donated.args["flops"] == 16
    assert not any("XLA" in warning for warning in recorded.trace.warnings)
    waits = {row.name for row in recorded.rows if row.name.startswith("wait: ")}
    assert waits == {"wait: block_until_ready", "wait: float"}


CONFIGURED = """
import jax
jax.config.update("jax_num_cpu_devices", 3)  # refused once there is a backend
print(len(jax.devices()), jax.jit(lambda x: x)(1))
"""


@COMPILED
def test_the_program_configures_the_backend_after_the_import(tmp_path: Path, compiled: str) -> None:
    place = Place.make(tmp_path, train=CONFIGURED)
    place.core = compiled
    assert place.record("train.py") == Ended(0, b"3 1\n", b"")


LATE = """
import jax, jax.numpy as jnp
@jax.jit
def slow(x):
    for _ in range(4):
        x = x @ x
    return x
x = jnp.full((900, 900), 1e-3)
slow(x).block_until_ready()
slow(x).block_until_ready()
r = slow(x)
print(r.is_ready())
r.block_until_ready()
donated = jax.jit(lambda x: x + 1, donate_argnums=0)
for _ in range(3):
    r = donated(slow(r))
print(r.shape)
"""


@COMPILED
def test_an_op_lasts_until_its_result_is_ready(tmp_path: Path, compiled: str) -> None:
    place = Place.make(tmp_path, train=LATE)
    place.core = compiled
    ended = place.record("train.py")
    ready, shape = ended.stdout.split(maxsplit=1)
    assert (ended.status, shape) == (0, b"(900, 900)\n")
    recorded = read(place.trace())
    calls = ops(recorded, "slow")
    wait = recorded.named("wait: block_until_ready")[2]
    call = calls[1]
    # Whether it was ready by then is the machine's matter; if not, the op has not ended by then either.
    assert ready == b"True" or call.end_ns > wait.start_ns
    assert len(calls) == 5
    beside = [row for row in recorded.rows if row.thread == THREAD_NAME]
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(beside)), "they add up"
    assert not any(row.flags & (Flag.OPEN | Flag.DETACHED) for row in beside)
    sent = len(recorded.named("slow (dispatch)"))
    assert sent == sum(row.name == "slow" for row in beside)


AGAIN = """
import jax, jax.numpy as jnp, tinytrace as tt
before = set(vars(jax)), set(vars(type(jnp.ones(1)))), vars(type(jnp.ones(1)))["__float__"]
f = jax.jit(lambda x: x + 1)
x = f(jnp.ones(3))
for name in ("a.json", "b.json"):
    with tt.trace(name, sampler="none"):
        x = f(f(x))
    x = f(x)
assert before == (set(vars(jax)), set(vars(type(x))), vars(type(x))["__float__"])
print(x)
"""


@COMPILED
def test_functions_jitted_before_a_recording_are_seen_in_it_and_not_after_it(
    tmp_path: Path, compiled: str
) -> None:
    place = Place.make(tmp_path, train=AGAIN)
    place.core = compiled
    assert place.plain("train.py") == Ended(0, b"[8. 8. 8.]\n", b"")
    for name in ("a.json", "b.json"):
        recorded = read(tt.load(place.folder / name))
        names = [row.name for row in recorded.rows if "lambda" in row.name]
        assert names == ["<lambda> (first call)", "<lambda>"]


def test_pure_python_says_that_it_does_not_see_jitted_functions(tmp_path: Path) -> None:
    place = Place.make(
        tmp_path, train="import jax, numpy as np\nprint(jax.jit(np.negative)(1.0))\n"
    )
    place.core = "python"
    place.write("train.py", "import jax\nprint(jax.jit(lambda x: -x)(1.0))\n")
    assert place.record("train.py") == Ended(0, b"-1.0\n", b"")
    assert (
        "jitted functions of JAX are recorded by the compiled core only" in place.trace().warnings
    )


FORKED = """
import os, jax, jax.numpy as jnp, numpy as np, warnings
warnings.simplefilter("ignore")
f = jax.jit(lambda x: x @ x @ x @ x)
x = jnp.ones((700, 700))
f(x).block_until_ready()
r = f(x)
np.cbrt(8.0)
pid = os.fork()
if pid == 0:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@COMPILED
def test_a_forked_process_waits_for_nothing(tmp_path: Path, compiled: str) -> None:
    place = Place.make(tmp_path, train=FORKED)
    place.core = compiled
    assert place.record("train.py") == Ended(0, b"0\n", b"")
    recorded = read(place.trace())
    processes = recorded.trace.processes
    [child] = processes.start_ns[processes.parent >= 0].tolist()
    assert child - recorded.one("cbrt").start_ns < 1e9 * MOST_WAIT_S


@COMPILED
def test_what_is_not_ready_is_waited_for_beside_the_program(tmp_path: Path, compiled: str) -> None:
    def program() -> None:
        recorder = load_core(compiled)
        locks = [threading.Lock(), threading.Lock()]  # an array that is not ready is locked
        watcher = Watcher(recorder, lambda lock: lock.acquire(), lambda lock: not lock.locked())
        op, dispatch = (recorder.label(name, "") for name in ("op", "dispatch"))
        watcher.returned(recorder.begin(Kind.SPAN, dispatch), dispatch, op, locks)
        assert not locks[0].locked(), "what is ready is not waited for"
        locks[0].acquire()
        threads = threading.active_count()
        watcher.returned(recorder.begin(Kind.SPAN, dispatch), dispatch, op, locks[:])
        watcher.returned(recorder.begin(Kind.SPAN, dispatch), dispatch, op, [])
        locks.append(threading.Lock())
        locks[2].acquire()
        watcher.returned(recorder.begin(Kind.SPAN, dispatch), dispatch, op, locks[2:])
        assert threading.active_count() == threads, "the program does not find the one that waits"
        with tt.span("work"):
            locks[2].release()
            locks[0].release()
        watcher.stop()
        watcher.stop()

    recorded = read(record(compiled, program))
    rows = [(row.name, row.thread, row.kind) for row in recorded.rows]
    beside = ("op", THREAD_NAME, Kind.OP)
    here, sent = ("op", "MainThread", Kind.OP), ("dispatch", "MainThread", Kind.SPAN)
    assert rows == [here, sent, here, sent, ("work", "MainThread", Kind.SPAN), beside, beside]
    first, second = recorded.rows[-2:]
    dispatched, _ = recorded.named("dispatch")
    assert first.start_ns == dispatched.start_ns
    assert first.end_ns <= second.start_ns, "the second one begins when the first is ready"
    assert first.end_ns >= recorded.one("work").start_ns
    assert first.function == dispatched.function

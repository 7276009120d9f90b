"""What recording a training step of PyTorch costs, beside torch's own profiler with ``record_shapes`` alone.

The transformer of ``samples/train_torch.py`` on one thread of the CPU. In one process, in turns: steps as they are,
steps under ``torch.profiler.profile(record_shapes=True)``, and steps recorded by tinytrace, which runs the same
profiler, samples stacks 1,000 times a second and sees NumPy, modules, optimizer and data loader meanwhile.

* a step: the median of the steps of a turn, in wall time, and in CPU time of its thread. Ours stops its profiler every
  25,000 events: steps are between that;
* all of it: the steps of a turn, and all that it takes until everything is in files; of torch's profiler that is
  ``export_chrome_trace``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paired import ROOT, Figure, estimate, in_turns, parser, percent_more, publish, rounds_of

os.environ.setdefault("KINETO_LOG_LEVEL", "99")
sys.path.insert(0, str(ROOT / "samples"))

import torch
from train_torch import Transformer

from tinytrace.analysis.torch_merge import with_torch
from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session

GOAL_PERCENT = 10.0
Step = Callable[[], Any]


@dataclass(frozen=True)
class Turn:
    """Median of a step, of its CPU time, and the whole turn, in s; what reading takes, in us per event (ours)."""

    step_s: float
    cpu_s: float
    whole_s: float
    read_us: float = 0.0


def training() -> Step:
    """Return a function that makes a step."""
    torch.manual_seed(0)
    model = Transformer(width=64, heads=4, blocks=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = torch.randn(64, 16, 4), torch.randint(10, (64,))

    def step() -> None:
        optimizer.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def a_step(step: Step, count: int) -> tuple[float, float]:
    """Make steps, and return how long one took, and its CPU time: the medians."""
    wall, cpu = [], []
    for _ in range(count):
        begun, begun_cpu = time.perf_counter(), time.thread_time()
        step()
        wall.append(time.perf_counter() - begun)
        cpu.append(time.thread_time() - begun_cpu)
    return statistics.median(wall), statistics.median(cpu)


def plain(step: Step, count: int) -> Turn:
    """As it is."""
    begun = time.perf_counter()
    return Turn(*a_step(step, count), time.perf_counter() - begun)


def by_torch(step: Step, count: int, folder: Path) -> Turn:
    """Under torch's profiler."""
    begun = time.perf_counter()
    with torch.profiler.profile(record_shapes=True) as profiler:
        times = a_step(step, count)
    profiler.export_chrome_trace(str(folder / "torch.json"))
    return Turn(*times, time.perf_counter() - begun)


def by_us(step: Step, count: int, folder: Path) -> Turn:
    """Recorded, with all defaults."""
    session = Session(Options(folder / "trace.json", steps=(0, 10**9)), ["benchmark"])
    begun = time.perf_counter()
    session.start()
    times = a_step(step, count)
    session.stop()
    ended = time.perf_counter()
    trace = with_torch(session.trace(), session.run_folder)
    read_s = time.perf_counter() - ended
    session.discard()
    assert trace.meta["torch_profiler"]["events"] > count * 100, trace.warnings
    read_us = 1e6 * read_s / trace.meta["torch_profiler"]["events"]
    return Turn(*times, ended - begun, read_us)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=15, quick=1)
    count = 5 if options.quick else 50
    torch.set_num_threads(1)
    step = training()
    a_step(step, 10)
    with tempfile.TemporaryDirectory() as name:
        sides: dict[str, Callable[[], Turn]] = {
            "plain": partial(plain, step, count),
            "torch": partial(by_torch, step, count, Path(name)),
            "ours": partial(by_us, step, count, Path(name)),
        }
        turns = in_turns(sides, rounds, warm_up=0 if options.quick else 1)
    step_of = {side: [t.step_s for t in values] for side, values in turns.items()}
    cpu_of = {side: [t.cpu_s for t in values] for side, values in turns.items()}
    whole_of = {side: [t.whole_s for t in values] for side, values in turns.items()}
    more = "than torch.profiler with record_shapes"
    publish(
        [
            Figure(f"a training step recorded and sampled, more {more}",
                   percent_more(step_of["ours"], step_of["torch"]), "%", GOAL_PERCENT),
            Figure(f"  its CPU time, more {more}", percent_more(cpu_of["ours"], cpu_of["torch"]), "%"),
            Figure("  its CPU time, more than plain", percent_more(cpu_of["ours"], cpu_of["plain"]), "%"),
            Figure(f"  all {count} steps until all is in files, more {more}",
                   percent_more(whole_of["ours"], whole_of["torch"]), "%"),
            Figure("  a step recorded and sampled, more than plain",
                   percent_more(step_of["ours"], step_of["plain"]), "%"),
            Figure("  a step under torch.profiler, more than plain",
                   percent_more(step_of["torch"], step_of["plain"]), "%"),
            Figure("  a step, plain", estimate(1e3 * s for s in step_of["plain"]), "ms"),
            Figure("  reading what torch's profiler wrote into a trace, per event",
                   estimate(t.read_us for t in turns["ours"]), "us"),
        ],
        options.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()

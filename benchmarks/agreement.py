"""Whether our figures are those that other programs find: pyperf, hyperfine, memray, and counts by hand and by torch.

* **Times of functions** by `tt.measure_performance` and by ``pyperf timeit``, in a fresh process each round, in turns:
  the least of 20 values, each of a millisecond or two. What other programs on the machine add is in neither.
* **Times of commands** by ``bench`` and by hyperfine, in turns: the least of 3 runs in a round.
* **Peaks of memory**: `tt.MemoryTracker` counts the bytes of arrays by NumPy's own allocator; memray sees every
  allocation of the same process. Of its records at the high-water mark, those count that were made below the same
  function; the interpreter, imported modules and the work space of OpenBLAS, which only memray sees, are beside it.
* **FLOPs**: `tt.count_flops` against sums by hand, and its products against `torch.utils.flop_counter` on the same
  model in torch. That one counts products and convolutions only; of torch's fused attention on the CPU it finds 0.

All in the steady environment of `training_slowdown.py` (one BLAS thread, heap kept): by where the heap happens to
end, glibc may give the result of a function back to the kernel after every call, and `elementwise()` then takes 0.4
instead of 0.05 ms in one process and not in another, by whichever program it is timed.

pyperf gives its workers a bare environment unless it is told otherwise: where a variable chooses BLAS's kernels, a
product then takes another time in them (here, 1.9 times as long in the one).

Agreement of times is told by intervals: both programs' medians with their intervals (order statistics over the
rounds), and how much longer ours are in the same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import agreement_work
from agreement_flops import CASES, torch_flops
from agreement_memory import ENVIRONMENT, peaks
from paired import (
    Estimate,
    Figure,
    estimate,
    exactly,
    in_turns,
    parser,
    percent_more,
    publish,
    rounds_of,
)
from training_slowdown import STEADY

import tinytrace as tt
from tinytrace.toolkit.commands import Launcher
from tinytrace.toolkit.rounds import BLOCK_NS

FUNCTIONS = ("python_loop", "elementwise", "product")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
    "sleep 0.05": ["sleep", "0.05"],
}
GOAL_MEMORY_PERCENT = 5.0
FOLDER = Path(__file__).parent
OURS = (
    "import sys, agreement_work, tinytrace as tt; "
    "print(min(tt.measure_performance(getattr(agreement_work, sys.argv[1]), rounds=20).times_ms))"
)
RUNS = 3  # of a command in a round


def run(*command: str | Path, quiet: bool = False) -> str:
    """Return what a command printed to stdout; ``quiet``: what it says beside that is not shown.

    Raises:
        CalledProcessError: it failed.
    """
    done = subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, cwd=FOLDER,
        env=ENVIRONMENT | STEADY, stderr=subprocess.DEVNULL if quiet else None,
    )  # fmt: skip
    return done.stdout


def by_pyperf(name: str, folder: Path) -> float:
    """Return the least of pyperf's 20 values of one worker process, ms per call."""
    path = folder / "pyperf.json"
    path.unlink(missing_ok=True)
    run(
        sys.executable, "-m", "pyperf", "timeit", "--quiet", "--processes=1", "--warmups=1", "--values=20",
        f"--min-time={BLOCK_NS / 1e9}", "--copy-env", f"--output={path}",
        f"--setup=from agreement_work import {name}", f"{name}()",
    )  # fmt: skip
    import pyperf

    return float(min(pyperf.Benchmark.load(str(path)).get_values())) * 1e3


def by_hyperfine(command: list[str], folder: Path) -> float:
    """Return the least that a command took, ms."""
    import shlex

    path = folder / "hyperfine.json"
    run(
        "hyperfine", "--shell=none", "--style=none", f"--runs={RUNS}", f"--export-json={path}",
        shlex.join(command), quiet=True,
    )  # fmt: skip
    return float(json.loads(path.read_text())["results"][0]["min"]) * 1e3


def times(
    name: str, unit_name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> list[Figure]:
    """Measure a time by both, in turns."""
    found = in_turns({"ours": ours, "theirs": theirs}, rounds)
    return [
        Figure(f"{name}: ours", estimate(found["ours"]), "ms"),
        Figure(f"  {unit_name}", estimate(found["theirs"]), "ms"),
        Figure("  ours, more than theirs", percent_more(found["ours"], found["theirs"]), "%"),
    ]


def overlap(one: Estimate, other: Estimate) -> bool:
    """Whether two intervals have a value in common."""
    return one.low <= other.high and other.low <= one.high


def memory(name: str, folder: Path) -> Figure:
    """Measure a peak by both, in one process: how far ours is from memray's, in percent of it."""
    ours, theirs = peaks(name, folder / f"{name}.bin")
    what = f"peak of arrays in {name}(), {ours / 1e6:.1f} MB, apart from memray's"
    return Figure(what, exactly(100 * abs(ours - theirs) / theirs), "%", GOAL_MEMORY_PERCENT)


def flops() -> list[Figure]:
    """Count by all three, and how many counts are not the same."""
    by_hand = by_torch = 0
    for case in CASES.values():
        found = tt.count_flops(case.model)
        products = sum(found.by_op.get(op, 0) for op in ("matmul", "einsum", "dot"))
        by_hand += found != case.by_hand
        by_torch += products != torch_flops(case)
    return [
        Figure(f"FLOPs of {len(CASES)} models that differ from the sum by hand", exactly(by_hand), "", 0.0),
        Figure("  whose products differ from torch's count", exactly(by_torch), "", 0.0),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=20, quick=2)
    os.environ.update(STEADY)  # before anything is started
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, Launcher() as launcher:
        folder = Path(name)
        for function in FUNCTIONS[:1] if options.quick else FUNCTIONS:
            ours = partial(run, sys.executable, "-c", OURS, function)
            figures += times(
                f"{function}()", "pyperf", lambda ours=ours: float(ours()),  # type: ignore[misc]
                partial(by_pyperf, function, folder), rounds,
            )  # fmt: skip
        for text, command in list(COMMANDS.items())[: 1 if options.quick else None]:
            figures += times(
                text, "hyperfine", lambda c=command: min(launcher.run("", c)[0] for _ in range(RUNS)) / 1e6,  # type: ignore[misc]
                partial(by_hyperfine, command, folder), rounds,
            )  # fmt: skip
        apart = sum(
            not overlap(figures[i].estimate, figures[i + 1].estimate)
            for i in range(0, len(figures), 3)
        )
        figures.append(Figure("times whose intervals do not overlap", exactly(apart), "", 0.0))
        work = list(agreement_work.FILLS_MEMORY)
        figures += [memory(name, folder) for name in (work[:1] if options.quick else work)]
    figures += flops()
    publish(figures, options.json)


if __name__ == "__main__":
    main()

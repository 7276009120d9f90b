"""What recording ``samples/train_mlp.py`` with all defaults costs, against plain Python.

Whole processes, in turns. Three figures, each a different question:

* the goal: whole process less start-up. Start-up is the same process that does nothing but
  ``import numpy``, measured in the same rounds, each side less its own. What depends on the program
  is in it: slower operations, and reading, writing and summing up what they left behind;
* while the program runs, from its first statement to its last, by marks that it prints;
* after the program: from the end of its last statement to the end of the process.

The first row after the goal is the strictest: all that recording adds, start-up too. Measuring the roofs of
the machine, a second after the first recorded program ever, is in none of them (``--no-calibrate``).

Everything is measured twice: in the environment as it is, and in one that takes two lotteries out of both
sides. OpenBLAS's threads wait for each other in busy loops, so that anything else that runs makes the
program several times slower; and by where its heap happens to end, glibc gives the memory of large
temporaries back to the kernel after each operation, or keeps it: a fifth of the run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paired import (
    ROOT,
    Figure,
    differences,
    estimate,
    in_turns,
    parser,
    percent_more,
    publish,
    rounds_of,
    run,
)

GOAL_PERCENT = 3.0
SAMPLE = ROOT / "samples" / "train_mlp.py"
AS_IT_IS: dict[str, str] = {}
STEADY = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
ENVIRONMENTS = {"": AS_IT_IS, ", one BLAS thread, heap kept": STEADY}
# Runs a program between two marks. NumPy is imported before the first: that is start-up.
MARKED = """\
import runpy, sys, numpy
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
print("mark begin")
runpy.run_path(sys.argv[0], run_name="__main__")
print("mark end")
"""


@dataclass(frozen=True)
class Parts:
    """Wall time of a process in s: whole, between the marks, after the second mark; and CPU time."""

    whole_s: float
    running_s: float
    after_s: float
    cpu_s: float


def train(
    command: list[str], arguments: list[str], folder: Path, environment: dict[str, str]
) -> Parts:
    """Run the sample to its end."""
    done = run([*command, "marked.py", str(SAMPLE), *arguments], folder, **environment)
    at_s = {text: arrived_s for arrived_s, text in done.lines if text.startswith("mark ")}
    begin_s, end_s = at_s["mark begin"], at_s["mark end"]
    return Parts(done.wall_s, end_s - begin_s, done.wall_s - end_s, done.cpu_s)


def nothing(command: list[str], folder: Path, environment: dict[str, str]) -> Parts:
    """Run a program that does nothing but import NumPy."""
    done = run([*command, "-c", "import numpy"], folder, **environment)
    return Parts(done.wall_s, 0.0, 0.0, done.cpu_s)


def measure(where: str, rounds: int, arguments: list[str], warm_up: int) -> list[Figure]:
    """Measure whole processes in turns, in one of the environments."""
    environment = ENVIRONMENTS[where]
    plain = [sys.executable]
    recorded = [sys.executable, "-m", "tinytrace", "--no-calibrate"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "marked.py").write_text(MARKED)
        sides: dict[str, Callable[[], Parts]] = {
            "plain": partial(train, plain, arguments, folder, environment),
            "recorded": partial(train, recorded, arguments, folder, environment),
            "plain start-up": partial(nothing, plain, folder, environment),
            "recorded start-up": partial(nothing, recorded, folder, environment),
        }
        parts = in_turns(sides, rounds, warm_up=warm_up)
    whole = {side: [p.whole_s for p in values] for side, values in parts.items()}
    net = {
        side: [a - b for a, b in zip(whole[side], whole[f"{side} start-up"], strict=True)]
        for side in ("plain", "recorded")
    }
    running = {side: [p.running_s for p in parts[side]] for side in ("plain", "recorded")}
    cpu = {side: [p.cpu_s for p in parts[side]] for side in ("plain", "recorded")}
    after = {side: [p.after_s for p in parts[side]] for side in ("plain", "recorded")}
    return [
        Figure(
            f"train_mlp.py, all defaults: whole process less start-up{where}",
            percent_more(net["recorded"], net["plain"]), "%", GOAL_PERCENT,
        ),
        Figure("  whole process, start-up included", percent_more(whole["recorded"], whole["plain"]), "%"),
        Figure("  while the program runs", percent_more(running["recorded"], running["plain"]), "%"),
        Figure("  CPU time of the whole process", percent_more(cpu["recorded"], cpu["plain"]), "%"),
        Figure("  after the program (read, write, sum up), more than plain",
               differences(after["recorded"], after["plain"]), "s"),
        Figure("  import numpy and nothing else, more than plain",
               differences(whole["recorded start-up"], whole["plain start-up"]), "s"),
        Figure("  train_mlp.py itself, plain, while it runs", estimate(running["plain"]), "s"),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=15, quick=1)
    arguments = ["--epochs", "1"] if options.quick else []
    figures = []
    for where in ENVIRONMENTS:
        figures += measure(where, rounds, arguments, warm_up=0 if options.quick else 1)
    publish(figures, options.json)


if __name__ == "__main__":
    main()

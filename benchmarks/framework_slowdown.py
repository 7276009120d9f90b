"""What seeing a framework costs beyond seeing NumPy: ``samples/tiny_gpt.py`` with and without the adapter.

Both sides record all operations of the same training steps in one process, in turns; one of them records the layers,
the nodes with their arrows, the optimizer and the loader as well. CPU time of the thread: what others do on the machine
is not in it. Starting and stopping are not in it either. The figure says nothing of models whose arrays are
smaller: what is added is about the same per call, whatever it computes, and is shown beside it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from paired import ROOT, Figure, differences, in_turns, parser, percent_more, publish, rounds_of

sys.path.insert(0, str(ROOT / "samples"))

import numpy as np
import tiny_gpt
from teaching import Adam, CrossEntropy, DataLoader

from tinytrace.tracer.adapters.frameworks import Frameworks
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import Session

GOAL_PERCENT = 5.0


class Training:
    """A model that is trained step by step."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        characters, text = tiny_gpt.read_text()
        self.count = len(characters)
        self.model, self.loss_of = tiny_gpt.GPT(rng, self.count), CrossEntropy()
        self.optimizer = Adam(self.model.parameters())
        self.loader = DataLoader(rng, text, tiny_gpt.LENGTH, tiny_gpt.BATCH)

    def steps(self, count: int) -> float:
        """Train; returns the CPU time of this thread, in ns."""
        began_ns = time.thread_time_ns()
        for _, (now, following) in zip(range(count), self.loader, strict=False):
            self.optimizer.zero_grad()
            scores = self.model(now)
            loss = self.loss_of((scores.reshape(-1, self.count), following.ravel()))
            loss.backward()
            self.optimizer.step()
        return float(time.thread_time_ns() - began_ns)


@contextmanager
def without_adapter() -> Iterator[None]:
    """Leave the program's classes alone meanwhile."""
    begin = Frameworks.begin
    Frameworks.begin = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Frameworks.begin = begin  # type: ignore[method-assign]


def recorded(training: Training, count: int, folder: Path, *, adapted: bool) -> float:
    """Train while operations are recorded; no samples are taken.

    Raises:
        SystemExit: the adapter saw nothing, or something where there was to be none.
    """
    session = Session(Options(folder / "trace.json", sampler="none"), ["benchmark"])
    if adapted:
        session.start()
    else:
        with without_adapter():
            session.start()
    try:
        training.steps(1)  # code is met for the first time: what that costs is paid once per run
        spent_ns = training.steps(count)
    finally:
        session.stop()
    trace = session.trace()
    session.discard()
    if (trace.spans.kind == Kind.LAYER).any() != adapted or (len(trace.flows) > 0) != adapted:
        raise SystemExit("the adapter is not on where it should be, or on where it should not")
    return spent_ns


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=40, quick=2)
    count = 1 if options.quick else 3
    training = Training()
    with tempfile.TemporaryDirectory() as name:
        sides: dict[str, Callable[[], float]] = {
            "hooks": partial(recorded, training, count, Path(name), adapted=False),
            "adapter": partial(recorded, training, count, Path(name), adapted=True),
        }
        spent = in_turns(sides, rounds)
    figures = [
        Figure(
            "tiny_gpt.py: a step with the adapter, more than with NumPy's hooks alone",
            percent_more(spent["adapter"], spent["hooks"]), "%", GOAL_PERCENT,
        ),
        Figure("  the same, per step", differences(spent["adapter"], spent["hooks"], 1e-6 / count), "ms"),
    ]  # fmt: skip
    publish(figures, options.json)


if __name__ == "__main__":
    main()

"""Several models measured in turns: `benchmark_suite`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import MARGIN, SEED, Speedup, Verdict, holm, speedup
from tinytrace.errors import UsageError
from tinytrace.toolkit.accuracy import NOT_MEASURED, Accuracy, accuracy_of, array_of
from tinytrace.toolkit.calling import call_of
from tinytrace.toolkit.comparing import Change, accuracy_delta, memory_reduction
from tinytrace.toolkit.performance import Performance, performance_of
from tinytrace.toolkit.results import AGAIN, kept_times, save_suite, save_times
from tinytrace.toolkit.rounds import ROUNDS, Clock, Progress, check_rounds, in_turns
from tinytrace.tracer.machine import machine, numerics


@dataclass(frozen=True)
class SuiteRow:
    """One model of a suite.

    Attributes:
        performance: by itself.
        speedup: time of the baseline ÷ its own; None: it is the baseline.
        p_adjusted: of "no difference", adjusted for the number of models (Holm); None: it is the baseline.
        memory_reduction, accuracy_delta: against the baseline; None: it is that.
        rank: 1 is the fastest; models whose difference was not shown share one.
        on_front: no other model is at least as good in time, memory and accuracy and better in one.
        error: what it raised; None: nothing, and only then the figures are there.
    """

    performance: Performance | None
    name: str
    speedup: Speedup | None = None
    p_adjusted: float | None = None
    memory_reduction: Change | None = None
    accuracy_delta: Change | None = None
    rank: int | None = None
    on_front: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Suite:
    """What `benchmark_suite` measured.

    Attributes:
        rows: in the order of the models.
        baseline: name of the model that the others are compared with.
        times: ms per round of each model, and of the baseline once more (`results.AGAIN`).
        machine: what they were measured on.
        seed: of the order in which they ran, and of `numpy.random` before each.
        where: in this process, or in fresh ones.
        finished: whether all rounds were run; else it was interrupted.
    """

    rows: tuple[SuiteRow, ...]
    baseline: str
    times: Mapping[str, Sequence[float]]
    machine: dict[str, Any]
    seed: int = SEED
    where: str = "this process"
    finished: bool = True

    @property
    def rounds(self) -> int:
        """How many were measured, of all models in each."""
        return len(self.times[AGAIN])

    def __getitem__(self, name: str) -> SuiteRow:
        """Return the row of a model.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        """The table, as text."""
        from tinytrace.cli.suite_text import suite_table

        return suite_table(self)

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        from tinytrace.cli.suite_text import suite_markdown

        return suite_markdown(self)

    def to_csv(self) -> str:
        """Return the figures as CSV: one row per model, units in the names of the columns."""
        from tinytrace.cli.suite_text import suite_csv

        return suite_csv(self)

    def to_html(self) -> str:
        """Return the table as HTML, with everything in it escaped."""
        from tinytrace.cli.suite_text import suite_html

        return suite_html(self)

    def save(self, path: str | Path) -> None:
        """Write the results as JSON: every time that was measured, and what they were measured on.

        Raises:
            OutputError: it cannot be written.
        """
        save_suite(self, path)


def benchmark_suite(
    models: Mapping[str, Any],
    test_data: Any = None,
    *,
    accuracy: Any = None,
    rounds: int = ROUNDS,
    margin: float = MARGIN,
    accuracy_margin: float = 0.01,
    save: str | Path | None = None,
    progress: bool = True,
    clock: Clock = time.perf_counter_ns,
) -> Suite:
    """Measure several models in turns, and compare each with the first one.

    Every round times every model, and the first one twice, in random order. A model that raises is named as such, and
    the others are measured. What was measured when it is interrupted (Ctrl-C) is returned and saved.

    Args:
        models: name → model.
        test_data: inputs, as for `measure_performance`; or ``(inputs, labels)``, with one integer label per row of
            the inputs: then accuracy is measured as well.
        accuracy: as for `measure_performance`.
        rounds: how many; at least 6, and more where many models are compared.
        margin: relative difference in time that matters.
        accuracy_margin: difference in accuracy that matters.
        save: a file for the results. One that has rounds of the same models is gone on with: they are not run again.
        progress: draw a bar on stderr, where that is a terminal.
        clock: tells ns.

    Raises:
        UsageError: no models, or too few rounds.
        InputError, OutputError: the file cannot be read or written.

    Example:
        >>> w = np.ones((8, 8))
        >>> suite = benchmark_suite({"one": lambda x: x @ w, "two": lambda x: x @ w @ w}, np.ones((2, 8)), rounds=8)
        >>> [row.name for row in suite.rows], suite["one"].speedup
        (['one', 'two'], None)
    """
    if not models:
        raise UsageError("there are no models to measure")
    _check_enough(rounds, len(models))
    inputs, accuracy = _inputs_and_accuracy(test_data, accuracy)
    calls, errors, judged = _prepare(models, inputs, accuracy)
    if not calls:
        first = next(iter(errors.items()))
        raise UsageError(f"no model could be measured: {first[0]}: {first[1]}")
    kept = {} if save is None else kept_times(save, [*calls, AGAIN])
    times, finished = _measure(calls, rounds, kept, progress, clock)
    if save is not None:
        save_times(save, times)
    suite = _suite(
        models,
        inputs,
        times,
        judged=judged,
        errors=errors,
        finished=finished,
        margin=margin,
        accuracy_margin=accuracy_margin,
    )
    if save is not None:
        suite.save(save)
    return suite


def _check_enough(rounds: int, models: int) -> None:
    """Make sure that so many rounds have intervals that hold together: P(T = 0) is 2⁻ⁿ, α ÷ 2 of each at most."""
    check_rounds(rounds)
    needed = math.ceil(1 + math.log2(20 * max(1, models - 1)))
    if rounds < needed:
        raise UsageError(
            f"{rounds} rounds are too few to compare {models} models: at least {needed}"
        )


def _inputs_and_accuracy(test_data: Any, accuracy: Any) -> tuple[Any, Any]:
    """Tell ``(inputs, labels)`` from a tuple of inputs: labels are whole numbers, one per row."""
    if accuracy is not None or not isinstance(test_data, tuple) or len(test_data) != 2:
        return test_data, accuracy
    inputs, labels = (array_of(part) for part in test_data)
    if labels.ndim == 1 and labels.dtype.kind in "iu" and inputs.shape[:1] == labels.shape:
        return test_data[0], test_data
    return test_data, accuracy


def _prepare(
    models: Mapping[str, Any], inputs: Any, accuracy: Any
) -> tuple[dict[str, Callable[[], Any]], dict[str, str], dict[str, Accuracy]]:
    """Call every model once: what calls it, what it raised, and how often it is right."""
    calls: dict[str, Callable[[], Any]] = {}
    errors: dict[str, str] = {}
    judged: dict[str, Accuracy] = {}
    before = np.random.get_state()  # the program's
    for name, model in models.items():
        np.random.seed(SEED)  # what models use that know no generator of their own
        try:
            call, _ = call_of(model, inputs)
            call()
            judged[name] = accuracy_of(model, accuracy)
        except Exception as problem:  # one model that fails does not end the suite
            errors[name] = f"{type(problem).__name__}: {problem}"
        else:
            calls[name] = call
    np.random.set_state(before)
    return calls, errors, judged


def _measure(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    kept: Mapping[str, list[float]],
    progress: bool,
    clock: Clock,
) -> tuple[dict[str, list[float]], bool]:
    """Return per model, and for the first one ``again``, ms per round; and whether all rounds were run."""
    names = [*calls, AGAIN]
    first = next(iter(calls))
    forms = [*calls.values(), calls[first]]
    times = {name: list(kept.get(name, ())) for name in names}
    done = min(len(column) for column in times.values())
    times = {name: column[:done] for name, column in times.items()}
    if done >= rounds:
        return times, True
    found: list[list[float]] = [[] for _ in names]
    finished = True
    with _bar(progress) as tell:
        try:
            in_turns(forms, rounds - done, clock, tell, found)
        except KeyboardInterrupt:
            finished = False
    complete = min(len(column) for column in found)
    for name, column in zip(names, found, strict=True):
        times[name] += column[:complete]
    return times, finished


@contextlib.contextmanager
def _bar(wanted: bool) -> Iterator[Progress]:
    from tinytrace.cli.messages import stderr
    from tinytrace.cli.saving import progress_bar

    with progress_bar("measuring", stderr() if wanted else None) as tell:
        yield tell or (lambda share: None)


def _suite(
    models: Mapping[str, Any],
    inputs: Any,
    times: Mapping[str, list[float]],
    *,
    judged: Mapping[str, Accuracy],
    errors: Mapping[str, str],
    finished: bool,
    margin: float,
    accuracy_margin: float,
) -> Suite:
    names = [name for name in times if name != AGAIN]
    _check_enough(len(times[AGAIN]), len(names))
    performances = {
        name: performance_of(
            models[name], inputs, times[name], judged.get(name, NOT_MEASURED), name
        )
        for name in names
    }
    first, *others = names
    found = {
        name: speedup(
            times[first], times[name], times[AGAIN], margin=margin, comparisons=max(1, len(others))
        )
        for name in others
    }
    adjusted = dict(zip(others, holm([found[name].p_value for name in others]), strict=True))
    ranks = _ranks(names, times, margin)
    front = pareto_front(list(performances.values()))
    rows = []
    for name in models:
        if name in errors:
            rows.append(SuiteRow(None, name, error=errors[name]))
            continue
        measured, base = performances[name], performances[first]
        row = SuiteRow(measured, name, rank=ranks[name], on_front=measured.name in front)
        if name != first:
            row = SuiteRow(
                measured, name, found[name], adjusted[name], memory_reduction(base, measured),
                accuracy_delta(base.judged, measured.judged, accuracy_margin), ranks[name],
                measured.name in front,
            )  # fmt: skip
        rows.append(row)
    return Suite(tuple(rows), first, times, machine() | numerics(), finished=finished)


def _ranks(names: list[str], times: Mapping[str, list[float]], margin: float) -> dict[str, int]:
    """Rank by median; who was not shown to be slower than the first of a rank shares it."""
    order = sorted(names, key=lambda name: float(np.median(times[name])))
    ranks: dict[str, int] = {}
    leader = order[0]
    for place, name in enumerate(order):
        if name != leader:
            shown = speedup(times[leader], times[name], margin=margin, comparisons=len(names))
            if shown.verdict is Verdict.SLOWER:
                leader = name
        ranks[name] = ranks.get(leader, place + 1)
    return ranks


def pareto_front(performances: list[Performance]) -> set[str]:
    """Return the names of the models than which no other is better in one respect and as good in all.

    Respects are time, memory and, where every model has it, accuracy.

    Args:
        performances: as measured.

    Example:
        >>> pareto_front([])
        set()
    """
    with_accuracy = not any(math.isnan(p.accuracy) for p in performances)
    points = {
        p.name: (p.time, p.memory, -p.accuracy if with_accuracy else 0.0) for p in performances
    }
    return {
        name
        for name, mine in points.items()
        if not any(
            other != mine and all(o <= m for o, m in zip(other, mine, strict=True))
            for other in points.values()
        )
    }

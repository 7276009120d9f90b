"""Several models measured in turns: `benchmark_suite`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinytrace.analysis.comparison import (
    LEAST_ROUNDS,
    MARGIN,
    SEED,
    Speedup,
    Verdict,
    holm,
    speedup,
)
from tinytrace.errors import UsageError
from tinytrace.toolkit.accuracy import array_of
from tinytrace.toolkit.comparing import Change, accuracy_delta, memory_reduction
from tinytrace.toolkit.outputs import outputs_differ
from tinytrace.toolkit.performance import Performance, performance_of
from tinytrace.toolkit.processes import NotSendableError
from tinytrace.toolkit.results import AGAIN, kept_times, save_suite
from tinytrace.toolkit.rounds import BUDGET_S, Clock, Progress, check_rounds
from tinytrace.toolkit.suite_rounds import Fresh, Here, Measured, Rounds, measure
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
        error: what it raised, or how its process ended; None: neither, and only then all figures are there.
        difference: how it returns something else than the baseline; None: nothing else, or not known.
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
    difference: str | None = None


@dataclass(frozen=True)
class Suite:
    """What `benchmark_suite` measured.

    Attributes:
        rows: in the order of the models.
        baseline: name of the model that the others are compared with.
        times: ms per round of each model, and of the baseline once more (`results.AGAIN`).
        machine: what they were measured on.
        seed: of the order in which they ran, and of `numpy.random` before each.
        fresh_process: whether each model ran in fresh processes of its own; else all in this one.
        why_here: why in this one.
        finished: whether all rounds were run; else it was interrupted.
        incomplete: ms per round of models that raised in a later one.
    """

    rows: tuple[SuiteRow, ...]
    baseline: str
    times: Mapping[str, Sequence[float]]
    machine: dict[str, Any]
    seed: int = SEED
    fresh_process: bool = False
    why_here: str | None = None
    finished: bool = True
    incomplete: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many were measured, of all models in each."""
        return len(self.times[self.baseline])

    @property
    def where(self) -> str:
        """In what they ran, for people."""
        return Fresh.where if self.fresh_process else Here.where

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
    rounds: int | None = None,
    fresh: bool | None = None,
    margin: float = MARGIN,
    accuracy_margin: float = 0.01,
    save: str | Path | None = None,
    budget_s: float = BUDGET_S,
    progress: bool = True,
    clock: Clock = time.perf_counter_ns,
) -> Suite:
    """Measure several models in turns, and compare each with the first one.

    Every round times every model, and the first one twice, in random order: each in a fresh process, where all can be
    had in one, else all in this process, and the result says why. A model that raises, or whose process ends, is named
    as such, and the others are measured. What was measured when it is interrupted (Ctrl-C) is returned and saved.

    Args:
        models: name → model; or the name of one, ``module:name``; or what makes one: a class that needs no arguments,
            or, where there is test data, a function that takes none.
        test_data: inputs, as for `measure_performance`; or ``(inputs, labels)``, with one integer label per row of
            the inputs: then accuracy is measured as well.
        accuracy: as for `measure_performance`.
        rounds: how many; at least 6, and more where many models are compared; None: 12 in fresh processes, 30 in this.
        fresh: in fresh processes, or not; None: where that can be.
        margin: relative difference in time that matters.
        accuracy_margin: difference in accuracy that matters.
        save: a file for the results, also while they are measured. One that has rounds of the same models is gone on
            with: they are not run again.
        budget_s: what would take longer is refused before it is measured, and how long it would take is said.
        progress: draw a bar on stderr, where that is a terminal.
        clock: tells ns.

    Raises:
        UsageError: no models, too few rounds, more time than the budget, or fresh processes cannot be had.
        InputError, OutputError: the file cannot be read or written.
        KeyboardInterrupt: it was interrupted before there were enough rounds to tell anything.

    Example:
        >>> w = np.ones((8, 8))
        >>> suite = benchmark_suite({"one": lambda x: x @ w, "two": lambda x: x @ w @ w}, np.ones((2, 8)), rounds=8)
        >>> [row.name for row in suite.rows], suite["one"].speedup
        (['one', 'two'], None)
        >>> suite.why_here
        'one: <lambda> is made inside a function and cannot be imported'
    """
    if not models:
        raise UsageError("there are no models to measure")
    if rounds is not None:
        check_rounds(rounds, len(models))
    inputs, accuracy = _inputs_and_accuracy(test_data, accuracy)
    goes_on = save is not None and Path(save).exists()

    def prepare(engine: Rounds) -> None:
        least = LEAST_ROUNDS if goes_on else rounds or engine.usual_rounds
        engine.prepare(accuracy, least, budget_s)

    engine, why_here = _prepared(models, inputs, prepare, fresh, clock)
    if not engine.facts:
        name, problem = next(iter(engine.errors.items()))
        raise UsageError(f"no model could be measured: {name}: {problem}")
    wanted = rounds or engine.usual_rounds
    check_rounds(wanted, len(models))
    fresh_process = isinstance(engine, Fresh)
    times = {name: list[float]() for name in [*engine.names(), AGAIN]}
    if save is not None:
        times |= kept_times(save, list(times), fresh_process)
    with _bar(progress) as tell:
        measured = measure(engine, wanted, times, save=save, tell=tell, budget_s=budget_s)
    suite = _suite(models, engine, measured, margin, accuracy_margin)
    suite = replace(suite, why_here=why_here)
    if save is not None:
        suite.save(save)
    return suite


def _prepared(
    models: Mapping[str, Any],
    inputs: Any,
    prepare: Callable[[Rounds], None],
    fresh: bool | None,
    clock: Clock,
) -> tuple[Rounds, str | None]:
    """Return what measures them, after a first look; and why that is done in this process, if it is.

    All of them or none in fresh processes: what runs elsewhere under other conditions is no comparison.
    """
    why_here = "it was asked for"
    if clock is not time.perf_counter_ns:
        why_here = "on a clock that was given"
    elif fresh is not False:
        try:
            elsewhere = Fresh(models, inputs)
            prepare(elsewhere)
        except NotSendableError as problem:
            why_here = str(problem)
        else:
            return elsewhere, None
    if fresh:
        raise UsageError(f"fresh processes cannot be had: {why_here}")
    here = Here(models, inputs, clock)
    prepare(here)
    return here, why_here


def _inputs_and_accuracy(test_data: Any, accuracy: Any) -> tuple[Any, Any]:
    """Tell ``(inputs, labels)`` from a tuple of inputs: labels are whole numbers, one per row."""
    if accuracy is not None or not isinstance(test_data, tuple) or len(test_data) != 2:
        return test_data, accuracy
    inputs, labels = (array_of(part) for part in test_data)
    if labels.ndim == 1 and labels.dtype.kind in "iu" and inputs.shape[:1] == labels.shape:
        return test_data[0], test_data
    return test_data, accuracy


@contextlib.contextmanager
def _bar(wanted: bool) -> Iterator[Progress]:
    from tinytrace.cli.messages import stderr
    from tinytrace.cli.saving import progress_bar

    with progress_bar("measuring", stderr() if wanted else None) as tell:
        yield tell or (lambda share: None)


def _suite(
    models: Mapping[str, Any],
    engine: Rounds,
    measured: Measured,
    margin: float,
    accuracy_margin: float,
) -> Suite:
    times = measured.times
    names = [name for name in times if name != AGAIN]
    performances = {}
    for name, column in (times | measured.incomplete).items():
        if name != AGAIN and len(column) >= LEAST_ROUNDS:
            subject = engine.subjects.get(name)
            where = (None, None) if subject is None else (subject.model, subject.data)
            performances[name] = performance_of(engine.facts[name], column, *where)
    first, *others = names
    found = {
        name: speedup(
            times[first],
            times[name],
            times.get(AGAIN),
            margin=margin,
            comparisons=max(1, len(others)),
        )
        for name in others
    }
    adjusted = dict(zip(others, holm([found[name].p_value for name in others]), strict=True))
    ranks = _ranks(names, times, found, margin)
    front = pareto_front([performances[name] for name in names])
    base = performances[first]
    rows = []
    for name in models:
        one = performances.get(name)
        if name not in found or one is None:
            rows.append(
                SuiteRow(
                    one, name, rank=ranks.get(name), on_front=name in front, error=engine.errors.get(name)
                )
            )  # fmt: skip
            continue
        rows.append(
            SuiteRow(
                one, name, found[name], adjusted[name], memory_reduction(base, one),
                accuracy_delta(base.judged, one.judged, accuracy_margin), ranks[name], name in front,
                difference=outputs_differ(base.output, one.output),
            )
        )  # fmt: skip
    return Suite(
        tuple(rows),
        first,
        times,
        machine() | numerics(),
        fresh_process=isinstance(engine, Fresh),
        finished=measured.finished,
        incomplete=measured.incomplete,
    )


def _ranks(
    names: list[str], times: Mapping[str, list[float]], found: Mapping[str, Speedup], margin: float
) -> dict[str, int]:
    """Rank by the ratio to the baseline; who was not shown to be slower than the first of a rank shares it."""
    order = sorted(names, key=lambda name: -float(found[name]) if name in found else -1.0)
    ranks: dict[str, int] = {}
    leader = order[0]
    for place, name in enumerate(order):
        if name != leader:
            shown = speedup(
                times[leader], times[name], margin=margin, comparisons=max(1, len(names) - 1)
            )
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

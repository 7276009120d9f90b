"""Two saved files of results against each other: `compare_saved`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinytrace.analysis.comparison import CONFIDENCE, LEAST_ROUNDS
from tinytrace.analysis.gate import (
    FIGURES_OF_MODELS,
    ExactRow,
    Figure,
    Result,
    exact_row,
    in_words,
)
from tinytrace.analysis.paired import Interval, median_interval
from tinytrace.toolkit.results import AGAIN, differences, read_results

UNPAIRED = "unpaired, drift not controlled: no verdict"


@dataclass(frozen=True)
class SavedRow:
    """One model, command or function in both files.

    Attributes:
        name: as in the files.
        exact: what one call does, before and after; empty for commands, of which nothing is known but time.
        before, after: times in ms, medians over their rounds, with their 95 % intervals; None: too few rounds for one.
    """

    name: str
    exact: tuple[ExactRow, ...]
    before: Interval | None
    after: Interval | None

    @property
    def ratio(self) -> float | None:
        """Time before ÷ time after: above 1 it took less time in the later file; None: not known."""
        if self.before is None or self.after is None:
            return None
        return self.before.estimate / self.after.estimate


@dataclass(frozen=True)
class SavedComparison:
    """Two files of results, of different moments.

    Attributes:
        rows: what is in both.
        gone, new: what is in one of them only.
        machine: in what the machines differ; None of it: times may be put beside each other.
        outcome: ``ok``, ``regression`` or ``inconclusive``, by the exact figures alone: times of different moments
            decide nothing.
        reasons: in words, why it is no ``ok``.
    """

    rows: tuple[SavedRow, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    machine: tuple[str, ...]
    outcome: Literal["ok", "regression", "inconclusive"]
    reasons: tuple[str, ...]

    @property
    def about_times(self) -> str:
        """What the times are worth, in words."""
        if self.machine:
            return f"not comparable: {'; '.join(self.machine)}"
        return UNPAIRED

    def __str__(self) -> str:
        """A table, as text."""
        import io

        from tinytrace.cli.saved_text import print_saved

        out = io.StringIO()
        print_saved(self, out)
        return out.getvalue()


def compare_saved(
    baseline: str | Path, later: str | Path, *, allowed: Mapping[Figure, float] | None = None
) -> SavedComparison:
    """Put two saved suites, or two saved benches, beside each other.

    What a model does (operations, FLOPs, bytes, allocations, parameters) is compared exactly, on whatever machines
    they were measured. Times are told and never judged: they are of different moments, and what the machine did
    meanwhile is in their difference. To know which is faster, measure both in one suite.

    Args:
        baseline: a file that `benchmark_suite` or ``bench`` saved.
        later: another one.
        allowed: relative increase per figure that is no regression; else any increase is.

    Raises:
        InputError: one cannot be read, or is no such file.

    Example:
        >>> compare_saved("base.json", "today.json")  # doctest: +SKIP
    """
    documents = read_results(baseline), read_results(later)
    names = [[name for name in document["times_ms"] if name != AGAIN] for document in documents]
    both = [name for name in names[0] if name in names[1]]
    rows = tuple(_row(name, documents, allowed or {}) for name in both)
    gone = tuple(name for name in names[0] if name not in both)
    new = tuple(name for name in names[1] if name not in both)
    apart = differences(documents[0]["machine"], documents[1]["machine"])
    processes = [document.get("fresh_process") for document in documents]
    if processes[0] != processes[1]:
        apart.append("one in fresh processes, the other in one process")
    regressions = [
        f"{row.name}: {in_words(figure)}"
        for row in rows
        for figure in row.exact
        if figure.result is Result.MORE
    ]
    doubts = [f"{name}: not in the later results" for name in gone]
    doubts += [
        f"{row.name}: nothing is known but times, and these decide nothing"
        for row in rows
        if all(figure.result is Result.NOT_KNOWN for figure in row.exact)
    ]
    if not rows:
        doubts.append("nothing is in both files")
    outcome: Literal["ok", "regression", "inconclusive"] = "ok"
    if regressions:
        outcome = "regression"
    elif doubts:
        outcome = "inconclusive"
    return SavedComparison(rows, gone, new, tuple(apart), outcome, tuple(regressions + doubts))


def _row(
    name: str, documents: tuple[dict[str, Any], dict[str, Any]], allowed: Mapping[Figure, float]
) -> SavedRow:
    before, after = (_work(document, name) for document in documents)
    exact = tuple(
        exact_row(figure, before.get(figure), after.get(figure), allowed.get(figure, 0.0))
        for figure in (FIGURES_OF_MODELS if before or after else ())
    )
    return SavedRow(name, exact, *(_median(document, name) for document in documents))


def _work(document: Mapping[str, Any], name: str) -> dict[str, int]:
    """What one call of a model does, as far as it was saved as whole numbers."""
    for row in document.get("rows") or ():
        if isinstance(row, dict) and row.get("name") == name:
            work = (row.get("performance") or {}).get("work") or {}
            return {key: value for key, value in work.items() if type(value) is int}
    return {}


def _median(document: Mapping[str, Any], name: str) -> Interval | None:
    times = document["times_ms"][name]
    return median_interval(times, 1 - CONFIDENCE) if len(times) >= LEAST_ROUNDS else None

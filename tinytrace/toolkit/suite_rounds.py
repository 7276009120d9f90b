"""The rounds of a suite: all models in this process, or each in a fresh process every round."""

from __future__ import annotations

import random
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import SEED
from tinytrace.errors import UsageError
from tinytrace.toolkit.performance import Facts
from tinytrace.toolkit.processes import WorkerError, Workers, packed
from tinytrace.toolkit.results import AGAIN, save_times
from tinytrace.toolkit.rounds import (
    NS_PER_S,
    ROUNDS,
    WARM_UP,
    Clock,
    Loop,
    Progress,
    block_ms,
    calibrate,
    check_budget,
    enough,
    shared,
)
from tinytrace.toolkit.subject import Subject
from tinytrace.toolkit.worker import in_one_line

FRESH_ROUNDS = 12  # each starts a process per model: fewer, and each of them tells more
SAVE_EVERY_S = 5.0  # while it goes on: so much is lost at most where this process is killed
LONG_NS = 50_000_000  # of a call: such a process has one turn a round
TURNS = 5  # of each process in a round, whose median is the time of the round


class Rounds(ABC):
    """Measures models round by round; what fails is named and left out from then on.

    Attributes:
        where: for people.
        facts: of the models that work.
        errors: of those that do not, what they raised.
        subjects: the models that are in this process.
    """

    where: str
    usual_rounds: int

    def __init__(self) -> None:
        """See the class."""
        self.facts: dict[str, Facts] = {}
        self.errors: dict[str, str] = {}
        self.subjects: dict[str, Subject] = {}
        self._loops: dict[str, Loop] = {}
        self._order = random.Random(SEED)  # a schedule, nothing secret

    @abstractmethod
    def prepare(self, accuracy: Any, rounds: int, budget_s: float) -> None:
        """Find out all but the times, if there is time for that.

        Args:
            accuracy: as for `measure_performance`.
            rounds: how many there will be, at least.
            budget_s: how long they may take.

        Raises:
            NotSendableError: this cannot be done here; says why.
            UsageError: it takes longer.
        """

    @abstractmethod
    def needed_s(self, rounds: int) -> float:
        """Return how long so many rounds take, about."""

    @abstractmethod
    def warm_up(self) -> None:
        """Run what is to be run before the first round."""

    @abstractmethod
    def round(self) -> dict[str, float]:
        """Run every model that works, and the first of them twice: ms per call, by name and `AGAIN`."""

    def begin(self, rounds: int, budget_s: float) -> None:
        """Make sure that it does not take too long, and warm up.

        Raises:
            UsageError: it does; says how long.
        """
        self._loops = dict(zip(self._loops, shared(list(self._loops.values())), strict=True))
        check_budget(self.needed_s(rounds), rounds, budget_s)
        self.warm_up()

    def _blocks_s(self) -> float:
        """What one turn of each model takes whose calls were timed, and of the first of them once more."""
        blocks_ns = [loop.block_ns for name, loop in self._loops.items() if name not in self.errors]
        return (sum(blocks_ns) + sum(blocks_ns[:1])) / NS_PER_S

    def turns(self) -> list[str]:
        """Return the names of those that work, and `AGAIN`, in random order."""
        names = [*self.names(), AGAIN]
        self._order.shuffle(names)
        return names

    def names(self) -> list[str]:
        """Return the names of those that work."""
        return [name for name in self.facts if name not in self.errors]

    def model_of(self, turn: str) -> str:
        """Return whose turn it is: `AGAIN` is that of the first model."""
        return self.first if turn == AGAIN else turn

    @property
    def first(self) -> str:
        """The model that the others are compared with: the first that was found to work."""
        return next(iter(self.facts))


class Here(Rounds):
    """All models in this process.

    Args:
        models: name → model.
        data: as for `measure_performance`.
        clock: tells ns.
    """

    where = "this process"
    usual_rounds = ROUNDS

    def __init__(self, models: Mapping[str, Any], data: Any, clock: Clock) -> None:
        """See the class."""
        super().__init__()
        self._models, self._data, self._clock = models, data, clock

    def prepare(self, accuracy: Any, rounds: int, budget_s: float) -> None:
        """See the class above."""
        before = np.random.get_state()  # the program's
        try:
            for name in self._models:
                np.random.seed(SEED)  # for what uses numbers that no generator of its own makes
                self._prepare(name, accuracy)
                check_budget(self.needed_s(rounds), rounds, budget_s)
        finally:
            np.random.set_state(before)

    def _prepare(self, name: str, accuracy: Any) -> None:
        try:
            subject = Subject(self._models[name], self._data)
            loop = calibrate(subject.call, self._clock)
            self.facts[name] = subject.facts(accuracy, name)
        except Exception as problem:  # one model that fails does not end the suite
            self.errors[name] = in_one_line(problem)
        else:
            self.subjects[name], self._loops[name] = subject, loop

    def needed_s(self, rounds: int) -> float:
        """See the class above."""
        return (WARM_UP + rounds) * self._blocks_s()

    def warm_up(self) -> None:
        """See the class above."""
        for _ in range(WARM_UP):
            self.round()

    def round(self) -> dict[str, float]:
        """See the class above."""
        found = {}
        for turn in self.turns():
            name = self.model_of(turn)
            if name in self.errors:
                continue
            try:
                found[turn] = block_ms(
                    self.subjects[name].call, self._loops[name].times, self._clock
                )
            except Exception as problem:
                self.errors[name] = in_one_line(problem)
        return found


class Fresh(Rounds):
    """Each model in a process of its own, a fresh one every round, and all of a round's take turns.

    Memory is laid out anew in every process, so that what a model owes to that is in the differences between rounds,
    and so in the interval; in one process for all rounds it would pass for the model's own.

    Args:
        models: name → model.
        data: as for `measure_performance`.

    Raises:
        NotSendableError: another process cannot have them; says why.
    """

    where = "fresh processes"
    usual_rounds = FRESH_ROUNDS

    def __init__(self, models: Mapping[str, Any], data: Any) -> None:
        """See the class."""
        super().__init__()
        self._models = {name: packed(model, name) for name, model in models.items()}
        self._data = packed(data, "the test data")
        self._start_s = 0.0

    def prepare(self, accuracy: Any, rounds: int, budget_s: float) -> None:
        """See the class above."""
        judge = packed(accuracy, "accuracy")
        begin_s = time.monotonic()
        with Workers(self._models) as workers:
            for name, worker in workers.items():
                worker.ask("load", self._models[name], self._data)
            for name, worker in workers.items():
                loop = self._told(name, worker.answer)
                if loop is not None:
                    self._loops[name] = loop
            self._start_s = time.monotonic() - begin_s
            check_budget(self.needed_s(rounds), rounds, budget_s)
            for name in self._loops:  # one at a time, for the sake of who is measured beside us
                workers[name].ask("facts", judge, name)
                facts = self._told(name, workers[name].answer)
                if facts is not None:
                    self.facts[name] = facts

    def needed_s(self, rounds: int) -> float:
        """See the class above."""
        starts_s = self._start_s * (1 + len(self._loops)) / len(self._models)
        return rounds * (starts_s + self._turns() * self._blocks_s())

    def _turns(self) -> int:
        """How many turns a process has: the first warms up. Of long calls one, which the loading has warmed up."""
        longest_ns = max((loop.block_ns for loop in self._loops.values()), default=0)
        return 1 + TURNS if longest_ns < LONG_NS else 1

    def warm_up(self) -> None:
        """See the class above: each process warms up by itself."""

    def round(self) -> dict[str, float]:
        """See the class above."""
        found: dict[str, list[float]] = {turn: [] for turn in self.turns()}
        with Workers(found) as workers:
            for turn, worker in workers.items():
                worker.ask("load", self._models[self.model_of(turn)], self._data)
            for turn, worker in workers.items():
                self._told(turn, worker.answer)
            turns = self._turns()
            for number in range(turns):
                for turn in self.turns():
                    name = self.model_of(turn)
                    if name in self.errors:
                        continue
                    workers[turn].ask("time", self._loops[name].times)
                    took_ms = self._told(turn, workers[turn].answer)
                    if took_ms is not None and (number or turns == 1):
                        found[turn].append(took_ms)
        return {
            turn: statistics.median(column)
            for turn, column in found.items()
            if self.model_of(turn) not in self.errors
        }

    def _told(self, turn: str, answer: Callable[[], Any]) -> Any:
        """Wait for an answer; None: it has failed, which is noted."""
        try:
            return answer()
        except WorkerError as problem:
            self.errors[self.model_of(turn)] = str(problem)
            return None


@dataclass(frozen=True)
class Measured:
    """Rounds.

    Attributes:
        times: ms per round of every model that worked to the end, and of `AGAIN`, if the first one did.
        incomplete: of those that did not.
        finished: whether all rounds were run.
    """

    times: dict[str, list[float]]
    incomplete: dict[str, list[float]]
    finished: bool


def measure(
    engine: Rounds,
    rounds: int,
    times: Mapping[str, list[float]],
    *,
    save: str | Path | None,
    tell: Progress,
    budget_s: float,
) -> Measured:
    """Run the rounds that are not there yet.

    Args:
        engine: prepared.
        rounds: how many there are to be.
        times: of those that are there, by name and `AGAIN`.
        save: where to keep them, every few seconds and at the end; None: nowhere.
        tell: is told the share that is done, 0…1.
        budget_s: how long it may take.

    Raises:
        UsageError: it takes longer, or no model worked to the end.
        OutputError: the file cannot be written.
        KeyboardInterrupt: it was interrupted before there were enough rounds; those that there are, are kept.
    """
    columns = {name: list(column) for name, column in times.items()}
    done = at_first = len(columns[AGAIN])
    saved_s = time.monotonic()
    finished = True
    try:
        if done < rounds:
            engine.begin(rounds - done, budget_s)
        while done < rounds and engine.names():
            row = engine.round()
            for name, took_ms in row.items():
                columns[name].append(took_ms)
            done += 1
            tell((done - at_first) / (rounds - at_first))
            if save is not None and time.monotonic() - saved_s > SAVE_EVERY_S:
                save_times(save, _complete(engine, columns)[0], fresh=isinstance(engine, Fresh))
                saved_s = time.monotonic()
    except KeyboardInterrupt:
        finished = False
    whole, incomplete = _complete(engine, columns)
    if not whole:
        name, problem = next(iter(engine.errors.items()))
        raise UsageError(f"no model worked to the end: {name}: {problem}")
    complete = len(next(iter(whole.values())))
    if save is not None and complete:
        save_times(save, whole, fresh=isinstance(engine, Fresh))
    if complete < enough(len(times) - 1):
        _say_interrupted(complete, save)
        raise KeyboardInterrupt
    return Measured(whole, incomplete, finished)


def _complete(
    engine: Rounds, columns: Mapping[str, list[float]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Part what worked to the end, cut to the rounds that all of it has, from the rest."""
    works = {name for name in columns if engine.model_of(name) not in engine.errors}
    complete = min((len(columns[name]) for name in works), default=0)
    whole = {name: column[:complete] for name, column in columns.items() if name in works}
    rest = {n: list(c) for n, c in columns.items() if n not in works and n != AGAIN and c}
    return whole, rest


def _say_interrupted(complete: int, save: str | Path | None) -> None:
    from tinytrace.cli.messages import say

    kept = f": they are kept in {save}, and gone on with next time" if save and complete else ""
    say(f"interrupted after {complete} rounds, too few to tell anything{kept}")

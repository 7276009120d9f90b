"""What Perfetto's engine answers to a statement: columns and rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tinytrace.errors import QueryError, TraceFormatError


@dataclass(frozen=True)
class Answer:
    """The rows that a statement gives.

    Attributes:
        columns: their names; none: a statement that gives nothing (``create view``).
        rows: per row one value of each column: an int, float, str, bytes or None (NULL).
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """Return a dictionary per row.

        Raises:
            QueryError: two columns have the same name.

        Example:
            >>> Answer(("name", "dur"), [("add", 5)]).dicts()
            [{'name': 'add', 'dur': 5}]
        """
        self.check_names()
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def check_names(self) -> None:
        """See that each column has a name of its own.

        Raises:
            QueryError: two have the same.
        """
        for name, count in Counter(self.columns).items():
            if count > 1:
                raise QueryError(f"{count} columns are called {name}: name them with AS")


class SqlEngine(Protocol):
    """A trace, loaded into Perfetto's engine."""

    def ask(self, sql: str) -> Answer:
        """Return what a statement gives; of several, the last one's.

        Raises:
            QueryError: the engine refuses it.
            EngineError: it failed.
        """

    def close(self) -> None:
        """Let go of what it holds."""


def answer_of(columns: Iterable[str], cells: Sequence[Any]) -> Answer:
    """Return the answer whose cells come row by row.

    Example:
        >>> answer_of(["name", "dur"], ["add", 5, "exp", 7]).rows
        [('add', 5), ('exp', 7)]
    """
    names = tuple(columns)
    step = len(names) or 1
    return Answer(names, [tuple(cells[at : at + step]) for at in range(0, len(cells), step)])


def refused(message: str) -> QueryError:
    """Return in one line why the engine refuses a statement.

    Example:
        >>> said = "Traceback\\n  File stdin line 1 col 8\\n  select x\\n         ^\\nno such column: x"
        >>> str(refused(said))
        'no such column: x (line 1, column 8)'
    """
    lines = message.strip().splitlines() or ["no reason given"]
    places = re.findall(r"line (\d+) col (\d+)", message)
    where = f" (line {places[-1][0]}, column {places[-1][1]})" if places else ""
    return QueryError(f"{lines[-1].strip()}{where}")


def not_read(message: str) -> TraceFormatError:
    """Return in one line why the engine refuses a file.

    Example:
        >>> str(not_read("Unknown trace type provided (ERR:fmt)"))
        'Perfetto cannot read it: Unknown trace type provided (ERR:fmt)'
    """
    reason = (message.strip().splitlines() or ["no reason given"])[-1].strip()
    return TraceFormatError(f"Perfetto cannot read it: {reason}")

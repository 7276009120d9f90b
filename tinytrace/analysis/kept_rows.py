"""Rows by key in bounded memory: the largest are kept, all others are one row, so that sums stay exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar


class Row(Protocol):
    """What can be added up, and has a size to be kept by."""

    @property
    def size(self) -> int:
        """By which the largest are kept."""

    def __add__(self, other: Any, /) -> Any:
        """Both together."""


Key = TypeVar("Key")
R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class KeptRows(Generic[Key, R]):
    """At most ``most`` rows, and the sum of all others.

    `merged` is commutative. It is associative as long as no row was dropped, and its sum over all rows always
    is. Once rows were dropped, a row that is kept may lack what was dropped of it earlier: at most ``missing``.

    Attributes:
        most: how many rows are kept.
        rows: those, the largest first.
        others: all that was dropped, added up.
        dropped: how often a row was dropped.
        missing: by how much the size of any row, kept or not, may be too small.
    """

    most: int
    rows: Mapping[Key, R]
    others: R
    dropped: int = 0
    missing: int = 0

    def merged(self, other: KeptRows[Key, R]) -> KeptRows[Key, R]:
        """Return both together.

        Raises:
            ValueError: they keep different numbers of rows.
        """
        if self.most != other.most:
            raise ValueError(f"{self.most} rows and {other.most} rows cannot be merged")
        rows = dict(self.rows)
        for key, row in other.rows.items():
            rows[key] = rows[key] + row if key in rows else row
        return kept_rows(
            rows,
            self.most,
            self.others + other.others,
            dropped=self.dropped + other.dropped,
            missing=self.missing + other.missing,
        )

    def all_rows(self) -> Iterator[R]:
        """Yield each row, and the others."""
        yield from self.rows.values()
        yield self.others


def kept_rows(
    rows: Mapping[Key, R], most: int, others: R, *, dropped: int = 0, missing: int = 0
) -> KeptRows[Key, R]:
    """Return the largest of some rows, and the rest added to ``others``; equals are kept by their key."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1].size, repr(item[0])))
    for _, row in ordered[most:]:
        others = others + row
    # Whatever row is dropped here is no larger than the first of them.
    missing += ordered[most][1].size if len(ordered) > most else 0
    dropped += max(0, len(ordered) - most)
    return KeptRows(most, dict(ordered[:most]), others, dropped, missing)


@dataclass(frozen=True)
class FirstOf:
    """The first of many by their order, and how many there were: names to look at. Merging is exact.

    Attributes:
        most: how many are kept.
        items: those, in order.
        count: of all.
    """

    most: int
    items: tuple[Any, ...] = field(default=())
    count: int = 0

    def merged(self, other: FirstOf) -> FirstOf:
        """Return both together."""
        items = tuple(sorted([*self.items, *other.items]))[: self.most]
        return FirstOf(self.most, items, self.count + other.count)

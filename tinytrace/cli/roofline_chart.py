"""A roofline in characters: both axes logarithmic, roofs as lines, ops as letters."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING

from tinytrace.analysis.figures import format_rate

if TYPE_CHECKING:
    from tinytrace.analysis.roofline_points import Roofline

LETTERS = string.ascii_lowercase + string.ascii_uppercase
ROWS, FEW_ROWS = 18, 12  # of a picture alone, of one beside others
MOST_COLUMNS, LEAST_COLUMNS = 78, 40
AXIS_CELLS = 9  # in front of a row: a figure and a line
LEAST_X = (2.0**-5, 2.0**6)  # FLOPs per byte that are shown in any case


def letters(roofline: Roofline) -> list[str]:
    """Return per point its letter; "" for one that has no place, and when letters run out.

    Args:
        roofline: of a trace.
    """
    free = iter(LETTERS)
    return [next(free, "") if point.place else "" for point in roofline.points]


def chart(roofline: Roofline, width: int | None, rows: int = ROWS) -> list[str]:
    """Return the lines of a picture; none where no point has a place, or the terminal is too narrow for one.

    Args:
        roofline: of a trace.
        width: of the terminal; None: it is a file.
        rows: of the picture without its axis.
    """
    places = [point.place for point in roofline.points if point.place]
    width = min(width or MOST_COLUMNS, MOST_COLUMNS)
    if not places or width < LEAST_COLUMNS:
        return []
    columns = width - AXIS_CELLS
    xs = [x for x, _ in places]
    ys = [y for _, y in places] + [ceiling.gflops.value for ceiling in roofline.ceilings]
    grid = _Grid(
        columns, (min(*LEAST_X, *xs), max(*LEAST_X, *xs)), (min(ys) / 1.5, max(ys) * 1.5), rows
    )
    _roofs(roofline, grid)
    # Those with most time are written last, over others at the same place.
    for point, letter in reversed(list(zip(roofline.points, letters(roofline), strict=True))):
        if point.place and letter:
            grid.put(grid.column(point.place[0]), grid.row(point.place[1]), letter)
    return grid.lines()


def _roofs(roofline: Roofline, grid: _Grid) -> None:
    levels = [level for level in roofline.peaks.levels if level.gbps] if roofline.peaks else []
    highest = max((ceiling.gflops.value for ceiling in roofline.ceilings), default=math.inf)
    for level in levels:
        for column in range(grid.columns):
            gflops = grid.x(column) * (level.gbps.value if level.gbps else 0.0)
            if gflops <= highest:
                grid.put(column, grid.row(gflops), "/" if level.resolvable else ".")
    fastest = max((level.gbps.value for level in levels if level.gbps), default=math.inf)
    for ceiling in roofline.ceilings:
        for column in range(grid.columns):
            if grid.x(column) * fastest >= ceiling.gflops.value:
                grid.put(column, grid.row(ceiling.gflops.value), "-")


class _Grid:
    """Characters at logarithmic places."""

    def __init__(
        self, columns: int, x: tuple[float, float], y: tuple[float, float], rows: int
    ) -> None:
        self.columns, self._rows = columns, rows
        self._x, self._y = (tuple(map(math.log, ends)) for ends in (x, y))
        self._cells = [[" "] * columns for _ in range(rows)]

    def x(self, column: int) -> float:
        """FLOPs per byte in the middle of a column."""
        begin, end = self._x
        return math.exp(begin + (end - begin) * column / (self.columns - 1))

    def column(self, x: float) -> int:
        """The nearest column."""
        begin, end = self._x
        return round((math.log(x) - begin) / (end - begin) * (self.columns - 1))

    def row(self, y: float) -> int:
        """The nearest row, counted from above; it may lie outside."""
        begin, end = self._y
        return round((end - math.log(y)) / (end - begin) * (self._rows - 1))

    def put(self, column: int, row: int, character: str) -> None:
        """Write a character, if it is within."""
        if 0 <= row < self._rows:
            self._cells[row][column] = character

    def lines(self) -> list[str]:
        """The grid with its axes."""
        rows = {self.row(10.0**n): 10.0**n for n in range(-9, 10)}
        text = ["GFLOP/s".rjust(AXIS_CELLS - 1)]
        for row, cells in enumerate(self._cells):
            figure = format_rate(rows[row]) if row in rows else ""
            text.append(f"{figure:>{AXIS_CELLS - 2}} |{''.join(cells)}".rstrip())
        text.append(" " * (AXIS_CELLS - 1) + "+" + "-" * self.columns)
        ticks = [" "] * (self.columns + AXIS_CELLS)
        for n in range(-9, 10):
            figure = f"{10.0**n:g}"
            place = AXIS_CELLS + self.column(10.0**n) - len(figure) // 2
            if place >= AXIS_CELLS and place + len(figure) <= len(ticks):
                ticks[place : place + len(figure)] = figure
        return [*text, "".join(ticks).rstrip(), "FLOPs per byte".rjust(self.columns + AXIS_CELLS)]

"""Tables and paragraphs as lines of text that fit a width; colours where there are any.

The lines are the same on a terminal and in a file, but for the width. A table's numbers are never cut or
folded, nor are names. The last column is text: where that does not fit beside the numbers it is on a line
of its own, below; that of all rows, when it fits for fewer than half of them.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import TextIO

GAP = "  "
BELOW = "    "  # before the text that did not fit beside the numbers
LEAST_WIDTH = 20


def cells(text: str) -> int:
    """Return how many cells a text takes on a terminal: Chinese characters take two.

    >>> cells("add"), cells("層")
    (3, 2)
    """
    if text.isascii():
        return len(text)
    return sum(_cells_of(c) for c in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None
) -> list[tuple[str, str]]:
    """Return the lines of a table, each with its style (the first is ``"head"``, others ``""``).

    Args:
        heads: of the columns. The first and the last hold text, the others numbers.
        rows: their cells.
        width: of the terminal; None: as wide as it gets.
    """
    widths = [max(cells(text) for text in column) for column in zip(heads, *rows, strict=True)]
    room = None if width is None else width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    fits = [room is None or cells(row[-1]) <= room for row in rows]
    beside = (room is None or cells(heads[-1]) <= room) and 2 * sum(fits) >= len(rows)
    lines = [(_line(heads if beside else heads[:-1], widths), "head")]
    for row, fit in zip(rows, fits, strict=True):
        if beside and fit:
            lines.append((_line(row, widths), ""))
        else:
            lines += [(_line(row[:-1], widths), ""), (BELOW + row[-1], "")]
    return lines


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    last = len(widths) - 1
    parts = []
    for place, (text, width) in enumerate(zip(texts, widths, strict=False)):
        space = " " * (width - cells(text))
        parts.append(text + space if place in (0, last) else space + text)
    return GAP.join(parts).rstrip()


def paragraph(text: str, width: int | None) -> list[str]:
    """Return a text in lines that fit, broken at spaces and all indented as the first; a longer word stays whole.

    >>> paragraph("one two three", 8), paragraph("  one two three", 9)
    (['one two', 'three'], ['  one two', '  three'])
    """
    if width is None or cells(text) <= width:
        return [text]
    words = text.lstrip(" ")
    indent = text[: len(text) - len(words)]
    lines: list[str] = []
    for word in words.split(" "):
        if lines and cells(lines[-1]) + 1 + cells(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(indent + word)
    return lines


class Page:
    """Prints lines to a file or a terminal.

    In colour on a terminal, unless ``NO_COLOR`` is set or it is a dumb one.

    Args:
        file: where to.

    Attributes:
        width: of the terminal; None: it is a file, which gets one line per row and paragraph, whatever
            its length: it is searched, not looked at.
    """

    STYLES = {"head": "underline", "title": "bold", "dim": "dim", "warning": "yellow"}  # noqa: RUF012

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.width = _terminal_width(file)
        dull = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
        self._coloured = self.width is not None and not dull

    def lines(self, styled: Sequence[tuple[str, str]]) -> None:
        """Print lines with their styles; ``""`` is plain.

        Raises:
            OSError: it cannot be written.
        """
        if not self._coloured:
            self._file.write("".join(f"{line}\n" for line, _ in styled))
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(
            file=self._file, force_terminal=True, force_jupyter=False, markup=False, highlight=False,
            emoji=False,
        )  # fmt: skip
        for line, style in styled:
            console.print(Text(line, style=self.STYLES.get(style, "")), soft_wrap=True)


def _terminal_width(file: TextIO) -> int | None:
    """Columns of the terminal, of ``COLUMNS`` if that is set; None: it is none."""
    if not file.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    columns = int(told) if told.isascii() and told.isdigit() else 0
    if not columns:
        try:
            columns = os.get_terminal_size(file.fileno()).columns
        except (OSError, ValueError):
            columns = 0
    return max(LEAST_WIDTH, columns or 80)

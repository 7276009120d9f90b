"""A sheet of text: paragraphs and tables for a terminal of any width, plain text everywhere else.

Everything that comes from a trace (names of functions, files, ops, warnings) is data: it is escaped, and never
read as a terminal's control sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from tinytrace.analysis.figures import clean
from tinytrace.cli.layout import Page, paragraph, table

UNKNOWN = "?"
LONGEST_NAME = 60
LONGEST_TEXT = 1000  # of a warning, a path


class Sheet:
    """Collects lines, then prints them to one file.

    Args:
        file: where to.
    """

    def __init__(self, file: TextIO) -> None:
        self._encoding = encoding_of(file)
        self._page = Page(file)
        self._lines: list[tuple[str, str]] = []

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None: it is a file."""
        return self._page.width

    def can_show(self, text: str) -> bool:
        """Return whether the encoding of the file has all of these characters."""
        return clean(text, self._encoding) == text

    def say(self, text: str = "", style: str = "") -> None:
        """Add a paragraph, in the style of a `Page`."""
        self._lines += [(line, style) for line in paragraph(text, self._page.width)]

    def table(self, title: str, columns: Mapping[str, Sequence[str]]) -> None:
        """Add a table; the first and the last column hold text."""
        self.say(title, "title")
        rows = list(zip(*columns.values(), strict=True))
        self._lines += table(list(columns), rows, self._page.width)

    def text(self, text: str | None, longest: int = LONGEST_NAME) -> str:
        """Return data as it can be shown; ``?`` for None."""
        if text is None:
            return UNKNOWN
        shown = clean(text, self._encoding) or '""'
        return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."

    def print(self) -> None:
        """Print what was collected.

        Raises:
            OSError: it cannot be written.
        """
        self._page.lines(self._lines)


def encoding_of(file: TextIO) -> str:
    """Return the encoding of a file, ASCII where it is not one that Python knows."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        "".encode(encoding)
    except LookupError:
        return "ascii"
    return encoding

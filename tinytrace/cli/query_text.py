"""The answer to a query, printed: as a table for people, as JSON and as CSV for programs."""

from __future__ import annotations

import csv
import json
import math
from typing import Any, TextIO

from tinytrace.analysis.figures import clean
from tinytrace.analysis.sql_answer import Answer
from tinytrace.cli.layout import GAP, Page, cells
from tinytrace.cli.sheet import encoding_of

NULL = "NULL"


def print_table(answer: Answer, file: TextIO) -> None:
    """Print columns side by side, numbers to the right; nothing for a statement that gives nothing.

    Figures are printed whole: a table of somebody else's columns is not rounded.

    Raises:
        OSError: it cannot be written.
    """
    if not answer.columns:
        return
    encoding = encoding_of(file)
    columns = [
        [clean(name, encoding), *(_cell(row[place], encoding) for row in answer.rows)]
        for place, name in enumerate(answer.columns)
    ]
    right = [
        any(isinstance(row[place], int | float) for row in answer.rows)
        for place in range(len(columns))
    ]
    widths = [max(map(cells, column)) for column in columns]
    lines = list[tuple[str, str]]()
    for row in zip(*columns, strict=True):
        padded = [
            " " * (width - cells(text)) + text if to_right else text + " " * (width - cells(text))
            for text, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append((GAP.join(padded).rstrip(), "" if lines else "head"))
    Page(file).lines(lines)


def print_json(answer: Answer, file: TextIO) -> None:
    """Print a list of objects, a row per line. Blobs are hexadecimal; infinity is a string, as JSON has none.

    Raises:
        QueryError: two columns have the same name.
        OSError: it cannot be written.
    """
    answer.check_names()
    file.write("[")
    comma = ""
    for row in answer.rows:
        values = {name: _plain(value) for name, value in zip(answer.columns, row, strict=True)}
        file.write(f"{comma}\n{json.dumps(values, allow_nan=False)}")
        comma = ","
    file.write("\n]\n")


def print_csv(answer: Answer, file: TextIO) -> None:
    """Print comma-separated values with a line of names; NULL is empty, blobs are hexadecimal.

    Raises:
        OSError: it cannot be written.
    """
    if not answer.columns:
        return
    encoding = encoding_of(file)
    writer = csv.writer(file, lineterminator="\n")
    for row in [answer.columns, *answer.rows]:
        writer.writerow([_encodable(value, encoding) for value in row])


def _cell(value: Any, encoding: str) -> str:
    if value is None:
        return NULL
    return clean(value if isinstance(value, str) else str(_plain(value)), encoding)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _encodable(value: Any, encoding: str) -> Any:
    """A value of CSV: its text as it is, but what the encoding does not have."""
    if isinstance(value, str):
        return value.encode(encoding, "backslashreplace").decode(encoding)
    return _plain(value)

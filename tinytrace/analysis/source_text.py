"""Lines of the program's source, where the files are still what ran."""

from __future__ import annotations

import ast
import stat
import tokenize
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 4_000_000  # of a file: no source of a person is that long
LONGEST_LINE = 300  # characters of a line that are kept


@dataclass(frozen=True, slots=True)
class Source:
    """Lines of one file.

    Attributes:
        file: its path, as the trace has it.
        lines: number → text, without the end of the line; {}: none can be shown.
        reason: why there are none; None: there are.
    """

    file: str
    lines: Mapping[int, str]
    reason: str | None


def source_of(
    file: str,
    wanted: frozenset[int],
    recorded_unix_ns: int | None,
    functions: Mapping[int, str] | None = None,
) -> Source:
    """Return lines of a source file as it was when the trace was recorded, else why they cannot be shown.

    Only files of Python are read: a trace may name any file, and a report is passed on. A file that was written
    after the recording began may have other lines now, and on another machine the path may be that of another
    program: where a line is not in the function that it was seen in, none is shown.

    Args:
        file: path.
        wanted: numbers of lines, from 1; those that the file does not have are left out.
        recorded_unix_ns: when the recording began; None: not known.
        functions: lines, and the function that each was seen in, by its qualified name.

    Example:
        >>> source_of("<string>", frozenset({1}), 0).reason
        'no file of Python'
    """
    path = Path(file)
    if path.suffix != ".py" or not path.is_absolute():
        return Source(file, {}, "no file of Python")
    if recorded_unix_ns is None:
        return Source(
            file, {}, "when it was recorded is not known, so that the file may have changed since"
        )
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            return Source(file, {}, "no file of Python")
        if found.st_mtime_ns > recorded_unix_ns:
            return Source(file, {}, "the file was changed after the recording began")
        with tokenize.open(path) as text:
            content = text.read()
    except (OSError, ValueError, SyntaxError):
        return Source(file, {}, "the file is not there, or cannot be read")
    lines = content.split("\n")
    if not _is_what_ran(content, len(lines), functions or {}):
        return Source(file, {}, "the lines of the file are not those that ran")
    return Source(
        file,
        {n: lines[n - 1][:LONGEST_LINE] for n in sorted(wanted) if 0 < n <= len(lines)},
        None,
    )


def _is_what_ran(content: str, n_lines: int, functions: Mapping[int, str]) -> bool:
    """Whether each line is in a function of the name that it was seen in."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # those about its style have been given to whoever ran it
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    places: dict[str, list[tuple[int, int]]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            places.setdefault(node.name, []).append((first, node.end_lineno or first))
    for line, function in functions.items():
        name = function.rpartition(".")[2]
        if line > n_lines:
            return False
        if name.startswith("<"):  # a module, a lambda, a comprehension: has no name in the file
            continue
        if not any(first <= line <= last for first, last in places.get(name, ())):
            return False
    return True

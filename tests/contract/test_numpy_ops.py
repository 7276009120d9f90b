"""docs/ops.md says the truth, on both recorders: every line of its tables is run, and compared."""

from __future__ import annotations

import contextlib
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.older_numpy import older_lines
from tests.contract.recorded import FILE, Recorded, record
from tests.cores import CORES
from tinytrace.tracer.records import Flag

PAGE = Path(__file__).parents[2] / "docs" / "ops.md"
MAJOR, MINOR = map(int, np.__version__.split(".")[:2])
OLDER = older_lines((MAJOR, MINOR))


def setup() -> str:
    """Return the program that the page begins with."""
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def rows() -> list[tuple[str, str]]:
    """Return the lines of the tables and what is recorded, as the page has it."""
    text = PAGE.read_text("utf-8").replace("\\|", "¦")
    found = re.findall(r"^\| `([^|]+)` \| (?:`([^|]+)`|nothing) \|$", text, re.MULTILINE)
    return [(line.replace("¦", "|"), ops.replace("¦", "|")) for line, ops in found]


def tables(text: str) -> int:
    """Return how many rows there are below the heads of the tables of lines."""
    blocks = re.findall(r"^\| line \| recorded \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return sum(block.count("\n") for block in blocks)


def expected(core: str, line: str, ops: str) -> str:
    """Return what a core records for a line, with the NumPy that is here."""
    ops = OLDER.get(line, ops)
    if core == "c":
        return ops
    ops = re.sub(r" ?\b(getitem|setitem)!?\[[^\]]*\]", "", ops)
    return re.sub(r"(?<=\])\(\)", "", ops.replace("( ", "(")).strip()


def run_lines(lines: list[str]) -> dict[str, Any]:
    """Run each line as one of ``program.py``, whatever it raises; returns the variables."""
    variables: dict[str, Any] = {}
    exec(setup(), variables)
    for number, line in enumerate(lines):
        with contextlib.suppress(Exception):
            exec(compile("\n" * number + line, FILE, "exec"), variables)
    return variables


@functools.cache
def recorded(core: str) -> Recorded:
    """Run all lines of the page on a core, once."""
    lines = [line for line, _ in rows()]
    return Recorded(record(core, lambda: run_lines(lines)))


def test_every_row_of_the_page_is_read() -> None:
    assert len(rows()) == tables(PAGE.read_text("utf-8")) > 200


@pytest.mark.parametrize("core", CORES)
def test_what_the_page_says_is_recorded(core: str) -> None:
    by_line = recorded(core).by_line()
    wrong = {
        line: (found, wanted)
        for number, (line, ops) in enumerate(rows(), 1)
        if (found := by_line.get(number, "")) != (wanted := expected(core, line, ops))
    }
    assert wrong == {}


@pytest.mark.parametrize("core", CORES)
def test_every_op_of_the_page_has_its_line_as_call_site(core: str) -> None:
    found = recorded(core)
    inside = [row for row in found.rows if found.site(row)[0] == FILE]
    assert {found.site(row)[2] for row in inside} == {"<module>"}
    lines = {row: found.site(row)[1] for row in inside}
    parents = found.trace.spans.parent
    assert all(lines[row] == lines[up] for row in inside if (up := int(parents[row])) in lines)


@pytest.mark.parametrize("core", CORES)
def test_spans_of_the_page_lie_inside_their_parents(core: str) -> None:
    spans = recorded(core).trace.spans
    child = np.flatnonzero(spans.parent >= 0)
    up = spans.parent[child]
    end = spans.start_ns + spans.dur_ns
    assert (spans.start_ns[child] >= spans.start_ns[up]).all()
    assert (end[child] <= end[up]).all()
    assert not (spans.flags & (Flag.OPEN | Flag.DETACHED)).any()


@pytest.mark.parametrize("core", CORES)
def test_results_are_the_same_bits_with_and_without_hooks(core: str) -> None:
    lines = [f"results[{n}] = {line}" for n, (line, _) in enumerate(rows()) if is_expression(line)]
    kept: list[dict[str, Any]] = []

    def program() -> None:
        kept.append(run_lines(["results = {}", *lines]))

    program()
    record(core, program)
    assert len(kept[0]["results"]) > 150
    assert list(map(bits, kept[0].items())) == list(map(bits, kept[1].items()))


def is_expression(line: str) -> bool:
    """Whether a line of the page has a value that is more than uninitialised memory."""
    try:
        compile(line, FILE, "eval")
    except SyntaxError:
        return False
    return "empty" not in line


def bits(value: Any) -> Any:
    """Return all that makes a value, as bytes and text."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return type(value).__name__, value.dtype.str, value.shape, value.strides, value.tobytes()
    if isinstance(value, np.generic):
        return type(value).__name__, value.tobytes()
    if isinstance(value, dict):
        return [(key, bits(item)) for key, item in value.items() if key != "__builtins__"]
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [bits(item) for item in value]
    return re.sub(r"(?i) at 0x[0-9a-f]+", "", repr(value))

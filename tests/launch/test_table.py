"""The table of what holds names the tests that hold it: each of them exists, and none is left out."""

from __future__ import annotations

import ast
import re

from tests.launch.both import ROOT

NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
FOLDER = "tests/launch/"


def test_every_test_of_the_table_exists_and_every_one_here_is_in_it() -> None:
    text = (ROOT / "docs" / "launch.md").read_text(encoding="utf-8")
    named = {(f if "/" in f else FOLDER + f, name) for f, name in NAMED.findall(text)}
    files = {f for f, _ in named} | {FOLDER + p.name for p in (ROOT / FOLDER).glob("test_*.py")}
    defined = {(f, name) for f in files - {FOLDER + "test_table.py"} for name in functions(f)}
    assert named - defined == set()
    assert {(f, name) for f, name in defined - named if f.startswith(FOLDER)} == set()


def functions(file: str) -> list[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in found if name.startswith("test_")]

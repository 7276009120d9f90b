"""The examples in the manual that can be run are true."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["measuring.md"])
def test_the_examples_of_a_document_are_true(name: str) -> None:
    failed, run = doctest.testfile(str(DOCS / name), module_relative=False)
    assert run
    assert not failed

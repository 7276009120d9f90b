"""Every planted bottleneck is named, and of programs that are written well nothing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus_runs import FIRST, PLANTED, PLANTED_HERE, programs, run


def test_every_program_has_a_twin_and_a_rule() -> None:
    assert programs() == sorted(f"{name}_{sort}" for name in PLANTED for sort in ("good", "slow"))


@pytest.mark.parametrize("name", PLANTED_HERE)
def test_the_planted_bottleneck_is_among_the_first_findings(name: str, tmp_path: Path) -> None:
    result = run(f"{name}_slow", tmp_path)
    rank = result.rank(PLANTED[name])
    assert rank is not None and rank <= FIRST, [(f.rule, f.place) for f in result.found]


@pytest.mark.parametrize("name", PLANTED_HERE)
def test_of_the_twin_nothing_is_said(name: str, tmp_path: Path) -> None:
    assert [(f.rule, f.place) for f in run(f"{name}_good", tmp_path).found] == []

"""`bench`: commands and functions in fresh processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tinytrace.cli import bench as bench_command
from tinytrace.errors import InputError, UsageError
from tinytrace.toolkit.commands import bench


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "def quick(): print('to stdout')\n"
        "class Deep:\n    @staticmethod\n    def down(): sum(range(1000))\n"
        "def broken(): raise ValueError('no')\n"
        "def big(): b'x' * 60_000_000\n"
    )
    monkeypatch.chdir(tmp_path)


def test_each_runs_in_processes_of_its_own_and_the_first_one_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = bench([f"sh -c 'echo a $$ >> {log}'", f"sh -c 'echo b >> {log}'"], 6)
    lines = log.read_text().splitlines()
    assert sum(line.startswith("a") for line in lines) == 2 * 7
    assert lines.count("b") == 7
    assert len({line for line in lines if line.startswith("a")}) == 14
    assert found.rounds == 6
    assert found.rows[0].speedup is None
    assert found.rows[1].speedup is not None


def test_functions_are_timed_by_the_call_and_may_print() -> None:
    found = bench(["mine:quick", "mine:Deep.down"], 6)
    assert all(row.time_ms < 1000 for row in found.rows)


def test_the_peak_of_memory_is_that_of_the_command_and_not_ours() -> None:
    ballast = b"x" * 200_000_000
    found = bench(["mine:big", f"{sys.executable} -c pass"], 6)
    assert len(ballast) == 200_000_000
    assert found.rows[0].peak_rss_mb is not None
    low, high = found.rows[0].peak_rss_mb
    assert 60 < low <= high < 150
    small = found.rows[1].peak_rss_mb
    assert small is None or small[1] < 60


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (["nosuchcommand x"], "cannot be run: No such file"),
        (["false"], "exit code 1"),
        (["mine:broken"], "ValueError: no"),
        (["mine:none"], "AttributeError"),
        (["nosuchmodule:f"], "ModuleNotFoundError"),
        (["true", "true"], "given twice"),
        (["'"], "is no command"),
        ([""], "empty command"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(what: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        bench(what, 6)
    assert "\n" not in str(raised.value)


def test_the_command_line_prints_a_table_saves_it_and_stands_it_beside_later_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(tmp_path / "base.json")
    assert bench_command.main(["true", "mine:quick", "--rounds", "6", "--save", base]) == 0
    out = capsys.readouterr().out
    assert "6 rounds in turns, each in a fresh process" in out
    assert bench_command.main(["true", "--rounds", "6", "--baseline", base]) == 0
    out = capsys.readouterr().out
    assert "saved" in out
    assert "no verdict" in out
    assert bench_command.main(["true", "--rounds", "6", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["times_ms"]["true"]) == 6
    with pytest.raises(InputError, match="no file of results"):
        bench_command.main(["true", "--baseline", "mine.py"])
    with pytest.raises(UsageError, match="too few"):
        bench_command.main(["true", "--rounds", "3"])

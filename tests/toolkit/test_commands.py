"""`bench`: commands and functions in fresh processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
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


def failing_after(runs: int, tmp_path: Path) -> str:
    """A command that fails when it is run once more than so often."""
    script = tmp_path / "fails.sh"
    script.write_text(
        f"echo >> runs; test $(wc -l < runs) -le {runs} || (echo no more >&2; exit 9)"
    )
    return f"sh {script}"


def test_what_was_complete_when_a_command_failed_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = failing_after(1 + 8, tmp_path)
    with pytest.raises(UsageError, match="exit code 9: no more"):
        bench_command.main(["true", command, "--rounds", "20", "--save", "kept.json"])
    out = capsys.readouterr().out
    assert "8 rounds in turns" in out
    assert "exit code 9: no more): these are the rounds that were complete" in out.replace(
        "\n", " "
    )
    document = json.loads(Path("kept.json").read_text())
    assert [len(column) for column in document["times_ms"].values()] == [8, 8, 8]
    assert document["finished"] is False
    Path("runs").unlink()
    with pytest.raises(UsageError, match="exit code 9"):  # too early to tell anything
        bench([failing_after(1 + 5, tmp_path)], 20)


def test_what_was_complete_when_it_was_interrupted_is_kept() -> None:
    def interrupted_at(share: float) -> Callable[[float], None]:
        def progress(now: float) -> None:
            if now >= share:
                raise KeyboardInterrupt

        return progress

    found = bench(["true"], 20, interrupted_at(0.5))
    assert (found.rounds, found.interrupted, found.stopped) == (10, True, "it was interrupted")
    with pytest.raises(KeyboardInterrupt):
        bench(["true"], 20, interrupted_at(0.2))


def test_what_takes_longer_than_the_budget_is_refused_after_its_first_round() -> None:
    begun: list[float] = []
    with pytest.raises(UsageError, match=r"1000 rounds would take about .*: \d+ s"):
        bench(["sleep 0.01"], 1000, begun.append, budget_s=1)
    assert len(begun) == 1


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

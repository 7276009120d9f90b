"""``python -m tinytrace fleet``: many traces as one table, or as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.commands import Done, run_commands
from tinytrace.analysis.fleet import Fleet, empty_fleet, skipped_trace, trace_fleet
from tinytrace.cli.fleet_text import print_fleet
from tinytrace.exporters import export

TRACE = trace_of("matmul[2x3,3x4->2x4]:6@train.py:3:main add[8,8->8]:2 add[8,8->8]:2")


def text_of(fleet: Fleet, top: int = 20) -> str:
    file = io.StringIO()
    print_fleet(fleet, file, top)
    return file.getvalue()


def ranked(rank: int) -> Fleet:
    meta = {"machine": {"cpu": "EPYC", "usable_cpus": 2}, "ranks": [{"rank": rank}]}
    return trace_fleet(replace(TRACE, meta=meta), f"rank{rank}.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet")
    (path / "runs").mkdir()
    (path / "nothing").mkdir()
    export(TRACE, path / "runs" / "a.json")
    export(TRACE, path / "runs" / "b.json.gz")
    (path / "runs" / "bad.json").write_text("")
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    commands = ["fleet runs", "fleet runs/a.json --json --top 1", "fleet nothing", "fleet nowhere",
                "fleet", "fleet runs/bad.json", "fleet runs --workers 0", "fleet -h"]  # fmt: skip
    return dict(zip(commands, run_commands([c.split() for c in commands], folder), strict=True))


def test_the_text_has_runs_account_ops_and_what_was_skipped(done: dict[str, Done]) -> None:
    ended = done["fleet runs"]
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "2 traces, 20.0 us of main threads together"
    assert lines[1].startswith("One run: median 10.0 us, 90 % 10.0 us")
    [matmul] = [line for line in lines if line.startswith("matmul")]
    words = matmul.split()
    assert words[1:6] == ["60.0", "12.0", "us", "2", "5.94"], "6 us, within 1 %"
    assert matmul.endswith("2  train.py:3 main, float64[2,3] float64[3,4] -> float64[2,4]")
    assert lines[-1] == "Skipped: runs/bad.json: is empty"


def test_json_holds_the_same(done: dict[str, Done]) -> None:
    ended = done["fleet runs/a.json --json --top 1"]
    assert (ended.code, ended.err) == (0, "")
    plain = json.loads(ended.out)
    assert (plain["traces"], [row["op"] for row in plain["ops"]]) == (1, ["matmul"])
    assert plain["other_ops"]["calls"] == 2


def test_what_is_wrong_is_one_line(done: dict[str, Done]) -> None:
    for command, code, said in (
        ("fleet nothing", 3, "nothing: no trace in it"),
        ("fleet nowhere", 3, "nowhere: no such file or folder"),
        ("fleet", 2, "required: DIR-or-file"),
        ("fleet runs --workers 0", 2, "--workers"),
    ):
        ended = done[command]
        assert (ended.code, ended.out) == (code, "")
        assert said in ended.line


def test_where_no_trace_could_be_read_the_exit_code_says_so(done: dict[str, Done]) -> None:
    ended = done["fleet runs/bad.json"]
    assert (ended.code, ended.out.splitlines()[1:]) == (4, ["Skipped: runs/bad.json: is empty"])


def test_ranks_have_a_row_each_and_further_ones_are_together() -> None:
    fleet = reduce(Fleet.merged, map(ranked, range(3)))
    text = text_of(fleet, top=2)
    lines = text.splitlines()
    at = lines.index("By machine and rank")
    assert [line.split()[0] for line in lines[at + 2 : at + 4]] == ["0", "1"]
    assert "(others)" in lines[at + 4]
    assert lines[at + 4].split()[0] == "1", "one trace"


def test_rows_that_were_dropped_are_said() -> None:
    one = trace_fleet(TRACE, "a.json", most_ops=1)
    lines = text_of(one).splitlines()
    assert "Ops by self time (1 of 1+)" in lines
    assert any(line.startswith("(others)   40.0  4.00 us") for line in lines)
    assert lines[-1].startswith("There were more rows than are kept: a row may lack up to 4.00 us")


def test_of_nothing_but_damaged_traces_these_are_named() -> None:
    fleet = empty_fleet()
    for i in range(25):
        fleet = fleet.merged(skipped_trace(f"{i:02}.json", "is \x1b[31mempty"))
    lines = text_of(fleet).splitlines()
    assert lines[0] == "0 traces, 0 ns of main threads together"
    assert (len(lines), lines[-1]) == (22, "Skipped: 5 more")
    assert "\x1b" not in "".join(lines)

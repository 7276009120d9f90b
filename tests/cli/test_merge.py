"""`python -m tinytrace merge`: one trace of what there is, and a clear line for what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Done, run_commands
from tests.ranks.by_hand import MS, Ranks, entries, steady
from tinytrace.analysis.collectives import communication
from tinytrace.analysis.reader import load
from tinytrace.exporters.registry import export

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ranks of a job on two hosts, and things that are no ranks."""
    path = tmp_path_factory.mktemp("ranks")
    job = path / "job"
    job.mkdir()
    ranks = Ranks([steady(0), steady(20 * MS), steady(0)], ["a", "b", "a"], meetings=20)
    for rank, trace in enumerate(ranks.traces()):
        export(trace, job / f"trace-rank{rank}.json")
    bad = path / "bad"
    bad.mkdir()
    text = (job / "trace-rank1.json").read_text()
    (bad / "newer.json").write_text(text.replace('"version":2', '"version":99'))
    (bad / "cut.json").write_bytes((job / "trace-rank0.json").read_bytes()[:-3000])
    (bad / "words.json").write_text("once upon a time")
    (bad / "empty.json").write_text("")
    (path / "nothing").mkdir()
    shutil.copy(job / "trace-rank1.json", path / "copy.json")
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    """Each command, run once, by name."""
    commands = {
        "folder": ["merge", "job", "-o", "job/all.json"],
        "again": ["merge", "job", "-o", "again.json"],
        "missing": ["merge", "job/trace-rank0.json", "job/trace-rank2.json", "-o", "missing.json"],
        "twice": ["merge", "job/trace-rank0.json", "job", "job/trace-rank0.json", "-o", "twice.json"],
        "copies": ["merge", "job", "copy.json", "-q", "-o", "copies.json"],
        "bad": ["merge", "bad", "-o", "bad.json"],
        "only bad": ["merge", "bad/words.json", "-o", "none.json"],
        "all bad": ["merge", "bad/words.json", "bad/empty.json", "-o", "none.json"],
        "nothing": ["merge", "nothing", "-o", "none.json"],
        "no output": ["merge", "job", "-o", "nowhere/all.json"],
        "no such": ["merge", "job/trace-rank9.json", "-o", "none.json"],
        "torch": ["merge", *(str(DATA / f"hta_sampled_rank-{r}.json.gz") for r in (0, 1)), "-o", "t.json.gz"],
        "protobuf": ["merge", "job", "-q", "-o", "all.pftrace"],
    }  # fmt: skip
    results = run_commands(list(commands.values()), folder)
    return dict(zip(commands, results, strict=True))


def test_all_traces_of_a_folder_become_one(folder: Path, done: dict[str, Done]) -> None:
    said = done["folder"]
    assert said.code == 0
    lines = said.err.splitlines()
    assert lines[0] == "tinytrace: rank 0 on a: job/trace-rank0.json; the clock of the first"
    assert lines[1].startswith("tinytrace: rank 1 on b: job/trace-rank1.json; clock moved by +20.0")
    assert "±" in lines[1] and lines[1].endswith("(from 20 matched calls)")
    assert lines[3] == "tinytrace: 0 messages matched, 40 arrows between the calls of collectives"
    assert "python -m tinytrace report job/all.json" in lines[4]
    trace = load(folder / "job/all.json")
    assert [entry["rank"] for entry in entries(trace)] == [0, 1, 2]
    assert communication(trace).n_sets == 20


def test_a_merged_trace_in_the_folder_is_not_merged_again(
    folder: Path, done: dict[str, Done]
) -> None:
    assert done["again"].code == 0
    assert "job/all.json: a merged trace; left out" in done["again"].err
    assert load(folder / "again.json") == load(folder / "job/all.json")


def test_a_missing_rank_is_said_and_has_its_own_exit_code(
    folder: Path, done: dict[str, Done]
) -> None:
    assert done["missing"].code == 10
    assert "tinytrace: 1 of 3 ranks is missing: 1\n" in done["missing"].err
    assert len(load(folder / "missing.json").processes) == 2


def test_a_file_that_is_given_twice_counts_once(folder: Path, done: dict[str, Done]) -> None:
    assert done["twice"].code == 10
    assert "job/trace-rank0.json: given twice; it was read once" in done["twice"].err
    assert len(load(folder / "twice.json").processes) == 3


def test_a_copy_of_a_trace_counts_once(folder: Path, done: dict[str, Done]) -> None:
    assert done["copies"].code == 10
    assert "copy.json: the same recording as job/trace-rank1.json" in done["copies"].err
    assert len(load(folder / "copies.json").processes) == 3


def test_what_is_no_trace_or_of_a_newer_format_is_left_out_and_said(
    folder: Path, done: dict[str, Done]
) -> None:
    said = done["bad"]
    assert said.code == 10
    assert "left out: bad/empty.json: is empty" in said.err
    assert "left out: bad/newer.json: written by a newer tinytrace (trace format 99" in said.err
    assert "left out: bad/words.json: not a trace" in said.err
    assert "rank 0: the end of the trace file is missing" in said.err
    assert "2 of 3 ranks are missing: 1, 2" in said.err
    assert len(load(folder / "bad.json").processes) == 1


def test_nothing_to_merge_is_an_error_and_nothing_is_written(
    folder: Path, done: dict[str, Done]
) -> None:
    assert (done["only bad"].code, done["all bad"].code, done["nothing"].code) == (4, 3, 3)
    assert done["nothing"].line == "no trace in nothing: expected .json or .json.gz"
    assert (done["no output"].code, done["no such"].code) == (5, 3)
    assert not (folder / "none.json").exists()


def test_ranks_that_torch_s_profiler_recorded(folder: Path, done: dict[str, Done]) -> None:
    assert done["torch"].code == 10
    assert "126 of 128 ranks are missing: 2, 3, 4" in done["torch"].err
    trace = load(folder / "t.json.gz")
    names = {trace.strings[i] for i in trace.processes.name_id.tolist()}
    assert {"rank 0: GPU 0", "rank 1: GPU 0"} <= {name.split(" [")[0] for name in names} or any(
        name.startswith("rank 1: GPU") for name in names
    )
    assert len(set(trace.processes.pid.tolist())) == len(trace.processes)


def test_other_formats_can_be_written(folder: Path, done: dict[str, Done]) -> None:
    assert (done["protobuf"].code, done["protobuf"].err) == (0, "")
    assert (folder / "all.pftrace").stat().st_size > 1000

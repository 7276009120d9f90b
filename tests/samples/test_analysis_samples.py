"""The scripts that read saved traces, each run on a real recording as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.spans import self_ns
from tinytrace.exporters import export

FOLDER = Path(__file__).parents[2] / "samples" / "analysis"
SCRIPTS = sorted(FOLDER.glob("*.py"))
STEPS = 5


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of five steps, each with a matmul, two adds, an exp and a sum, and an add outside of them."""
    path = tmp_path_factory.mktemp("samples") / "trace.json.gz"
    x, bias = np.ones((128, 128)), np.ones(128)
    with tt.trace(path, sampler="none"):
        for _ in range(STEPS):
            with tt.step():
                (np.exp(x @ x + bias) + bias).sum()
        x + bias
    return path


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def rows(script: str, *arguments: str | Path) -> list[list[str]]:
    """The words of each line that it prints."""
    done = run(script, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


def test_ops_that_move_more_than_they_compute_are_listed_with_their_rates(recording: Path) -> None:
    head, *found = rows("memory_bound_ops.py", recording)
    assert head == ["op", "seconds", "GB/s", "work/byte"]
    by_op = {op: (float(seconds), float(gbps), float(work)) for op, seconds, gbps, work in found}
    assert set(by_op) == {
        "add",
        "exp",
        "add.reduce",
    }  # and not matmul, nor sum, which runs add.reduce
    assert by_op["exp"][2] == round(1 / 16, 3)
    moved = 128 * 128 * 8 * 2 + 128 * 8
    assert by_op["add"][2] == round(128 * 128 / moved, 3)
    trace = tt.load(recording)
    add = (trace.spans.name_id == trace.strings.index("add")) & count_trace(trace).leaf
    seconds = self_ns(trace.spans)[add].sum() / 1e9
    assert by_op["add"][0] == pytest.approx(seconds, abs=0.5001e-4)
    assert by_op["add"][1] == pytest.approx(11 * moved / seconds / 1e9, abs=0.5001e-2)
    spent = [float(row[1]) for row in found]
    assert spent == sorted(spent, reverse=True)


def test_bandwidth_over_time_adds_up_to_the_bytes_of_the_run(recording: Path) -> None:
    found = rows("bandwidth_over_time.py", recording)
    assert len(found) == 40
    rates = [float(row[2]) for row in found]
    trace = tt.load(recording)
    bin_ns = (trace.end_ns - trace.start_ns) / 40
    total = count_trace(trace).total("bytes")
    # A rate is printed with three decimals: half of the last one off at most, 40 times.
    assert sum(rates) * bin_ns == pytest.approx(total, abs=40 * 0.0005 * bin_ns)
    longest = max(found, key=lambda row: float(row[2]))
    assert longest[4] == "#" * 50


def test_the_op_mix_of_each_step_adds_up_to_all_of_its_op_time(recording: Path) -> None:
    head, *found = rows("op_mix_per_step.py", recording)
    assert head[:3] == ["step", "op", "time"]
    assert set(head[3:]) == {"matmul", "add", "exp", "add.reduce", "sum"}
    assert [int(row[0]) for row in found] == list(range(STEPS))
    for row in found:
        shares = [float(word) for word in row[3::2]]
        assert sum(shares) == pytest.approx(100, abs=5 * 0.05 + 1e-9)


def test_a_run_without_steps_is_told_to_mark_them(tmp_path: Path) -> None:
    export(tt.Trace(), tmp_path / "empty.json")
    done = run("op_mix_per_step.py", tmp_path / "empty.json")
    assert (done.returncode, done.stderr) == (1, "no ops in steps: mark them with tt.step()\n")


@pytest.mark.parametrize("script", ["memory_bound_ops.py", "bandwidth_over_time.py"])
def test_a_trace_with_nothing_in_it_is_no_error(script: str, tmp_path: Path) -> None:
    export(tt.Trace(), tmp_path / "empty.json")
    done = run(script, tmp_path / "empty.json")
    assert (done.returncode, done.stderr) == (0, "")


def test_perfetto_and_numpy_give_the_same_answer(recording: Path) -> None:
    found = rows("perfetto_query.py", recording)
    assert {row[0] for row in found} == {"matmul", "add", "exp", "add.reduce", "sum"}
    assert [row[-1] for row in found] == ["same"] * 5
    by_op = {row[0]: row for row in found}
    assert by_op["matmul"][1] == str(STEPS)
    assert by_op["matmul"][4] == str(STEPS * 2 * 128**3)
    assert by_op["add"][1] == str(2 * STEPS + 1)


def test_where_perfetto_cannot_be_asked_one_line_says_why(tmp_path: Path) -> None:
    where = tmp_path / "nothing.json"
    done = run("perfetto_query.py", where)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{where}: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 30

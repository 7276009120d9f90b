"""The benchmarks run, and print their figures. What the figures are is no test's business."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cores import CORES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
# The figures of each benchmark that have a goal: how many of them, and of what.
GOALS = {
    "op_cost": ["compiled core"] * 2 + ["pure-Python recorder"] * 2,
    "span_clock": ["clock of spans"],
    "sampling_slowdown": ["compiled core"] * 2 + ["pure-Python recorder"] * 2,
    "training_slowdown": ["less start-up", "less start-up, one BLAS thread, heap kept"],
    "framework_slowdown": ["NumPy's hooks alone"],
    "torch_overhead": ["than torch.profiler with record_shapes"],
    "phase_shares": ["compiled core", "pure-Python recorder"],
    "json_speed": ["written", "read", "with all arguments", "gzipped"] * 2,
    "export_speed": ["exported to .json", "exported to .pftrace"],
    "report_speed": ["report", "peak", "report", "peak"],
    "merge_speed": ["merge", "peak", "clocks"],
    "memory": ["all defaults", "flat", "--disk-limit 200MB", "flat", "disk taken"],
    "start_stop": ["import tinytrace", "compiled core", "pure-Python recorder"],
    "roofs": ["do not overlap"],
    "agreement": ["do not overlap", "memray", "by hand", "torch"],
    "peers": [],
}
# Measure both recorders, or the compiled one itself: where it is not built they cannot.
OF_BOTH = {
    "op_cost",
    "span_clock",
    "sampling_slowdown",
    "phase_shares",
    "start_stop",
    "torch_overhead",
}
HERE = [name for name in GOALS if "c" in CORES or name not in OF_BOTH]


def python(*arguments: str) -> str:
    # One BLAS thread: several of them wait for each other in busy loops where CPUs are few.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", HERE)
def test_each_benchmark_prints_its_figures_and_goals(name: str) -> None:
    figures: list[dict[str, Any]] = json.loads(
        python(str(FOLDER / f"{name}.py"), "--quick", "--json")
    )
    assert figures
    for figure in figures:
        estimate = figure["estimate"]
        assert all(math.isfinite(estimate[key]) for key in ("median", "low", "high"))
        assert estimate["n"] >= 1
    with_goal = [figure for figure in figures if figure["goal"] is not None]
    assert len(with_goal) == len(GOALS[name])
    for figure, what in zip(with_goal, GOALS[name], strict=True):
        assert what in figure["name"]
        assert figure["verdict"].partition(",")[0] in {"met", "missed"}


def test_the_list_of_benchmarks_is_complete() -> None:
    text = (FOLDER / "all.py").read_text(encoding="utf-8")
    listed = re.findall(r'^    "(\w+)": "', text, re.MULTILINE)
    assert sorted(listed) == sorted(GOALS)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in FOLDER.glob("*.py") if f"`{p.name}`" not in readme] == []


def test_the_examples_of_the_shared_method_are_true() -> None:
    python("-m", "doctest", str(FOLDER / "paired.py"))


def figure_lines(code: str) -> list[str]:
    prefix = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); from paired import *; "
    return python("-c", prefix + code).splitlines()


def test_verdicts_go_by_the_median_and_say_when_the_goal_lies_inside_the_interval() -> None:
    printed = figure_lines(
        "f = lambda *values, **more: print(Figure('f', estimate(values), 'ns', 100.0, **more).verdict);"
        "f(*[90] * 8, 95); f(*[90] * 8, 110, *[120] * 7); f(*[110] * 9, 130);"
        "f(*[110] * 9, 130, at_least=True); f(90)"
    )
    assert printed == ["met", "met, not certain", "missed", "met", "met"]


def test_tables_of_markdown_hold_the_goal_whole_and_mark_it() -> None:
    printed = figure_lines(
        "print(markdown_table([Figure('a|b', exactly(1500.0), 'ns', 100.0),"
        "Figure('  c', estimate([1, 2, 3]), '')]))"
    )
    assert printed[2:] == [
        "| **a\\|b** | **1,500 ns** |  | ≤ 100 ns | **missed** |",
        "| c | 2.00 | 1.00 … 3.00, n = 3 | | |",
    ]

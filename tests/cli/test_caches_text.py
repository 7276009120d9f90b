"""Caches in the report: the very words, and that measured and modelled are called so."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest

from tests.analysis.counted_runs import counted_run
from tests.cli.commands import run_commands
from tests.cli.terminal import printed_on_terminal
from tinytrace.analysis.findings import Finding
from tinytrace.analysis.findings.fresh_memory import NAME as FRESH_MEMORY
from tinytrace.analysis.report import Report, report_of
from tinytrace.cli.caches_text import say_caches
from tinytrace.cli.sheet import Sheet
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace


def said(report: Report) -> str:
    out = io.StringIO()
    sheet = Sheet(out)
    say_caches(report, sheet)
    sheet.print()
    return out.getvalue()


def shown_in_manual(number: int) -> str:
    manual = Path(__file__).parents[2] / "docs" / "counters.md"
    return manual.read_text(encoding="utf-8").split("```\n")[2 * number + 1]


def test_the_manual_explains_the_very_words() -> None:
    assert said(report_of(counted_run())) == shown_in_manual(0)
    without = counted_run(per_tick={}, missing={"cycles": "ENOENT", "instructions": "ENOENT"})
    assert said(report_of(without)) == shown_in_manual(1)


def test_what_is_not_counted_has_no_line() -> None:
    text = said(report_of(counted_run(per_tick={"cycles": 2.0, "instructions": 3.0})))
    assert "instructions per cycle" in text
    assert "miss" not in text
    assert "?" not in text


def test_scaled_counters_are_called_estimates() -> None:
    report = report_of(counted_run())
    (process,) = report.caches.processes
    scaled = replace(process, scaled=(("llc_misses", 62.4), ("cycles", 80.0)))
    text = said(replace(report, caches=replace(report.caches, processes=(scaled,))))
    assert (
        "Estimated from a part of the time, since counters took turns: LLC misses 62 %, cycles 80 %."
        in text
    )


def test_page_faults_name_the_findings_that_they_belong_to() -> None:
    report = report_of(counted_run())
    finding = Finding("F3", FRESH_MEMORY, "", None, 0, None, (), 1, 0.1, "low", "", "", "")
    text = said(replace(report, findings=(finding,)))
    assert "page faults (measured): 200, 20 a step; new memory for results: F3." in text


def test_each_process_is_named_where_there_are_several() -> None:
    report = report_of(counted_run())
    (process,) = report.caches.processes
    both = (process, replace(process, process=1, pid=8, major_faults=3))
    text = said(replace(report, caches=replace(report.caches, processes=both)))
    for words in (
        "measured by hardware counters of process 7", "hardware counters of process 8", "modelled of process 8",
        "page faults of process 8 (measured): 200, 20 a step; 3 of them waited for a disk.",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("columns", [30, 80])
def test_a_terminal_gets_the_same_words(columns: int) -> None:
    report = report_of(counted_run())

    def show(out: TextIO) -> None:
        sheet = Sheet(out)
        say_caches(report, sheet)
        sheet.print()

    printed = printed_on_terminal(columns, show)
    for word in ("measured", "modelled", "agree", "estimated", "faults"):
        assert word in printed


def test_the_json_has_all_of_it(tmp_path: Path) -> None:
    export(counted_run(), tmp_path / "trace.json")
    [done] = run_commands([["report", "trace.json", "--json"]], tmp_path)
    caches = json.loads(done.out)["caches"]
    assert caches["why_none"] is None
    (process,) = caches["processes"]
    assert process["run"]["miss_percent"] == 25
    assert process["step"]["instructions_per_cycle"] == pytest.approx(1.5)
    assert process["modelled"]["at_best"][-1] == ["DRAM", 640_000_160]
    assert process["agreement"]["verdict"] == "agree"
    assert np.allclose([part["miss_percent"] for part in process["over_time"]], 25)


def test_a_trace_without_anything_says_so() -> None:
    assert "nothing by hardware counters: the trace has none." in said(report_of(Trace()))

"""Caches on the page."""

from __future__ import annotations

from dataclasses import replace

from tests.analysis.counted_runs import counted_run
from tests.exporters.html.pages import page_of, whole_trace
from tinytrace.analysis.caches import cache_report
from tinytrace.exporters.html.caches import caches_words


def words(html: str) -> str:
    """Without elements, spaces as people see them."""
    text = "".join(piece.rpartition(">")[2] + " " for piece in html.split("<"))
    return " ".join(text.replace("\u202f", " ").split())


def test_measured_and_modelled_stand_beside_each_other_and_are_called_so() -> None:
    told = words(caches_words(cache_report(counted_run())))
    for said in (
        "instructions per cycle 1.50 1.50",
        "LLC misses, % of its references 25.0 25.0",
        "from DRAM, estimated (misses x 64 B) 960 MB 95.0 MB",
        "what an op has of it is not known. A step: the mean of 10, evenly between readings.",
        "modelled: moved by ops 1.28 GB modelled: from, at best",
        "modelled: from, at worst DRAM 90.0 %, not known 10.0 %",
        "from DRAM, by measured misses 960 MB likewise, modelled 640 MB to 1.28 GB",
        "measured and modelled they agree within a factor of 2",
        "measured: page faults 200, 20 a step",
    ):
        assert said in told


def test_where_nothing_was_measured_the_page_says_why() -> None:
    page = words(page_of(whole_trace()))
    assert (
        "by hardware counters: this machine&#x27;s kernel offers no such counters (ENOENT)." in page
    )


def test_estimates_processes_and_what_is_missing_are_named() -> None:
    found = cache_report(counted_run(earlier_threads=1))
    (process,) = found.processes
    scaled = replace(process, scaled=(("cycles", 61.0),))
    told = words(caches_words(replace(found, processes=(scaled,) * 9)))
    assert "Estimated from a part of the time, since counters took turns: cycles 61 %." in told
    assert "not in them: 1 thread that was there before the recording began." in told
    assert told.count("Process 7") == 8
    assert "1 further processes are left out here." in told

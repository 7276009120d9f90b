"""Rules about the ranks of a job: one that is late, transfers that block, collectives that are too small."""

from __future__ import annotations

from typing import Any

import pytest

from tests.analysis.findings.traces import found
from tests.job_by_hand import US, Job
from tinytrace.analysis.findings import blocking_collectives, straggler, tiny_collectives


def late(rank_of_turn: list[int], *, does: bool) -> Job:
    """Three ranks that meet in each turn of 100 us; one comes 50 us late, with an op that lasts so long or without."""
    job = Job(3, life_us=100 * len(rank_of_turn))
    for turn, slow in enumerate(rank_of_turn):
        for rank in range(3):
            start, end = 100 * turn, 100 * turn + (60 if rank == slow else 10)
            job.op(rank, "matmul", start, end if does else start + 10, line=42)
            job.call(rank, "all_reduce", end, 100 * turn + 65, bytes=10**6)
    return job


def test_a_rank_that_does_more_is_named_with_the_line() -> None:
    [finding] = found(straggler.NAME, late([1] * 10, does=True).trace())
    assert (finding.place, finding.confidence) == ("train.py:42", "high")
    # what was before the first meeting is no reason, but it has cost as much
    assert finding.title == (
        "the others wait for rank 1: matmul at train.py:42 540 us (others 90 us)"
    )
    assert finding.ceiling_ns == 500 * US
    assert finding.evidence[0] == "it came last in 10 of 10 collectives and messages"


def test_a_rank_that_is_always_late_without_a_reason_that_shows_is_named_too() -> None:
    [finding] = found(straggler.NAME, late([1] * 10, does=False).trace())
    assert (finding.place, finding.confidence) == (None, "low")
    assert finding.title == "the others wait for rank 1"


def test_ranks_that_are_late_in_turn_without_a_reason_are_no_stragglers() -> None:
    assert found(straggler.NAME, late([0, 1, 2] * 4, does=False).trace()) == []


def test_a_job_whose_ranks_come_together_has_no_straggler() -> None:
    assert found(straggler.NAME, late([-1] * 10, does=True).trace()) == []


def exchanging(*, starts: tuple[int, int] = (50, 50), op: str = "all_reduce", **args: Any) -> Job:
    """Two ranks that compute for 40 us, and exchange something until 90 us."""
    job = Job(2)
    for rank, start in enumerate(starts):
        job.op(rank, "matmul", 0, 40)
        job.call(rank, op, start, 90, bytes=10**6, **args)
    return job


def test_a_transfer_that_blocks_can_hide_behind_what_the_rank_computes() -> None:
    [finding] = found(blocking_collectives.NAME, exchanging(starts=(60, 60)).trace())
    assert (finding.place, finding.ceiling_ns) == ("sync.py:5", 30 * US)
    assert "all_reduce blocks each rank for 30 % of the run" in finding.title
    [finding] = found(blocking_collectives.NAME, exchanging(starts=(45, 45)).trace())
    assert finding.ceiling_ns == 40 * US  # no more than it computes


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(exchanging(starts=(50, 87)), id="most of it is waiting"),
        pytest.param(exchanging(op="barrier"), id="a barrier moves nothing"),
        pytest.param(exchanging(ranks="0-2"), id="of a set that is not whole nothing is known"),
        pytest.param(exchanging(requests="0"), id="it goes on beside the program"),
    ],
)
def test_what_is_no_transfer_that_blocks_is_let_be(job: Job) -> None:
    assert found(blocking_collectives.NAME, job.trace()) == []


def many(calls: int, n_bytes: int, pause_us: int = 1) -> Job:
    """Two ranks that all-reduce something again and again; each takes 4 us."""
    job = Job(2, life_us=(4 + pause_us) * calls)
    for number in range(calls):
        start = (4 + pause_us) * number
        for rank in range(2):
            job.call(rank, "all_reduce", start, start + 4, bytes=n_bytes)
    return job


def test_many_tiny_collectives_in_a_row_are_named() -> None:
    [finding] = found(tiny_collectives.NAME, many(101, 4000).trace())
    assert finding.place == "sync.py:5"
    assert "100 times per rank all_reduce of 4 kB follows another one at once" in finding.title
    assert finding.ceiling_ns == 400 * US  # all but the first


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(many(100, 4000), id="few"),
        pytest.param(many(101, 40_000), id="large"),
        pytest.param(many(101, 4000, pause_us=5), id="with work in between"),
    ],
)
def test_collectives_that_are_few_large_or_apart_are_let_be(job: Job) -> None:
    assert found(tiny_collectives.NAME, job.trace()) == []

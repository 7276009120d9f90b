"""A rank that the others wait for."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Confidence, Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.analysis.stragglers import Excess, Straggler

NAME = "rank that others wait for"
SIGMAS = 3  # more often the last one than chance among equal ranks makes one in a thousand times
HALF = 0.5  # of what it costs is explained by what it does more of: that is the reason


def find(case: Case) -> Iterator[Finding]:
    """A rank that comes last more often than chance, or for a reason that shows; at the line that it does more of.

    Ceiling: what the job would take less had it come with the one before it each time, no more than one of the others
    waited for it.
    """
    if case.job is None or case.ranks is None:
        return
    for one in case.ranks.worth_naming:
        reasons = [m for m in one.more if m.file is not None]
        explained = sum(m.excess_ns for m in reasons) >= HALF * one.cost_ns > 0
        often = _is_often(one, case.ranks.n_sets, len(case.ranks.ranks))
        if not one.cost_ns or not (explained or often):
            continue
        main = reasons[0] if reasons else None
        frame = -1 if main is None else _frame(case, main)
        confidence: Confidence = "high" if explained else "low"
        yield case.finding(
            NAME,
            frame,
            f"the others wait for rank {one.rank}"
            + (f": {_told(main)}" if main is not None and explained else ""),
            evidence=(
                f"it came last in {one.last:,} of {case.ranks.n_sets:,} collectives and messages",
                f"the others waited {time(one.awaited_ns)} for it, all together",
                *(f"since all had met: {_told(m)}" for m in one.more),
            ),
            ceiling_ns=one.cost_ns,
            confidence=confidence,
            why="what it does more of than the others is at least half of that"
            if explained
            else "it comes last more often than chance, but what it does more of explains less than half of it",
            remedy="Give each rank the same amount of work (shards of equal length, not of equal number), do what only "
            "one rank does (logging, saving, evaluation) beside the training, and see that its machine is not slower, "
            "nor shared.",
            code="mine = order[rank::world_size]        # sorted by length and dealt out in turn, not cut in slices",
        )


def _is_often(one: Straggler, n_sets: int, n_ranks: int) -> bool:
    """Whether it came last more often than one of equal ranks would."""
    share = 1 / max(1, n_ranks)
    return one.last > n_sets * share + SIGMAS * sqrt(n_sets * share * (1 - share))


def _told(more: Excess) -> str:
    where = f" at {more.place}" if more.place else ""
    return f"{more.name}{where} {time(more.spent_ns)} (others {time(more.others_ns)})"


def _frame(case: Case, more: Excess) -> int:
    """A frame of a file and line; −1: there is none."""
    frames, strings = case.trace.frames, case.trace.strings
    for frame in np.flatnonzero(frames.line == more.line).tolist():
        file_id = int(frames.file_id[frame])
        if file_id >= 0 and strings[file_id] == more.file:
            return int(frame)
    return -1

"""Communication during which a rank does nothing else, though it has other work to do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.communication_lines import blocking, by_line
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time

NAME = "communication that hides behind nothing"
SOME = 0.05  # of the run
MEETING = "barrier"  # transfers nothing


def find(case: Case) -> Iterator[Finding]:
    """Lines whose blocking collectives transfer for 5 % of the run and more; waiting for other ranks is not in it.

    Ceiling: the transfer, at most what the rank computes outside of communication (behind more nothing can hide); of
    the rank in which that is least, since a collective ends for all together.
    """
    if case.job is None or case.ranks is None:
        return
    job, found = case.job, blocking(case.job)
    transfers = np.array([op != MEETING for op in job.found.ops], "?")
    mine = transfers[job.found.calls.op_id[found.call]]
    found = found._replace(frame=np.where(mine, found.frame, -1))
    time_of = {t.rank: t for t in case.ranks.ranks}
    times = [time_of[entry["rank"]] for entry in job.ranks.entries]
    computing_ns = np.array([t.ops_ns + t.python_ns for t in times])
    for line in by_line(job, found, found.transfer_ns):
        took_part = line.spent_ns > 0
        if not took_part.any():
            continue
        transfer_ns = int(line.spent_ns[took_part].min())
        hidden_ns = int(np.minimum(line.spent_ns, computing_ns)[took_part].min())
        if transfer_ns < SOME * case.wall_ns:
            continue
        ops = sorted(
            {job.found.ops[op] for op in job.found.calls.op_id[found.call[line.rows]].tolist()}
        )
        yield case.finding(
            NAME,
            line.frame,
            f"{', '.join(ops)} blocks each rank for {100 * transfer_ns / case.wall_ns:.0f} % of the run while data "
            "moves",
            evidence=(
                f"{line.per_rank:,} calls per rank; {time(transfer_ns)} of transfer in the rank with least, waiting "
                "for others left out",
                f"that rank computes for {time(computing_ns[took_part].min())} outside of communication",
            ),
            ceiling_ns=hidden_ns,
            confidence="low",
            why="whether there is work to do that does not need the result is not known",
            remedy="Begin the transfer as soon as its data is there, and wait for it where the result is needed: "
            "gradients of the last layers while the backward pass goes on, in buckets, as DistributedDataParallel.",
            code="work = dist.all_reduce(bucket, async_op=True)   # MPI: request = world.Iallreduce(...)\n"
            "...                                             # the backward pass of the layers before\n"
            "work.wait()",
        )

"""Many small collectives one after the other, each of which costs a round trip."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.communication_lines import Blocking, blocking, by_line
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import size, time
from tinytrace.analysis.rank_times import Job

NAME = "many tiny collectives"
# At 1 GB/s, a slow network's, 32 KiB move in 33 us: as long as a collective takes with nothing in it at best.
TINY_BYTES = 32 * 1024
MIN_CALLS = 100  # per rank, that follow another one closely
MEETING = "barrier"


def find(case: Case) -> Iterator[Finding]:
    """Lines with 100 and more collectives per rank of at most 32 KiB that follow another like it closely.

    Closely: sooner than the one before took, without another collective in between. Ceiling: the transfer of all but
    the first of each such row, in the rank in which that is least.
    """
    if case.job is None:
        return
    job, found = case.job, blocking(case.job)
    follows = _follows(job, found)
    closely = found._replace(frame=np.where(follows, found.frame, -1))
    for line in by_line(job, closely, found.transfer_ns):
        if line.per_rank < MIN_CALLS:
            continue
        given = job.found.calls.bytes[found.call[line.rows]]
        took_ns = found.transfer_ns[line.rows]
        op = job.found.ops[int(job.found.calls.op_id[found.call[line.rows[0]]])]
        yield case.finding(
            NAME,
            line.frame,
            f"{line.per_rank:,} times per rank {op} of {size(float(np.median(given)))} follows another one at once",
            evidence=(
                f"{time(float(np.median(took_ns)))} each (median) when all have come: mostly latency, since "
                f"{size(TINY_BYTES)} take 33 us at 1 GB/s",
            ),
            ceiling_ns=int(line.spent_ns[line.spent_ns > 0].min()),
            confidence="high",
            why="calls of one line, one after the other, and small",
            remedy="Put what is sent into one buffer, and send that: one round trip in place of many.",
            code="flat = torch.cat([p.grad.flatten() for p in params])\ndist.all_reduce(flat)\n"
            "for p, part in zip(params, flat.split([p.numel() for p in params])):\n"
            "    p.grad.copy_(part.view_as(p))",
        )


def _follows(job: Job, found: Blocking) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Per call whether it is tiny, and comes closely after another of its operation, group and rank."""
    calls, row = job.found.calls, found.call
    op, group, n_bytes = calls.op_id[row], calls.group_id[row], calls.bytes[row]
    meeting = np.array([name == MEETING for name in job.found.ops], "?")
    tiny = (n_bytes >= 0) & (n_bytes <= TINY_BYTES) & ~meeting[op]
    follows = np.zeros(len(row), "?")
    if len(row) > 1:
        same = (op[1:] == op[:-1]) & (group[1:] == group[:-1])
        same &= (found.member[1:] == found.member[:-1]) & tiny[1:] & tiny[:-1]
        pause_ns = calls.start_ns[row[1:]] - calls.end_ns[row[:-1]]
        follows[1:] = same & (pause_ns <= calls.end_ns[row[:-1]] - calls.start_ns[row[:-1]])
    return follows

"""Communication between devices while nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.device_account import Spent
from tinytrace.analysis.device_work import Sort
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import listed, time
from tinytrace.analysis.kernel_names import short_name

NAME = "exposed communication"
SHARE = 5.0  # % of the time of the device


def find(case: Case) -> Iterator[Finding]:
    """Devices that communicate and compute nothing for 5 % of their time and more. Ceiling: all of that."""
    devices = case.devices
    if devices is None:
        return
    work, trace = devices.work, devices.trace
    for i, account in enumerate(devices.accounts):
        exposed = account.percent(Spent.COMMUNICATION)
        if exposed < SHARE:
            continue
        exposed_ns = account.spent_ns(Spent.COMMUNICATION)
        mine = np.flatnonzero((work.device == i) & (work.sort == Sort.COMMUNICATION))
        longest = mine[np.argsort(-work.dur_ns[mine], kind="stable")]
        names = [short_name(trace.strings[n]) for n in trace.spans.name_id[work.row[longest]]]
        yield case.finding(
            NAME,
            devices.frame_of(work.row[mine], work.dur_ns[mine]),
            f"{account.device.label} communicates {exposed:.0f} % of its time and computes nothing meanwhile",
            evidence=(
                f"{time(exposed_ns)} exposed; {time(account.communication_ns - exposed_ns)} more beside other kernels",
                f"{len(mine):,} kernels: {listed(names)}",
                "waiting for the slowest rank is in it: one rank alone cannot tell that from moving data",
            ),
            ceiling_ns=exposed_ns,
            confidence="medium",
            why="it is measured; what could be computed meanwhile is not known",
            remedy="Begin communication earlier, and in pieces that overlap with the backward pass (buckets); send "
            "less (lower precision, gradients of several steps together). First see whether one rank is late: merge "
            "the traces of all.",
            code="model = DistributedDataParallel(model, bucket_cap_mb=25, gradient_as_bucket_view=True)",
        )

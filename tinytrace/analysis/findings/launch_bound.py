"""A device that is idle since the host does not launch fast enough: many small kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.device_account import Spent
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time

NAME = "launch-bound device"
SHARE = 20.0  # % of the time of the device; less is hidden by a longer queue
MIN_GAPS = 30  # fewer launches are not many
# The share of the idle time that gaps of middling length make. Where a few long ones make it (starting up, a trace with
# holes), something else is the matter.
EVEN = 0.4


def find(case: Case) -> Iterator[Finding]:
    """Devices that wait for the host for 20 % of their time and more, in many gaps of like length.

    Ceiling: all the time in which they wait for ops, launches and Python; waiting for data is another rule.
    """
    devices = case.devices
    if devices is None:
        return
    for i, account in enumerate(devices.accounts):
        gaps = devices.host_gaps(i)
        length_ns = gaps.end_ns - gaps.start_ns
        waited_ns = account.spent_ns(Spent.DISPATCH, Spent.HOST)
        if account.percent(Spent.DISPATCH, Spent.HOST) < SHARE or len(length_ns) < MIN_GAPS:
            continue
        middle_ns = float(np.median(length_ns))
        if middle_ns * len(length_ns) < EVEN * int(length_ns.sum()):
            continue
        work = devices.work
        ran_ns = work.dur_ns[work.device == i]
        dispatch, host = account.percent(Spent.DISPATCH), account.percent(Spent.HOST)
        yield case.finding(
            NAME,
            devices.frame_of(work.row[gaps.following], length_ns),
            f"{account.device.label} waits for the host {dispatch + host:.0f} % of its time: it gets its work too late",
            evidence=(
                f"{len(length_ns):,} times nothing was queued, half of them for more than {time(middle_ns)}",
                f"{len(ran_ns):,} kernels and copies, half of them take at most {time(float(np.median(ran_ns)))}",
                f"the host meanwhile: {dispatch:.0f} % of the time in torch's ops and launches, {host:.0f} % elsewhere"
                " (Python, waits)",
            ),
            ceiling_ns=waited_ns,
            confidence="high" if middle_ns > np.median(ran_ns) else "medium",
            why="the pauses are measured, and longer than the work between them"
            if middle_ns > np.median(ran_ns)
            else "the pauses are measured; whether fewer, larger kernels can do the same is not known",
            remedy="Launch less often: record the step as a CUDA graph, let torch.compile fuse it, use a larger batch, "
            "and fused or foreach optimizers. What Python does between the ops shows in the account of the thread.",
            code='model = torch.compile(model, mode="reduce-overhead")  # fuses, and replays CUDA graphs',
        )

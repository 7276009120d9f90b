"""The host waits for the device, which then has nothing queued: ``.item()``, synchronisation, pageable copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.device_account import Spent
from tinytrace.analysis.device_work import Sort, arguments
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.device_case import DeviceCase
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import listed, size, time
from tinytrace.analysis.host_time import waiting_calls
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trees import inherited

SYNCHRONISING = "synchronisation that stalls a device"
PAGEABLE = "copies from pageable memory"
SHARE = 2.0  # % of the time of the device
MIN_CALLS = 3  # once per run, at its end, is no stall
Ints = NDArray[np.int64]


def find_synchronising(case: Case) -> Iterator[Finding]:
    """Calls that wait for a device after which it stands still until the next launch, 2 % of its time and more.

    A gap belongs to the last such call of the launching thread that returned in it, before the launch that ended it.
    Ceiling: these gaps.
    """
    devices = case.devices
    if devices is None:
        return
    trace, spans = devices.trace, devices.trace.spans
    waits = np.flatnonzero(waiting_calls(trace))
    if not len(waits):
        return
    is_op = np.where(spans.kind == Kind.OP.value, np.arange(len(spans)), -1)
    around = np.asarray(inherited(is_op, spans.parent), "i8")[waits]
    for i, account in enumerate(devices.accounts):
        gaps = devices.host_gaps(i)
        of_gap = _last_wait(devices, waits, gaps.begin_ns, devices.work.launch[gaps.following])
        some = of_gap >= 0
        length_ns = (gaps.end_ns - gaps.start_ns)[some]
        name = np.where(around >= 0, spans.name_id[around], spans.name_id[waits])[of_gap[some]]
        ids, count = group_ids([name])
        lost_ns = sums(ids, count, length_ns)
        for group in np.argsort(-lost_ns, kind="stable").tolist():
            mine = of_gap[some][ids == group]
            if 100 * lost_ns[group] < SHARE * account.wall_ns or len(mine) < MIN_CALLS:
                continue
            rows = np.where(around[mine] >= 0, around[mine], waits[mine])
            what = trace.strings[spans.name_id[rows[0]]]
            calls = listed(trace.strings[n] for n in spans.name_id[waits[mine]])
            yield case.finding(
                SYNCHRONISING,
                devices.frame_of(rows, length_ns[ids == group]),
                f"{what} waits for {account.device.label}, which then has nothing to do until the host goes on",
                evidence=(
                    f"{len(mine):,} times, {time(int(lost_ns[group]))} in all, "
                    f"{100 * int(lost_ns[group]) / account.wall_ns:.1f} % of the time of {account.device.label}",
                    f"it waits in {calls}",
                ),
                ceiling_ns=int(lost_ns[group]),
                confidence="medium",
                why="the pauses are measured; whether the value is needed at that time is not known",
                remedy="Do not fetch values from the device in every step: keep losses and metrics there, and fetch "
                "them every hundredth step or a step later; torch.where in place of if.",
                code="running_loss += loss.detach()  # no .item(): it waits for the device",
            )


def _last_wait(devices: DeviceCase, waits: Ints, begin_ns: Ints, launch: Ints) -> Ints:
    """Per gap the call (its number in ``waits``) that returned in it, the last before its launch; −1: none."""
    spans = devices.trace.spans
    found = np.full(len(launch), -1, "i8")
    end_ns = spans.start_ns[waits] + spans.dur_ns[waits]
    for thread in np.unique(spans.thread[waits]).tolist():
        mine = np.flatnonzero(spans.thread[waits] == thread)
        mine = mine[np.argsort(end_ns[mine], kind="stable")]
        rows = np.flatnonzero(spans.thread[launch] == thread)
        at = np.searchsorted(end_ns[mine], spans.start_ns[launch[rows]], "right") - 1
        inside = (at >= 0) & (end_ns[mine[np.maximum(at, 0)]] >= begin_ns[rows])
        found[rows[inside]] = mine[at[inside]]
    return found


def find_pageable(case: Case) -> Iterator[Finding]:
    """Copies from or to pageable memory that nothing computes beside, 2 % of the time of a device and more.

    Ceiling: all of them, but no more than all exposed copies.
    """
    devices = case.devices
    if devices is None:
        return
    trace, work = devices.trace, devices.work
    pageable = np.array(["Pageable" in text for text in trace.strings], "?")
    for i, account in enumerate(devices.accounts):
        mine = np.flatnonzero(
            (work.device == i) & (work.sort == Sort.COPY) & pageable[trace.spans.name_id[work.row]]
        )
        spent_ns = min(int(work.dur_ns[mine].sum()), account.spent_ns(Spent.COPIES))
        if 100 * spent_ns < SHARE * account.wall_ns:
            continue
        told = [args.get("bytes") for args in arguments(trace, work.row[mine])]
        moved = sum(value for value in told if type(value) is int)
        took_ns = int(work.dur_ns[mine].sum())
        yield case.finding(
            PAGEABLE,
            devices.frame_of(work.row[mine], work.dur_ns[mine]),
            f"{account.device.label} copies from pageable memory and computes nothing meanwhile",
            evidence=(
                f"{len(mine):,} copies, {size(moved)} in {time(took_ns)}: {moved / max(1, took_ns):.3g} GB/s",
                f"{100 * spent_ns / account.wall_ns:.1f} % of the time of {account.device.label}",
            ),
            ceiling_ns=spent_ns,
            confidence="high",
            why="such copies go through a buffer of the driver, and the host waits for them",
            remedy="Have batches in pinned memory, and copy them while the device computes.",
            code="loader = DataLoader(data, pin_memory=True)\nbatch = batch.to(device, non_blocking=True)",
        )

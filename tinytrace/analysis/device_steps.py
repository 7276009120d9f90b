"""Steps by the work that they launched on a device: how much it is, and what was different in the slowest step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.device_work import DeviceWork
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
LEAST_STEPS = 3  # of two, neither is the usual one
# What took that much longer than usual, of what the step launched, is worth a word.
WORTH_SAYING = 0.01
MOST_DIFFERENCES = 3


@dataclass(frozen=True, slots=True)
class OpInStep:
    """Work of one op in the slowest step, ns and calls, and the median of these in the others."""

    op: str
    device_ns: int
    usual_ns: float
    pieces: int
    usual_pieces: float


@dataclass(frozen=True, slots=True)
class DeviceSteps:
    """The marked steps, by what they launched on one device, whenever that ran.

    Attributes:
        n_steps: how many launched something.
        median_ns: half of them launched work that takes at most this long, on all streams together.
        slowest: number of the step that took longest on the host; None: too few to say what is usual.
        slowest_wall_ns: its duration.
        slowest_ns: the time of the work that it launched.
        longer: the ops whose work took longer than usual in it, most first.
    """

    n_steps: int
    median_ns: float
    slowest: int | None
    slowest_wall_ns: int
    slowest_ns: int
    longer: tuple[OpInStep, ...]


def device_steps(trace: Trace, work: DeviceWork, device: int) -> DeviceSteps | None:
    """Return the steps of a trace by their work on a device; None: none launched anything there.

    Args:
        trace: any.
        work: of its devices.
        device: index into ``work.devices``.
    """
    spans = trace.spans
    marked = np.flatnonzero((spans.kind == Kind.STEP.value) & (spans.dur_ns > 0))
    mine = np.flatnonzero((work.device == device) & (spans.step[work.row] >= 0))
    numbers, wall_ns = spans.step[marked].astype("i8"), spans.dur_ns[marked]
    here = np.isin(numbers, spans.step[work.row[mine]])
    numbers, wall_ns = numbers[here], wall_ns[here]
    if not len(numbers) or len(np.unique(numbers)) < len(numbers):
        return None
    order = np.argsort(numbers)
    numbers, wall_ns = numbers[order], wall_ns[order]
    at = np.minimum(np.searchsorted(numbers, spans.step[work.row[mine]]), len(numbers) - 1)
    known = numbers[at] == spans.step[work.row[mine]]
    mine, at = mine[known], at[known]
    device_ns = sums(at, len(numbers), work.dur_ns[mine])
    slowest = int(np.argmax(wall_ns))
    few = len(numbers) < LEAST_STEPS
    return DeviceSteps(
        n_steps=len(numbers),
        median_ns=float(np.median(device_ns)),
        slowest=None if few else int(numbers[slowest]),
        slowest_wall_ns=int(wall_ns[slowest]),
        slowest_ns=int(device_ns[slowest]),
        longer=() if few else _longer(trace, work, mine, at=at, slowest=slowest),
    )


def _longer(
    trace: Trace, work: DeviceWork, mine: Ints, *, at: Ints, slowest: int
) -> tuple[OpInStep, ...]:
    """Ops of which the slowest step launched more than the others, or what took longer.

    Args:
        trace: any.
        work: of its devices.
        mine: pieces that steps launched.
        at: per such piece its step.
        slowest: which step.
    """
    whole_ns = int(work.dur_ns[mine[at == slowest]].sum())
    n_steps = int(at.max()) + 1
    name = np.append(trace.spans.name_id, -1)[work.op[mine]]
    op, count = group_ids([name])
    cell = op * n_steps + at
    spent_ns = sums(cell, count * n_steps, work.dur_ns[mine]).reshape(count, n_steps)
    pieces = np.bincount(cell, minlength=count * n_steps).reshape(count, n_steps)
    others = np.arange(n_steps) != slowest
    usual_ns = np.median(spent_ns[:, others], axis=1)
    usual_pieces = np.median(pieces[:, others], axis=1)
    more_ns = spent_ns[:, slowest] - usual_ns
    names = np.full(count, -1)
    names[op] = name
    return tuple(
        OpInStep(
            op="?" if names[i] < 0 else trace.strings[names[i]],
            device_ns=int(spent_ns[i, slowest]),
            usual_ns=float(usual_ns[i]),
            pieces=int(pieces[i, slowest]),
            usual_pieces=float(usual_pieces[i]),
        )
        for i in np.argsort(-more_ns, kind="stable")[:MOST_DIFFERENCES].tolist()
        if more_ns[i] > WORTH_SAYING * whole_ns
    )

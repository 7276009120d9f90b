"""Memory of devices over time, as torch's allocator told it (``profile_memory=True``): exact after each allocation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.memory_report import OverTime, over_time
from tinytrace.tracer.counters import BYTES_PER_MB
from tinytrace.tracer.trace import Trace

ALLOCATED, RESERVED = "device_allocated_mb", "device_reserved_mb"


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory that torch allocated on one device.

    Attributes:
        label: of the device.
        peak_bytes: the most that tensors had at one time.
        peak_at_ns: when, since the beginning of the trace.
        reserved_bytes: the most that torch had taken from the device for them; None: not told.
        first_bytes, last_bytes: what tensors had after the first and the last event.
        events: allocations and releases.
        course: over time.
    """

    label: str
    peak_bytes: int
    peak_at_ns: int
    reserved_bytes: int | None
    first_bytes: int
    last_bytes: int
    events: int
    course: OverTime


def device_memory(trace: Trace) -> tuple[DeviceMemory, ...]:
    """Return the memory of each device that the trace has counters of.

    Example:
        >>> device_memory(Trace())
        ()
    """
    names = [trace.strings[i] for i in trace.series.name_id.tolist()]
    found = []
    for number, name in enumerate(names):
        mine = np.flatnonzero(trace.counters.series_id == number)
        if name != ALLOCATED or not len(mine):
            continue
        process = int(trace.series.process[number])
        t_ns = trace.counters.t_ns[mine].astype("i8")
        value = trace.counters.value[mine] * BYTES_PER_MB
        at = int(np.argmax(value))
        same = trace.series.process == process
        reserved = [i for i, other in enumerate(names) if other == RESERVED and same[i]]
        held = trace.counters.value[np.isin(trace.counters.series_id, reserved)]
        found.append(
            DeviceMemory(
                label=trace.strings[trace.processes.name_id[process]],
                peak_bytes=round(value[at]),
                peak_at_ns=int(t_ns[at]) - trace.start_ns,
                reserved_bytes=round(float(held.max()) * BYTES_PER_MB) if len(held) else None,
                first_bytes=round(value[0]),
                last_bytes=round(value[-1]),
                events=len(mine),
                course=over_time(t_ns, value),
            )
        )
    return tuple(found)

"""What rules about devices look at, worked out once per trace."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.device_account import (
    DeviceAccount,
    DeviceAccounts,
    Gaps,
    Windows,
    device_windows,
    idle_gaps,
)
from tinytrace.analysis.device_ops import LaunchedParts, launched_parts, nominal_times
from tinytrace.analysis.device_tables import leading
from tinytrace.analysis.device_work import DeviceWork
from tinytrace.analysis.roofline import Judged

Ints = NDArray[np.int64]


class DeviceCase:
    """The devices of a trace, and what several rules want to know of them.

    Args:
        counts: of the trace.
        work: of its devices.
    """

    def __init__(self, counts: TraceCounts, work: DeviceWork) -> None:
        self.trace, self.work = counts.trace, work
        self._counts = counts

    @cached_property
    def windows(self) -> Windows:
        """The time that is looked at: that of the accounts in the report."""
        return device_windows(self.trace, self.work)

    @cached_property
    def accounts(self) -> tuple[DeviceAccount, ...]:
        """Of each device."""
        accounts = DeviceAccounts(self.trace, self.work)
        return tuple(accounts.of(i, self.windows) for i in range(len(self.work.devices)))

    @cached_property
    def parts(self) -> LaunchedParts:
        """Ops that launched work."""
        return launched_parts(self._counts, self.work)

    @cached_property
    def judged(self) -> Judged:
        """Verdict per part, by nominal roofs."""
        return nominal_times(self.parts).judged(np.arange(len(self.parts)), len(self.parts))

    def host_gaps(self, device: int) -> Gaps:
        """Return when a device was idle until the host launched something."""
        gaps = idle_gaps(self.work, device, self.windows)
        launch = np.append(self.work.launch, -1)[gaps.following]
        late = (launch >= 0) & (self.trace.spans.start_ns[launch] > gaps.begin_ns)
        return Gaps(*(column[late] for column in gaps))

    def frame_of(self, rows: Ints, weights: Ints) -> int:
        """Return the call site of these spans that has most weight; −1: none is known."""
        return leading(self.trace.spans.callsite_id[rows].astype("i8"), weights)[0]

"""Where the time of a device went, adding up to 100 %. docs/torch-traces.md explains each line.

Busy time is the union of what ran, on whatever stream; where several things ran at once, it belongs to the first of:
kernels that compute, communication, copies and fills. So communication and copies are what is *exposed* of them: the
time in which nothing was computed.

Idle time is told by the next piece of work, as in HTA (`Holistic Trace Analysis`, "idle time breakdown"):

* it was launched after the device had run dry: the device waited for the **host**. What the launching thread did
  meanwhile tells more: it waited for data, it was in an op of torch or in the launch itself (dispatch), or neither
  (Python between ops, synchronising). HTA: "host wait".
* it had been launched before, and began within `KERNEL_WAIT_NS`: what it takes to begin the next piece. HTA:
  "kernel wait" (there 30 ns; here see `KERNEL_WAIT_NS`).
* it had been launched before, and still began later: it waited for something that the trace does not show, such
  as an event of another stream. HTA: "other wait".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.device_work import NONE, Device, DeviceWork, Sort
from tinytrace.analysis.host_time import runtime_calls, waiting_calls
from tinytrace.analysis.intervals import Covered
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
Windows = tuple[Ints, Ints]
# In complete traces of A100, V100, H100, B200 and MI300X (tests/data/README.md), 99 % of the gaps before queued work
# are below 24 us, half of them below 3 us, and none is above 26 us; in a trace with holes they reach 60 ms.
KERNEL_WAIT_NS = 26_000


class Spent(Enum):
    """A line of a device's account. The values are what is printed."""

    COMPUTE = "compute-bound kernels"
    MEMORY = "memory-bound kernels"
    BALANCED = "balanced kernels"
    SMALL = "kernels too small for the device"
    SLOW = "kernels far from their roofs"
    NOT_JUDGED = "kernels without a verdict"
    COMMUNICATION = "communication, exposed"
    COPIES = "copies and fills, exposed"
    DATA = "idle: host waits for data"
    DISPATCH = "idle: host in torch's ops and launches"
    HOST = "idle: host elsewhere (Python, waits)"
    KERNEL_WAIT = "idle: between queued kernels"
    OTHER_WAIT = "idle: queued, waits for something else"
    NOT_KNOWN = "idle: not known why"


SPENT = tuple(Spent)
KERNELS = SPENT[: SPENT.index(Spent.COMMUNICATION)]
IDLE = SPENT[SPENT.index(Spent.DATA) :]
HOST_WAIT = (Spent.DATA, Spent.DISPATCH, Spent.HOST)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A line of the account: what, ns, and % of the time of the device."""

    spent: Spent
    spent_ns: int
    percent: float


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """Where the time of a device went.

    Attributes:
        device: which.
        wall_ns: of all stretches of time together; for steps, the mean of those that were taken together.
        n_windows: how many stretches it is the mean of; 1: it is the sum.
        entries: a line per `Spent`, those of no time too; they add up to ``wall_ns`` exactly.
        communication_ns: time in which it communicated, exposed or not.
        copies_ns: time in which it copied or filled, likewise.
        outside_ns: time in which it was busy outside of these stretches.
    """

    device: Device
    wall_ns: int
    n_windows: int
    entries: tuple[DeviceEntry, ...]
    communication_ns: int
    copies_ns: int
    outside_ns: int

    def spent_ns(self, *lines: Spent) -> int:
        """Return the time of some lines."""
        return sum(entry.spent_ns for entry in self.entries if entry.spent in lines)

    def percent(self, *lines: Spent) -> float:
        """Return the share of some lines, %."""
        return 100 * self.spent_ns(*lines) / max(1, self.wall_ns)


def device_windows(trace: Trace, work: DeviceWork) -> Windows:
    """Return the time that accounts are of: the marked steps, else from the first to the last piece of work.

    The last step lasts until all that it launched has ended. Before the first step and between steps others things
    are done (starting up, saving); what ran there is in no account, and is told apart.
    """
    spans = trace.spans
    steps = np.flatnonzero((spans.kind == Kind.STEP.value) & (spans.dur_ns > 0))
    if not len(steps):
        return np.array([work.start_ns.min()]), np.array([work.end_ns.max()])
    starts, ends = spans.start_ns[steps], (spans.start_ns + spans.dur_ns)[steps]
    whole = Covered(starts, ends)
    ends = whole.end_ns.copy()
    launched = work.end_ns[spans.step[work.row] >= 0]
    ends[-1] = max(int(ends[-1]), int(launched.max(initial=0)))
    return whole.start_ns, ends


class DeviceAccounts:
    """Makes accounts of the devices of one trace.

    Args:
        trace: any trace.
        work: of its devices.
        line: per piece of work that computes the line that it belongs to, an index into `SPENT`; None: it is not
            known what bounds them.
    """

    def __init__(self, trace: Trace, work: DeviceWork, line: Ints | None = None) -> None:
        self._trace, self._work = trace, work
        own = np.full(len(work), SPENT.index(Spent.NOT_JUDGED)) if line is None else line
        own = np.where(work.sort == Sort.COMMUNICATION, SPENT.index(Spent.COMMUNICATION), own)
        self._line = np.where(work.sort >= Sort.COPY, SPENT.index(Spent.COPIES), own)
        self._hosts: dict[int, _Host] = {}

    def of(self, device: int, windows: Windows, *, mean: bool = False) -> DeviceAccount:
        """Return the account of a device.

        Args:
            device: index into ``DeviceWork.devices``.
            windows: starts and ends, ns, ascending and apart.
            mean: of a window, in place of the sum of all.
        """
        work = self._work
        mine = np.flatnonzero(work.device == device)
        starts, ends = windows
        wall_ns = int((ends - starts).sum())
        found = dict.fromkeys(SPENT, 0)
        before_ns = 0
        for i, spent in enumerate(SPENT[: SPENT.index(Spent.DATA)]):
            until_ns = self._covered(mine[self._line[mine] <= i], windows)
            found[spent], before_ns = until_ns - before_ns, until_ns
        for spent, spent_ns in self._idle(device, windows).items():
            found[spent] += spent_ns
        busy = Covered(work.start_ns[mine], work.end_ns[mine])
        n = len(starts) if mean else 1
        return DeviceAccount(
            device=work.devices[device],
            wall_ns=wall_ns // n,
            n_windows=n,
            entries=_entries(found, wall_ns // n, n),
            communication_ns=self._covered(mine[work.sort[mine] == Sort.COMMUNICATION], windows)
            // n,
            copies_ns=self._covered(mine[work.sort[mine] >= Sort.COPY], windows) // n,
            outside_ns=busy.total_ns - before_ns,
        )

    def _covered(self, rows: Ints, windows: Windows) -> int:
        busy = Covered(self._work.start_ns[rows], self._work.end_ns[rows])
        return int(busy.within(*windows).sum())

    def _idle(self, device: int, windows: Windows) -> dict[Spent, int]:
        """What the gaps of a device are; their sum is what is left of the windows."""
        gaps = idle_gaps(self._work, device, windows)
        spans = self._trace.spans
        launch = np.append(self._work.launch, NONE)[gaps.following]
        launched_ns = spans.start_ns[launch]
        length = gaps.end_ns - gaps.start_ns
        over = gaps.following == NONE
        unknown = (launch == NONE) & ~over
        dry = over | (~unknown & (launched_ns > gaps.begin_ns))
        queued = ~unknown & ~dry
        short = gaps.stop_ns - gaps.begin_ns <= KERNEL_WAIT_NS
        found = {
            Spent.NOT_KNOWN: int(length[unknown].sum()),
            Spent.KERNEL_WAIT: int(length[queued & short].sum()),
            Spent.OTHER_WAIT: int(length[queued & ~short].sum()),
            Spent.DATA: 0, Spent.DISPATCH: 0, Spent.HOST: int(length[over].sum()),
        }  # fmt: skip
        thread = np.where(dry & ~over, spans.thread[launch], NONE)
        for host_thread in np.unique(thread[thread >= 0]).tolist():
            rows = np.flatnonzero(thread == host_thread)
            start, end = gaps.start_ns[rows], gaps.end_ns[rows]
            until = np.clip(launched_ns[rows], start, end)
            host = self._host(host_thread)
            data_ns, either_ns = (int(c.within(start, until).sum()) for c in host)
            found[Spent.DATA] += data_ns
            found[Spent.DISPATCH] += either_ns - data_ns + int((end - until).sum())
            found[Spent.HOST] += int((until - start).sum()) - either_ns
        return found

    def _host(self, thread: int) -> _Host:
        """What a thread of the host did."""
        if thread not in self._hosts:
            self._hosts[thread] = _host(self._trace, thread)
        return self._hosts[thread]


class _Host(NamedTuple):
    """Time in which a thread waited for data; in which it did so, or was in an op or a call of the runtime."""

    data: Covered
    either: Covered


def _host(trace: Trace, thread: int) -> _Host:
    spans = trace.spans
    first, last = np.searchsorted(spans.thread, [thread, thread + 1])
    start = spans.start_ns[first:last]
    end = start + spans.dur_ns[first:last]
    kind = spans.kind[first:last]
    data = kind == Kind.DATA.value
    calls = runtime_calls(trace)[first:last] & ~waiting_calls(trace)[first:last]
    ops = (kind == Kind.OP.value) | calls
    return _Host(Covered(start[data], end[data]), Covered(start[data | ops], end[data | ops]))


class Gaps(NamedTuple):
    """Times in which nothing ran on a device: parts of gaps that lie in a window.

    Attributes:
        start_ns, end_ns: of the part.
        begin_ns, stop_ns: of the whole gap.
        following: the piece of work after it; −1: there is none.
    """

    start_ns: Ints
    end_ns: Ints
    begin_ns: Ints
    stop_ns: Ints
    following: Ints


def idle_gaps(work: DeviceWork, device: int, windows: Windows) -> Gaps:
    """Return when a device was idle.

    Args:
        work: of all devices.
        device: index into ``work.devices``.
        windows: starts and ends, ns, ascending and apart.
    """
    mine = np.flatnonzero(work.device == device)
    far = 2**62
    reach = np.maximum.accumulate(work.end_ns[mine])
    begin = np.concatenate([[-far], reach])
    stop = np.concatenate([work.start_ns[mine], [far]])
    following = np.append(mine, NONE)
    some = stop > begin
    begin, stop, following = begin[some], stop[some], following[some]
    starts, ends = windows
    low = np.searchsorted(ends, begin, "right")
    count = np.maximum(np.searchsorted(starts, stop, "left") - low, 0)
    gap = np.repeat(np.arange(len(begin)), count)
    window = low[gap] + np.arange(len(gap)) - (np.cumsum(count) - count)[gap]
    return Gaps(
        np.maximum(begin[gap], starts[window]), np.minimum(stop[gap], ends[window]), begin[gap],
        stop[gap], following[gap],
    )  # fmt: skip


def _entries(found: dict[Spent, int], wall_ns: int, n: int) -> tuple[DeviceEntry, ...]:
    """The lines, per window; what dividing leaves over is not known."""
    each = {spent: spent_ns // n for spent, spent_ns in found.items()}
    each[Spent.NOT_KNOWN] += wall_ns - sum(each.values())
    whole_ns = max(1, wall_ns)
    return tuple(DeviceEntry(spent, ns, 100 * ns / whole_ns) for spent, ns in each.items())

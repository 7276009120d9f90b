"""The clocks of a job's ranks on one time: offsets, with a bound on their error.

**One clock.** Processes of one running kernel (``boot_id``) share CLOCK_MONOTONIC; what a time namespace adds to it is
known. Their offset is exact.

**Several clocks.** No rank leaves a collective such as a barrier or an all-reduce before every rank has come
(`communication_names.SYNCHRONISING`); no message arrives before it was sent. So for a rank x that came at s_x by its
clock and a rank y that left at e_y by its own, with offsets o to a common time,

    s_x + o_x ≤ e_y + o_y.

With o_x = 0 (the clock of the first rank), each collective bounds o_y from both sides: s_x − e_y ≤ o_y ≤ e_x − s_y.
All of them together leave an interval, as narrow as the fastest transfer where x was the last to come and the fastest
where y was (Cristian's bound with a round trip made of two collectives). Its middle is the estimate, half its width
the error: a bound, not a guess, as long as the calls were matched rightly and the clock is what `clock_fit` takes it
for. A clock without a direct relation to the first is bounded by those that have one, whose errors are added.

**Else** the clocks of the day are taken (NTP), whose error nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.clock_fit import Bounds, Fit, fit_clock
from tinytrace.analysis.clock_models import ClockModel
from tinytrace.analysis.collectives import Communication, Role
from tinytrace.tracer.communication_names import ALL_TO_ONE, ONE_TO_ALL
from tinytrace.tracer.trace import Trace

Ints = NDArray[Any]
# Of the synchronising collectives, those in which nobody can have nothing to give or to get.
CERTAIN = frozenset({"barrier", "all_reduce", "all_gather"})
NEVER = np.int64(2**62)


@dataclass(frozen=True)
class Aligned:
    """How the times of one part become those of the result.

    Attributes:
        model: what is added.
        method: ``same clock``, ``same host`` (torch.profiler's times of two processes), ``collectives``,
            ``clock of the day``, ``none``.
        error_ns: bound on the error; None: not known.
        n_sets: how many matched calls it rests on.
        fit: of ``collectives``.
    """

    model: ClockModel
    method: str
    error_ns: int | None
    n_sets: int = 0
    fit: Fit | None = None


@dataclass(frozen=True)
class _Clock:
    """One clock, and how the times of each of its parts become its own."""

    parts: tuple[int, ...]
    within_ns: tuple[int, ...]
    is_exact: bool  # its parts read the very same clock
    day_ns: int | None  # what makes its times those of the clock of the day


def align(traces: Sequence[Trace], found: Communication, part_of_process: Ints) -> list[Aligned]:
    """Return how the times of each part become those of the first.

    Args:
        traces: the parts, the one whose clock is taken first.
        found: the communication of all of them together, times as in the parts.
        part_of_process: (processes of all,) the part that a process is of.
    """
    clocks = _clocks(traces)
    number = {part: (row, ns) for row, clock in enumerate(clocks)
              for part, ns in zip(clock.parts, clock.within_ns, strict=True)}  # fmt: skip
    of_part = np.array([number[part][0] for part in range(len(traces))])
    within = np.array([number[part][1] for part in range(len(traces))])
    part = part_of_process[found.calls.process]
    edges = _edges(found, of_part[part], within[part], len(clocks))
    fits = _fits(edges, len(clocks))
    result = []
    for row in range(len(traces)):
        clock, inside_ns = clocks[int(of_part[row])], int(within[row])
        result.append(_aligned(clocks, int(of_part[row]), clock, inside_ns, fits))
    return result


def _clocks(traces: Sequence[Trace]) -> list[_Clock]:
    """Which parts share a clock; the first part's comes first."""
    members: dict[Any, list[int]] = {}
    within: dict[Any, list[int]] = {}
    for part, trace in enumerate(traces):
        key, inside_ns = _domain(trace)
        key = part if key is None else key
        members.setdefault(key, []).append(part)
        within.setdefault(key, []).append(inside_ns)
    clocks = []
    for key, parts in members.items():
        day = _day_ns(traces[parts[0]])
        day = None if day is None else day - within[key][0]
        exact = len(parts) == 1 or key[0] == "boot"
        clocks.append(_Clock(tuple(parts), tuple(within[key]), exact, day))
    return clocks


def _domain(trace: Trace) -> tuple[Any, int]:
    """What traces of one clock have in common (None: not known), and what makes its times those of that clock."""
    domain = trace.meta.get("clock_domain")
    if isinstance(domain, dict) and isinstance(domain.get("boot_id"), str):
        offset = domain.get("monotonic_offset_ns")
        return ("boot", domain["boot_id"]), -offset if type(offset) is int else 0
    header = _foreign_header(trace)
    if isinstance(header.get("host_name"), str) and header["host_name"]:
        base = header.get("baseTimeNanoseconds")
        return ("host", header["host_name"]), base if type(base) is int else 0
    return None, 0


def _day_ns(trace: Trace) -> int | None:
    """What makes the times of a trace those of the clock of the day; None: not known."""
    meta = trace.meta
    if type(meta.get("start_unix_ns")) is int and type(meta.get("start_ns")) is int:
        return int(meta["start_unix_ns"]) - int(meta["start_ns"])
    header = _foreign_header(trace)
    if "schemaVersion" in header:  # of torch.profiler, whose times count from a base, or from 1970
        base = header.get("baseTimeNanoseconds")
        return base if type(base) is int else 0
    return None


def _foreign_header(trace: Trace) -> dict[str, Any]:
    foreign = trace.meta.get("foreign")
    header = foreign.get("header") if isinstance(foreign, dict) else None
    return header if isinstance(header, dict) else {}


@dataclass(frozen=True)
class _Edges:
    """(sets, clocks): when the last of a clock's ranks came and the first left, by that clock; ∓`NEVER`: none."""

    came_ns: Ints
    left_ns: Ints


def _edges(found: Communication, clock: Ints, within_ns: Ints, n_clocks: int) -> _Edges:
    calls = found.calls
    peer_is_self = (calls.peer == calls.rank) & (calls.rank >= 0)
    one_to_all, all_to_one = found.of_ops(ONE_TO_ALL), found.of_ops(ALL_TO_ONE)
    certain = found.of_ops(CERTAIN) & ((calls.bytes != 0) | found.of_ops(frozenset({"barrier"})))
    comes = certain | (one_to_all & peer_is_self) | all_to_one | (calls.role == Role.SEND)
    leaves = certain | one_to_all | (all_to_one & peer_is_self) | (calls.role == Role.RECEIVE)
    usable = calls.set_id >= 0
    usable[usable] = found.is_certain[calls.set_id[usable]]
    shape = (found.n_sets, n_clocks)
    came, left = np.full(shape, -NEVER), np.full(shape, NEVER)
    rows = usable & comes
    np.maximum.at(came, (calls.set_id[rows], clock[rows]), (calls.start_ns + within_ns)[rows])
    rows = usable & leaves & (calls.done_ns >= 0)
    np.minimum.at(left, (calls.set_id[rows], clock[rows]), (calls.done_ns + within_ns)[rows])
    order = np.argsort(
        np.where(came > -NEVER, came, NEVER).min(axis=1, initial=NEVER), kind="stable"
    )
    return _Edges(came[order], left[order])


def _fits(edges: _Edges, n_clocks: int) -> dict[int, tuple[Fit, int]]:
    """Per clock that can be bounded its offset to clock 0, and from how many sets."""
    fits: dict[int, tuple[Fit, int]] = {0: (Fit(ClockModel(), 0), 0)}
    first_came, last_left = edges.came_ns[:, 0].copy(), edges.left_ns[:, 0].copy()
    waiting = set(range(1, n_clocks))
    while waiting:
        related = {
            clock: int(
                (((edges.came_ns[:, clock] > -NEVER) & (last_left < NEVER))
                 | ((edges.left_ns[:, clock] < NEVER) & (first_came > -NEVER))).sum()
            )
            for clock in sorted(waiting)
        }  # fmt: skip
        clock = max(related, key=lambda c: related[c])
        if not related[clock]:
            break
        waiting.remove(clock)
        came, left = edges.came_ns[:, clock], edges.left_ns[:, clock]
        fit = _fit(first_came, last_left, came, left)
        if fit is None:
            continue
        fits[clock] = fit, related[clock]
        # From now on it bounds others, in the time of clock 0, with its error.
        came = np.where(came > -NEVER, fit.model.apply(came) - fit.error_ns, -NEVER)
        left = np.where(left < NEVER, fit.model.apply(left) + fit.error_ns, NEVER)
        first_came, last_left = np.maximum(first_came, came), np.minimum(last_left, left)
    return fits


def _fit(first_came: Ints, last_left: Ints, came: Ints, left: Ints) -> Fit | None:
    both = (first_came > -NEVER) & (came > -NEVER)
    if not both.any():
        return fit_clock(_bounds(first_came, last_left, came, left))
    rough_ns = int(
        np.sort(first_came[both] - came[both])[int(both.sum()) // 2]
    )  # so that doubles are exact
    came = np.where(came > -NEVER, came + rough_ns, came)
    left = np.where(left < NEVER, left + rough_ns, left)
    fit = fit_clock(_bounds(first_came, last_left, came, left))
    if fit is None:
        return None
    knots = tuple(t - rough_ns for t in fit.model.knots_ns)
    return replace(
        fit, model=replace(fit.model, offset_ns=fit.model.offset_ns + rough_ns, knots_ns=knots)
    )


def _bounds(first_came: Ints, last_left: Ints, came: Ints, left: Ints) -> Bounds:
    """The bounds on the offset of a clock in which ranks came and left, by those of clocks that are known."""
    has_lower, has_upper = (
        (first_came > -NEVER) & (left < NEVER),
        (last_left < NEVER) & (came > -NEVER),
    )
    return Bounds(
        lower_t_ns=np.where(has_lower, left, 0).astype("f8"),
        lower_ns=np.where(has_lower, (first_came - left).astype("f8"), -np.inf),
        upper_t_ns=np.where(has_upper, came, 0).astype("f8"),
        upper_ns=np.where(has_upper, (last_left - came).astype("f8"), np.inf),
    )


def _aligned(
    clocks: Sequence[_Clock],
    row: int,
    clock: _Clock,
    inside_ns: int,
    fits: dict[int, tuple[Fit, int]],
) -> Aligned:
    """How the times of a part become those of the first part."""
    first_ns = clocks[0].within_ns[0]  # from the first part to its clock
    if row == 0:
        model = ClockModel(inside_ns - first_ns)
        return (
            Aligned(model, "same clock", 0) if clock.is_exact else Aligned(model, "same host", None)
        )
    if row in fits:
        fit, n_sets = fits[row]
        knots = tuple(t - inside_ns for t in fit.model.knots_ns)
        offset_ns = fit.model.offset_ns + inside_ns - first_ns
        model = replace(fit.model, offset_ns=offset_ns, knots_ns=knots)
        error_ns = fit.error_ns if clock.is_exact else None
        return Aligned(model, "collectives", error_ns, n_sets, fit)
    day_ns, first_day_ns = clock.day_ns, clocks[0].day_ns
    if day_ns is None or first_day_ns is None:
        return Aligned(ClockModel(inside_ns - first_ns), "none", None)
    offset_ns = day_ns + inside_ns - first_day_ns - first_ns
    return Aligned(ClockModel(offset_ns), "clock of the day", None)

"""What a thread of the host did outside of its ops, where torch.profiler's events tell: exact, without samples.

Calls of a device's runtime and Python functions (``with_stack=True``) are spans. A call that waits for the device
(``cudaStreamSynchronize``…) is waiting; any other is dispatch. Time in which a Python function is the innermost span
is Python.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.device_work import of_categories
from tinytrace.analysis.intervals import Covered
from tinytrace.analysis.kineto import RUNTIME_CATEGORIES
from tinytrace.analysis.kineto_links import PYTHON_NAME
from tinytrace.analysis.op_parts import in_communication, waiting_for_data
from tinytrace.analysis.places import file_and_line
from tinytrace.analysis.spans import kept_parent
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Spans, Trace
from tinytrace.tracer.trees import depth_and_last

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
WAITING_CALL = "Synchronize"  # in the name of a call of the runtime that waits for the device


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """A function in which Python ran between ops: ``train.py:42`` (where it begins), its name, and how long."""

    place: str | None
    function: str
    spent_ns: int


@dataclass(frozen=True, slots=True)
class HostTime:
    """Time of a thread outside of ops, of communication and of waits for data, in ns.

    Attributes:
        wait_ns: in calls that wait for a device; in those that ops made, too.
        call_ns: in other calls of the runtime, likewise.
        python_ns: in Python functions, and in nothing inside them; in those that ops called, too.
        functions: those with most of it.
    """

    wait_ns: int
    call_ns: int
    python_ns: int
    functions: tuple[PythonFunction, ...]


def runtime_calls(trace: Trace) -> Mask:
    """Return per span whether it is a call of a device's runtime.

    Example:
        >>> runtime_calls(Trace()).tolist()
        []
    """
    return trace.spans.derived(
        "runtime_calls", lambda: _of_categories(trace, frozenset(RUNTIME_CATEGORIES))
    )


def waiting_calls(trace: Trace) -> Mask:
    """Return per span whether it is a call of a device's runtime that waits for the device.

    Example:
        >>> waiting_calls(Trace()).tolist()
        []
    """
    calls = runtime_calls(trace)
    if not calls.any():
        return calls
    waits = np.array([WAITING_CALL in text for text in trace.strings], "?")
    return np.asarray(calls & waits[trace.spans.name_id], "?")


def host_time(trace: Trace, thread: int, windows: tuple[Ints, Ints], top: int) -> HostTime | None:
    """Return what a thread did outside of ops; None: no event tells.

    Args:
        trace: any.
        thread: row of ``Trace.threads``.
        windows: starts and ends, ns, ascending and apart.
        top: how many functions at most.

    Example:
        >>> host_time(Trace(), 0, (np.array([0]), np.array([9])), 5) is None
        True
    """
    calls = runtime_calls(trace)
    python = _of_categories(trace, frozenset({"python_function"}))
    if not calls.any() and not python.any():
        return None
    rows, own_ns = innermost_ns(trace.spans, thread, windows)
    elsewhere = waiting_for_data(trace.spans) | in_communication(trace)
    own_ns = np.where(elsewhere[rows], 0, own_ns)
    waits = waiting_calls(trace)[rows]
    return HostTime(
        wait_ns=int(own_ns[waits].sum()),
        call_ns=int(own_ns[calls[rows] & ~waits].sum()),
        python_ns=int(own_ns[python[rows]].sum()),
        functions=_functions(trace, rows[python[rows]], own_ns[python[rows]], top),
    )


def innermost_ns(spans: Spans, thread: int, windows: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Return the spans of a thread, and per span the time in the windows in which it was the innermost one.

    Args:
        spans: of a trace.
        thread: whose.
        windows: starts and ends, ns, ascending and apart.

    Example:
        >>> from tinytrace.tracer.trace import Spans
        >>> columns = {name: [0, 0] for name in Spans.DTYPES}
        >>> columns |= {"start_ns": [0, 4], "dur_ns": [10, 4], "parent": [-1, 0]}
        >>> innermost_ns(Spans(**columns), 0, (np.array([2]), np.array([9])))[1].tolist()
        [3, 4]
    """
    kept = (spans.thread == thread) & (spans.flags & Flag.DETACHED.value == 0)
    kept &= spans.kind != Kind.INSTANT.value
    rows = np.flatnonzero(kept)
    n = len(rows)
    parent = kept_parent(spans.parent, kept)
    depth, last = depth_and_last(parent)
    opens, closes = 2 * np.arange(n) - depth, 2 * last + 1 - depth
    when, inner = np.zeros(2 * n, "i8"), np.zeros(2 * n, "i8")
    when[opens], inner[opens] = spans.start_ns[rows], np.arange(n)
    when[closes], inner[closes] = (spans.start_ns + spans.dur_ns)[rows], parent
    own_ns = Covered(*windows).within(when[:-1], when[1:])
    inside = inner[:-1] >= 0
    return rows, sums(inner[:-1][inside], n, own_ns[inside])


def _functions(trace: Trace, rows: Ints, own_ns: Ints, top: int) -> tuple[PythonFunction, ...]:
    """The functions with most time."""
    if not len(rows):
        return ()
    ids, count = group_ids([trace.spans.name_id[rows]])
    spent_ns = sums(ids, count, own_ns)
    names = trace.spans.name_id[rows[first_rows(ids, count)]]
    found = []
    for i in np.argsort(-spent_ns, kind="stable")[:top].tolist():
        name = trace.strings[names[i]]
        match = PYTHON_NAME.fullmatch(name)
        place = None if match is None else file_and_line(match[1], int(match[2]))
        found.append(PythonFunction(place, name if match is None else match[3], int(spent_ns[i])))
    return tuple(found)


def _of_categories(trace: Trace, wanted: frozenset[str]) -> Mask:
    told = of_categories(trace, dict.fromkeys(wanted, 1))
    return np.zeros(len(trace.spans), "?") if told is None else np.asarray(told >= 0, "?")

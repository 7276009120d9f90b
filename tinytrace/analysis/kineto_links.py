"""What belongs together in a trace of torch.profiler: launches and kernels, forward and backward, ops and Python.

An op of a GPU says by its *correlation* number which call of the runtime started it. A backward op has the
*sequence number* of the forward op that it differentiates, and the thread in which that ran. Python functions are
events around the ops that they call. `link` turns all this into columns: arrows, call sites, steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.foreign_tables import Strings, text_of
from tinytrace.analysis.kineto import DEVICE_WORK, RUNTIME_CATEGORIES
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Frames
from tinytrace.tracer.trees import inherited

Int64 = NDArray[np.int64]
NONE = -1
# ``path/file.py(12): function``: the line is that of the ``def``, but for functions that ran already when
# the profiler began, of which it is the one that was being run.
PYTHON_NAME = re.compile(r"(.+\.pyx?|<[^>]*>)\((\d{1,9})\): (.+)", re.DOTALL)
# Places inside of torch say little: the caller is what people can change. Kineto leaves out the path of
# site-packages, so that torch's own files begin with its name.
TORCH_FILE = re.compile(r"(^|[/\\](site|dist)-packages[/\\])torch[/\\]")


@dataclass
class Ends:
    """Ends of links as they are read; rows of spans in the order of the file.

    Attributes:
        launch: correlation number → row of the call that started something.
        device: rows of what ran on devices, and their correlation numbers.
        forward, backward: rows of ops, and their sequence numbers.
    """

    launch: dict[str, int] = field(default_factory=dict)
    device: list[tuple[int, str]] = field(default_factory=list)
    forward: list[tuple[int, int]] = field(default_factory=list)
    backward: list[tuple[int, int]] = field(default_factory=list)

    def take(self, row: int, category: str, args: dict[str, Any]) -> None:
        """Note what an event tells of its links."""
        if "correlation" in args:
            key = text_of(args["correlation"])
            if category in DEVICE_WORK:
                self.device.append((row, key))
            elif category in RUNTIME_CATEGORIES:
                self.launch.setdefault(key, row)
        elif category == "cpu_op":
            number, thread = args.get("Sequence number"), args.get("Fwd thread id")
            if type(number) is int and type(thread) is int and 0 <= number < 1 << 62:
                (self.backward if thread else self.forward).append((row, number))


class Links(NamedTuple):
    """Pairs of rows, (n, 2) each.

    Attributes:
        launches: from a call of the runtime to what it started on a device.
        backward: from a forward op to the backward op that differentiates it.
    """

    launches: Int64
    backward: Int64


def link(ends: Ends, place: Int64, start_ns: Int64, thread: Int64) -> Links:
    """Return what belongs together; what has no other end in the trace is in no pair.

    A number is that of the graph node that is made next, so that ops which make none have it, too: the one that
    made it is the last to begin with it (as torch's own arrows have it, ``generateForwardBackwardLinks``). Threads
    number their nodes apart, and which thread a backward op means is not in the file: where ops of several
    threads have a number, it links nothing.

    Args:
        ends: as read.
        place: (n,) row in the file → row in the trace.
        start_ns: (n,) of the rows of the trace.
        thread: (n,) likewise.
    """
    launches = [(ends.launch[key], row) for row, key in ends.device if key in ends.launch]
    started = place[np.array(launches, np.int64).reshape(-1, 2)]
    forward, backward = (
        np.array(rows, np.int64).reshape(-1, 2) for rows in (ends.forward, ends.backward)
    )
    for table in (forward, backward):
        table[:, 0] = place[table[:, 0]]
    forward = forward[np.lexsort((start_ns[forward[:, 0]], forward[:, 1]))]
    backward = backward[np.lexsort((start_ns[backward[:, 0]], backward[:, 1]))]
    numbers = np.unique(forward[:, 1])
    first = np.searchsorted(forward[:, 1], numbers)
    last = np.append(first[1:], len(forward)) - 1
    of_thread = thread[forward[:, 0]]
    if len(numbers):
        alone = np.minimum.reduceat(of_thread, first) == np.maximum.reduceat(of_thread, first)
        numbers, last = numbers[alone], last[alone]
    outer = np.diff(backward[:, 1], prepend=-1) != 0  # those inside have the number, too
    rows, wanted = backward[outer].T
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    found = numbers[at] == wanted if len(numbers) else np.zeros(len(wanted), "?")
    pairs = np.stack([forward[last[at[found]], 0], rows[found]], axis=1)
    return Links(started, pairs)


def call_sites(
    strings: Strings,
    *,
    name_id: Int64,
    is_python: NDArray[np.bool_],
    kind: Int64,
    parent: Int64,
    links: Links,
) -> tuple[Int64, Frames]:
    """Return per span the place in the program that it was called from, and the places.

    That of an op is the innermost Python function around it outside of torch (of those inside of it, where there
    are no others); that of what ran on a device is the place of its launch; that of a backward op without
    Python around it is the place of its forward op.

    Args:
        strings: those of the trace; files and functions are added.
        name_id: (n,) names of the spans.
        is_python: (n,) whether a span is a Python function.
        kind: (n,) kinds; only ops get a place.
        parent: (n,) rows of the spans around.
        links: of the trace.
    """
    names = strings.all()
    places: dict[tuple[int, int, int], int] = {}
    outside = np.full(len(names), NONE, np.int64)
    anywhere = outside.copy()
    for i in np.unique(name_id[is_python]).tolist():
        match = PYTHON_NAME.fullmatch(names[i])
        if match is None:
            continue  # a built-in, a module
        file, line, function = match.groups()
        key = (strings.of(function), strings.of(file), int(line))
        anywhere[i] = places.setdefault(key, len(places))
        if not TORCH_FILE.search(file):
            outside[i] = anywhere[i]
    found = np.full(len(name_id), NONE, np.int64)
    for of_name in (outside, anywhere):
        own = np.where(is_python, of_name[name_id], NONE)
        above = np.asarray(inherited(own, parent), np.int64)
        found = np.where(found >= 0, found, above)
    forward, backward = links.backward.T
    bare = found[backward] < 0
    _hand_down(found, backward[bare], found[forward[bare]], parent)
    launch, started = links.launches.T
    found[started] = found[launch]
    found[kind != Kind.OP] = NONE
    table = np.array(list(places), np.int64).reshape(-1, 3)
    return found, Frames(table[:, 0], table[:, 1], table[:, 2])


def _hand_down(found: Int64, rows: Int64, values: Int64, parent: Int64) -> None:
    """Give values to rows, and to all below them that have none, in place."""
    own = np.full(len(found), NONE, np.int64)
    own[rows] = values
    below = np.asarray(inherited(own, parent), np.int64)
    np.copyto(found, below, where=found < 0)


def steps_of_work(step: Int64, device: Int64, links: Links) -> None:
    """Give what ran on devices the step of its launch, in place; without a launch in the trace, none."""
    step[device] = NONE
    launch, started = links.launches.T
    step[started] = step[launch]

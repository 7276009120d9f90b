"""Choosing which steps (or stretches of time) of a trace to keep whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import op_tree
from tinytrace.tracer.groups import numbered, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Spans
from tinytrace.tracer.windows import STRETCHES, take_at_random

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Choice:
    """What stays.

    Attributes:
        kept: bool per span.
        text: what was kept whole, in words; "" if nothing.
    """

    kept: Mask
    text: str


@dataclass(frozen=True, eq=False)
class _Units:
    """A division of spans: steps, and stretches of time for what lies outside of steps.

    Attributes:
        unit: per span; steps come first.
        n_steps, n_units: how many steps, and how many units in all.
        start_ns: per unit, its earliest start.
        length_ns: per step its duration, per stretch the duration of the longest span in it.
    """

    unit: Ints
    n_steps: int
    n_units: int
    start_ns: Ints
    length_ns: Ints


def choose(spans: Spans, sizes: Ints, preferred: Mask, limit_bytes: int, seed: int) -> Choice:
    """Choose spans whose sizes add up to no more than the limit.

    The preferred ones are kept if they take no more than half of it. Of the rest, whole units are:
    the first and the slowest step, the first stretch of time outside of steps and the one with the
    longest span, then others at random as long as they fit. An op is never parted from the ops
    inside it. Where the first and the slowest step would not fit, stretches of time take the place
    of steps.

    Args:
        spans: all of them.
        sizes: bytes per span.
        preferred: bool per span; each op tree wholly or not at all.
        limit_bytes: at least 0.
        seed: of the random choice.
    """
    if int(sizes[preferred].sum()) > limit_bytes // 2:
        preferred = np.zeros(len(spans), "?")
    limit_bytes -= int(sizes[preferred].sum())
    rest = np.where(preferred, 0, sizes)
    tree = op_tree(spans)
    head = np.where(tree >= 0, tree, np.arange(len(spans)))
    units = _units(spans, head, rest, limit_bytes, spans.step[head].astype("i8"))
    unit_bytes = sums(units.unit, units.n_units, rest)
    if units.n_steps and unit_bytes[_first_ones(units)].sum() > limit_bytes:
        units = _units(spans, head, rest, limit_bytes, np.full(len(spans), -1))
        unit_bytes = sums(units.unit, units.n_units, rest)
    rng = np.random.default_rng(seed)
    taken = take_at_random(unit_bytes, _first_ones(units), limit_bytes, rng)
    return Choice(preferred | taken[units.unit], _words(units, taken, bool(preferred.any())))


def _units(spans: Spans, head: Ints, sizes: Ints, limit_bytes: int, step: Ints) -> _Units:
    in_step = step >= 0
    first, number = numbered(step[in_step])
    unit = np.empty(len(spans), "i8")
    unit[in_step] = number
    outside = np.flatnonzero(~in_step)
    n_stretches = 0
    if len(outside):
        heads = head[outside]
        is_head = np.zeros(len(spans), "?")
        is_head[heads] = True
        heads_in_order = np.flatnonzero(is_head)
        heads_in_order = heads_in_order[np.argsort(spans.start_ns[heads_in_order], kind="stable")]
        wanted = STRETCHES * int(sizes[outside].sum()) // max(1, limit_bytes) + 1
        n_stretches = min(len(heads_in_order), wanted)
        stretch = np.empty(len(spans), "i8")
        stretch[heads_in_order] = (
            np.arange(len(heads_in_order)) * n_stretches // len(heads_in_order)
        )
        unit[outside] = len(first) + stretch[heads]
    n_units = len(first) + n_stretches
    start_ns, length_ns = _extents(spans, unit, len(first), n_units)
    return _Units(unit, len(first), n_units, start_ns, length_ns)


def _extents(spans: Spans, unit: Ints, n_steps: int, n_units: int) -> tuple[Ints, Ints]:
    start_ns = np.full(n_units, np.iinfo("i8").max)
    np.minimum.at(start_ns, unit, spans.start_ns)
    end_ns = np.full(n_units, np.iinfo("i8").min)
    np.maximum.at(end_ns, unit, spans.start_ns + spans.dur_ns)
    longest_ns = np.zeros(n_units, "i8")
    np.maximum.at(longest_ns, unit, spans.dur_ns)
    step_ns = np.zeros(n_units, "i8")  # of the spans that are steps, where there are any
    is_step = spans.kind == Kind.STEP
    np.maximum.at(step_ns, unit[is_step], spans.dur_ns[is_step])
    extent_ns = np.where(step_ns > 0, step_ns, end_ns - start_ns)
    return start_ns, np.where(np.arange(n_units) < n_steps, extent_ns, longest_ns)


def _first_ones(units: _Units) -> list[int]:
    """Units that come before a random choice: of steps, then stretches, the first and slowest."""
    chosen = []
    for part in (slice(0, units.n_steps), slice(units.n_steps, units.n_units)):
        if part.start < part.stop:
            first = part.start + int(np.argmin(units.start_ns[part]))
            slowest = part.start + int(np.argmax(units.length_ns[part]))
            chosen += [first] if first == slowest else [first, slowest]
    return chosen


def _words(units: _Units, taken: Mask, preferred: bool) -> str:
    parts = []
    n_steps, n_stretches = units.n_steps, units.n_units - units.n_steps
    if kept := int(taken[:n_steps].sum()):
        parts.append(f"{kept:,} of {n_steps:,} steps")
    if kept := int(taken[n_steps:].sum()):
        parts.append(f"{kept:,} of {n_stretches:,} stretches of time")
    text = (
        f"kept whole: {' and '.join(parts)} (the first, the slowest, others at random)"
        if parts
        else ""
    )
    around = "kept: all spans around ops" if preferred else ""
    return "; ".join(part for part in (text, around) if part)

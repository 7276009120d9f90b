"""Which stretches of time of a long recording are read whole, when all of it would not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Column

STRETCHES = 64  # of which about this many fit: enough to be a sample, few enough to show a course
FIRST_ONES = 2  # the first and the slowest, or the first and the last: before a choice at random


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of time, ascending and apart.

    Attributes:
        start_ns, end_ns: int64; the end of one is not in it.
        text: what they are, in words.
    """

    start_ns: Column
    end_ns: Column
    text: str

    def hold(self, t_ns: Column) -> NDArray[np.bool_]:
        """Return per time whether it lies in one of them.

        Example:
            >>> Windows(np.array([5, 20]), np.array([9, 30]), "").hold(np.array([4, 5, 9, 29])).tolist()
            [False, True, False, True]
        """
        at = np.searchsorted(self.start_ns, t_ns, "right") - 1
        held = at >= 0
        held[held] = t_ns[held] < self.end_ns[at[held]]
        return np.asarray(held, "?")


@dataclass(frozen=True, eq=False)
class Course:
    """How many spans had begun by when, about: what a thread's segments tell without being read.

    Attributes:
        t_ns: ascending times.
        begun: how many spans had begun by then; linear in between.
    """

    t_ns: Column
    begun: Column


def choose_windows(courses: list[Course], steps: Column, limit: int, seed: int = 0) -> Windows:
    """Choose stretches of time in which about ``limit`` spans begin.

    Whole steps where there are any: the first, the slowest, and others at random; where these two are too large,
    and in what the steps leave, stretches with equally many spans: the first, the last, and others at random.

    Args:
        courses: per thread.
        steps: int64 [n, 2], start and end in ns of each step.
        limit: spans.
        seed: of the random choice.
    """
    rng = np.random.default_rng(seed)
    course = _joined(courses)
    begun = np.interp(steps.ravel(), course.t_ns, course.begun).reshape(-1, 2)
    sizes = begun[:, 1] - begun[:, 0]
    chosen = np.zeros(len(steps), "?")
    if len(steps):
        ones = [int(np.argmin(steps[:, 0])), int(np.argmax(steps[:, 1] - steps[:, 0]))]
        if sizes[sorted(set(ones))].sum() <= limit:
            chosen = take_at_random(sizes, ones, limit, rng)
    left = limit - int(sizes[chosen].sum())
    edges = _stretches(course, limit)
    stretches = np.stack([edges[:-1], edges[1:]], 1)
    taken = np.zeros(len(stretches), "?")
    if chosen.all() or not chosen.any():
        size = (course.begun[-1] - course.begun[0]) / len(stretches)
        taken = take_at_random(np.full(len(stretches), size), [0, len(stretches) - 1], left, rng)
    parts = [
        f"{kept:,} of {len(of):,} {what}"
        for of, kept, what in (
            (chosen, int(chosen.sum()), "steps (the first, the slowest, others at random)"),
            (taken, int(taken.sum()), "stretches of time (the first, the last, others at random)"),
        )
        if kept
    ]
    return _apart(np.concatenate([steps[chosen], stretches[taken]]), " and ".join(parts))


def _joined(courses: list[Course]) -> Course:
    """Of all threads together."""
    t_ns = distinct(np.concatenate([c.t_ns for c in courses]))
    return Course(t_ns, np.sum([np.interp(t_ns, c.t_ns, c.begun) for c in courses], axis=0))


def take_at_random(
    sizes: Column, first: list[int], limit: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose as many as fit, some before all others.

    Args:
        sizes: of each; (n,).
        first: which come first, in order.
        limit: what the sizes of the chosen ones may add up to.
        rng: chooses the others.

    Returns:
        bool, (n,).

    Example:
        >>> take_at_random(np.array([5, 9, 1, 2]), [0, 1], 8, np.random.default_rng(0)).tolist()
        [True, False, True, True]
    """
    taken = np.zeros(len(sizes), "?")
    smallest = sizes.min() if len(sizes) else 0
    for number in [*first, *rng.permutation(len(sizes)).tolist()]:
        if limit < smallest:
            break
        if not taken[number] and sizes[number] <= limit:
            taken[number] = True
            limit -= sizes[number]
    return taken


def _stretches(course: Course, limit: int) -> Column:
    """Times between which equally many spans begin; the last one is later than all."""
    count = int(STRETCHES * (course.begun[-1] - course.begun[0]) // max(1, limit)) + 1
    begun = np.linspace(course.begun[0], course.begun[-1], count + 1)
    edges = np.interp(begun, course.begun, course.t_ns).astype("i8")
    edges[-1] = np.iinfo("i8").max
    return edges


def _apart(pairs: Column, text: str) -> Windows:
    """Put those together that overlap or touch, and leave out those in which nothing can begin."""
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")].astype("i8")
    if not len(pairs):
        return Windows(np.empty(0, "i8"), np.empty(0, "i8"), text)
    latest = np.maximum.accumulate(pairs[:, 1])
    begins = np.append(True, pairs[1:, 0] > latest[:-1])
    ends = np.append(begins[1:], True)
    return Windows(pairs[begins, 0], latest[ends], text)

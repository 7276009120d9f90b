"""Sampled time per line of two traces, with the lines matched."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tinytrace.analysis.diff_match import Files, Function, Lines
from tinytrace.analysis.diff_timeline import Timeline, in_steps
from tinytrace.analysis.stack_times import Whose, whose_stacks
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace


class Place(NamedTuple):
    """A line of code."""

    file: str | None
    function: str | None
    line: int


@dataclass(frozen=True, slots=True)
class SampledLine:
    """Samples whose innermost frame was one line of the program.

    Attributes:
        place: the line.
        self_ns: their weight.
        samples: how many.
        squares: sum of the squared weights, in ns².
    """

    place: Place
    self_ns: int
    samples: int
    squares: float


class SampledLines:
    """Time per line in the thread that is accounted.

    Attributes:
        lines: per line that was sampled.
        import_ns, tinytrace_ns: weight of samples in imports, and in tinytrace itself.
        samples: how many there are in that thread.
    """

    def __init__(self, trace: Trace, line: Timeline, *, per_step: bool) -> None:
        samples = trace.samples
        kept = (samples.thread == line.thread) & (samples.stack_id >= 0)
        if per_step:
            kept &= in_steps(line, samples.t_ns, ends=True)
        stack_id, weight_ns = samples.stack_id[kept], samples.weight_ns[kept]
        self.samples = len(stack_id)
        whose = whose_stacks(trace)[stack_id]
        self.import_ns = int(weight_ns[whose == Whose.IMPORT].sum())
        self.tinytrace_ns = int(weight_ns[whose == Whose.TINYTRACE].sum())
        mine = whose == Whose.PROGRAM
        frame_id, weight_ns = trace.stacks.frame_id[stack_id[mine]], weight_ns[mine]
        frames = trace.frames
        columns = [frames.file_id[frame_id], frames.name_id[frame_id], frames.line[frame_id]]
        ids, count = group_ids(columns)
        first = first_rows(ids, count)
        self_ns = sums(ids, count, weight_ns).tolist()
        number = np.bincount(ids, minlength=count).tolist()
        squares = np.bincount(ids, weight_ns.astype("f8") ** 2, count).tolist()
        names = zip(*(column[first].tolist() for column in columns), strict=True)
        self.lines = tuple(
            SampledLine(Place(_text(trace, file), _text(trace, name), number_of_line), *figures)
            for (file, name, number_of_line), *figures in zip(
                names, self_ns, number, squares, strict=True
            )
        )


def _text(trace: Trace, string_id: int) -> str | None:
    return trace.strings[string_id] if string_id >= 0 else None


def match_lines(
    before: SampledLines, after: SampledLines, files: Files, lines: Lines
) -> list[tuple[SampledLine | None, SampledLine | None]]:
    """Pair sampled lines, function by function.

    Lines in which ops were called in both programs say what became of the lines around them. Where that
    matches fewer lines than if all of the function were shifted alike, the latter is taken. A line that was
    sampled in one trace only stands alone.

    Args:
        before: of the first trace.
        after: of the second.
        files: which files are the same.
        lines: what the ops say.
    """
    found: dict[Function, tuple[dict[int, SampledLine], dict[int, SampledLine]]]
    found = defaultdict(lambda: ({}, {}))
    for side, sampled in enumerate((before, after)):
        for one in sampled.lines:
            function = (files.name(one.place.file, side), one.place.function)
            found[function][side][one.place.line] = one
    pairs: list[tuple[SampledLine | None, SampledLine | None]] = []
    for function, (left, right) in found.items():
        told = [(a, b) for a in left for b in right if lines.agree(function, a, b)]
        shift = _common_shift(left, right)
        shifted = [(a, a + shift) for a in left if a + shift in right]
        met = told if len(told) >= len(shifted) else shifted
        pairs += [(left.pop(a), right.pop(b)) for a, b in met]
        pairs += [(one, None) for one in left.values()]
        pairs += [(None, one) for one in right.values()]
    return pairs


def _common_shift(left: dict[int, SampledLine], right: dict[int, SampledLine]) -> int:
    """The shift by which most lines meet; 0 where no other one makes more of them meet, and at least two."""
    meet = Counter(b - a for a in left for b in right)
    most = max(meet.values(), default=0)
    best = [shift for shift, n in meet.items() if n == most]
    return best[0] if most > max(1, meet[0]) and len(best) == 1 else 0

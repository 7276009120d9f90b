"""Hot lines and functions: time in ops, exact, beside the time in Python, sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.between_ops import between_ops_ns
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.op_parts import OpParts, op_parts
from tinytrace.analysis.places import function_name, place
from tinytrace.analysis.stack_times import Whose, calling_frames, whose_stacks
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HotLine:
    """One line of code, or one function, with what ran there; summed over threads.

    Attributes:
        file: its path; None: not known.
        place: ``train.py:42``; of a function its file alone.
        line: number of the line; None: a function, or not known.
        function: name.
        op_ns: self time of the ops that were called from there; exact.
        op_calls: how many.
        top_op: the op with most time there; None: none.
        python_ns: time between ops, on the CPU or not known whether; sampled.
        waiting_ns: time between ops in samples whose thread did not run; sampled.
        samples: how many were taken there: few make an uncertain figure.
        percent: of the wall time of the run, all of its time; threads add up.
    """

    file: str | None
    place: str | None
    line: int | None
    function: str | None
    op_ns: int
    op_calls: int
    top_op: str | None
    python_ns: int
    waiting_ns: int
    samples: int
    percent: float

    @property
    def spent_ns(self) -> int:
        """All of its time."""
        return self.op_ns + self.python_ns + self.waiting_ns


@dataclass(frozen=True, slots=True)
class HotLines:
    """The lines and functions with most time, most first.

    Attributes:
        lines, functions: them.
        n_lines, n_functions: how many were seen.
    """

    lines: tuple[HotLine, ...]
    functions: tuple[HotLine, ...]
    n_lines: int
    n_functions: int


def hot_lines_of(trace: Trace, top: int = 10) -> HotLines:
    """Return where in the code the time went.

    A line is the innermost one outside NumPy, for samples and for ops alike. Lines in which modules are
    imported, and those of tinytrace, are left out.

    Args:
        trace: any trace; one without samples has the time of ops only, one without ops that of samples.
        top: how many lines, and functions, at most.

    Example:
        >>> hot_lines_of(Trace()).lines
        ()
    """
    return hot_lines(op_parts(count_trace(trace)), top)


def hot_lines(parts: OpParts, top: int) -> HotLines:
    """Return the same for a trace whose ops were added up already."""
    frames = parts.trace.frames
    if not len(frames):
        return HotLines((), (), 0, 0)
    times = _Times(parts)
    lines, n_lines = times.rows([frames.file_id, frames.line, frames.name_id], top, by_line=True)
    functions, n_functions = times.rows([frames.file_id, frames.name_id], top, by_line=False)
    return HotLines(lines, functions, n_lines, n_functions)


class _Times:
    """Times per frame (row of ``Trace.frames``)."""

    def __init__(self, parts: OpParts) -> None:
        trace = self._trace = parts.trace
        samples, n = trace.samples, len(trace.frames)
        self._wall_ns = max(1, trace.end_ns - trace.start_ns)
        sited = np.flatnonzero(parts.callsite_id >= 0)
        self._op_frame = parts.callsite_id[sited]
        self._op_name, self._op_ns = parts.name_id[sited], parts.self_ns[sited]
        self._op_calls = parts.calls[sited]
        # Folded ops are not known in time, so that what lies between ops has them in it.
        folded_ns = np.where(parts.folded[sited], self._op_ns, 0)
        self._folded_ns = sums(self._op_frame, n, folded_ns)
        mine = samples.stack_id >= 0
        mine[mine] = whose_stacks(trace)[samples.stack_id[mine]] == Whose.PROGRAM
        frame = calling_frames(trace)[samples.stack_id[mine]]
        gap_ns = between_ops_ns(trace)[mine]
        waited = ((samples.cpu_ns >= 0) & ~samples.on_cpu)[mine]
        self._samples = np.bincount(frame, minlength=n)
        self._python_ns = sums(frame, n, np.where(waited, 0, gap_ns))
        self._waiting_ns = sums(frame, n, np.where(waited, gap_ns, 0))

    def rows(
        self, columns: list[Ints], top: int, *, by_line: bool
    ) -> tuple[tuple[HotLine, ...], int]:
        """The frames grouped by these columns, and how many groups have any time."""
        ids, count = group_ids(columns)
        op_ids = ids[self._op_frame]
        sampled = {
            "python_ns": self._python_ns, "waiting_ns": self._waiting_ns, "samples": self._samples,
            "folded_ns": self._folded_ns,
        }  # fmt: skip
        times = {name: sums(ids, count, column) for name, column in sampled.items()}
        times |= {
            "op_ns": sums(op_ids, count, self._op_ns),
            "op_calls": sums(op_ids, count, self._op_calls),
        }
        times["python_ns"] = np.maximum(times["python_ns"] - times.pop("folded_ns"), 0)
        spent_ns = times["op_ns"] + times["python_ns"] + times["waiting_ns"]
        example = first_rows(ids, count)
        chosen = [i for i in np.argsort(-spent_ns, kind="stable")[:top].tolist() if spent_ns[i] > 0]
        rows = tuple(
            HotLine(
                **self._what(int(example[i]), by_line),
                **{name: int(column[i]) for name, column in times.items()},
                top_op=self._top_op(op_ids == i),
                percent=100 * int(spent_ns[i]) / self._wall_ns,
            )
            for i in chosen
        )
        return rows, int((spent_ns > 0).sum())

    def _what(self, frame: int, by_line: bool) -> dict[str, Any]:
        trace = self._trace
        file_id, line = int(trace.frames.file_id[frame]), int(trace.frames.line[frame])
        where = place(trace, frame)
        return {
            "file": trace.strings[file_id] if file_id >= 0 else None,
            "place": where if by_line or where is None or not line else where.rpartition(":")[0],
            "line": line if by_line and line else None,
            "function": function_name(trace, frame),
        }

    def _top_op(self, mine: NDArray[np.bool_]) -> str | None:
        if not mine.any():
            return None
        names, count = group_ids([self._op_name[mine]])
        most = int(np.argmax(sums(names, count, self._op_ns[mine])))
        return self._trace.strings[int(self._op_name[mine][names == most][0])]

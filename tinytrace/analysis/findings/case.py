"""`Case`: what the rules look at, worked out once per trace."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import main_thread
from tinytrace.analysis.between_ops import between_ops_ns
from tinytrace.analysis.counting import count, count_trace
from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.findings.device_case import DeviceCase
from tinytrace.analysis.findings.finding import Confidence, Finding
from tinytrace.analysis.memory_report import MemoryReport, memory_report
from tinytrace.analysis.op_parts import LEAF, UNFINISHED, OpParts, op_parts
from tinytrace.analysis.op_results import new_bytes_of
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.places import function_name
from tinytrace.analysis.roofline import Judged, PartRoofs
from tinytrace.analysis.signature_roofs import SignatureRoofs, call_roofs
from tinytrace.analysis.spans import op_tree
from tinytrace.analysis.stack_times import (
    LIBRARIES,
    StackTimes,
    Whose,
    calling_frames,
    whose_stacks,
)
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.records import Flag
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Longer pauses between two ops are other work: Python that prepares the next one takes a few µs.
MAX_BETWEEN_NS = 50_000
# A call that takes that many times as long as the others like it on average was held up: by the system, by
# another program, by the first touch of memory. Calls on the same shapes differ by a few times at most.
HELD_UP = 20
RUNNING = 0.1  # of its time a function that computes has a CPU, even where ten programs share one


@dataclass(frozen=True, eq=False)
class Site:
    """Ops that were called from one line, or from one function.

    Attributes:
        frame: the place at which most of their time was spent, a row of ``Trace.frames``.
        function_id: the function, see `Case.function_of`.
        parts: rows of the parts.
        self_ns, calls: of these ops.
    """

    frame: int
    function_id: int
    parts: Ints
    self_ns: int
    calls: int


class Case:
    """A trace, and what several rules want to know of it.

    Args:
        trace: any trace.
        parts: of the trace, if they are there already.
        roofs, memory: likewise.

    Attributes:
        parts: its ops, calls that are alike added up; their self time is `steady_ns`.
        peaks: the roofs of its machine; None: not known.
        wall_ns: the time of the run that was not spent importing modules: what ceilings are shares of.
    """

    def __init__(
        self,
        trace: Trace,
        parts: OpParts | None = None,
        roofs: SignatureRoofs | None = None,
        memory: MemoryReport | None = None,
    ) -> None:
        self.trace = trace
        self._roofs, self._memory = roofs, memory
        parts = op_parts(count_trace(trace)) if parts is None else parts
        self.parts: OpParts = replace(parts, self_ns=steady_ns(parts))
        self.peaks = Peaks.of(trace)
        imports_ns = StackTimes(trace).import_ns if len(trace.frames) else 0
        whole_ns = trace.end_ns - trace.start_ns
        self.wall_ns = max(1, whole_ns - imports_ns) if imports_ns < whole_ns else max(1, whole_ns)

    @cached_property
    def memory(self) -> MemoryReport:
        """What is known of its memory."""
        if self._memory is None:
            return memory_report(self.trace, counts=self.parts.counts)
        return self._memory

    @cached_property
    def devices(self) -> DeviceCase | None:
        """What ran on devices; None: nothing did."""
        work = device_work(self.trace)
        return None if work is None else DeviceCase(self.parts.counts, work)

    @cached_property
    def thread(self) -> int | None:
        """The main thread."""
        return main_thread(self.trace)

    @cached_property
    def function_of(self) -> Ints:
        """Per frame the number of its function: frames of one name in one file share it."""
        frames = self.trace.frames
        return group_ids([frames.name_id, frames.file_id])[0]

    @cached_property
    def n_functions(self) -> int:
        """How many functions."""
        return int(self.function_of.max(initial=-1)) + 1

    @cached_property
    def sited(self) -> Mask:
        """Per part: its call site is known."""
        return np.asarray(self.parts.callsite_id >= 0)

    @cached_property
    def leaf(self) -> Mask:
        """Per part: no op ran inside these calls, they ended normally, and their site and signature are known."""
        normal = self.parts.state & (LEAF | UNFINISHED) == LEAF
        return np.asarray(normal & self.sited & (self.parts.signature_id >= 0))

    @cached_property
    def op(self) -> NDArray[np.str_]:
        """Per part the name of its op."""
        names = np.array([*self.trace.strings, ""], dtype=object)
        return np.asarray(names[self.parts.name_id], dtype=object)

    @cached_property
    def roofs(self) -> PartRoofs:
        """Least times."""
        return PartRoofs(self.parts, self.peaks, self._roofs)

    @cached_property
    def judged(self) -> Judged:
        """Verdict per part."""
        return self.roofs.judged(np.arange(len(self.parts)), len(self.parts))

    def signature(self, part: int) -> Signature:
        """The signature of a part."""
        return self.trace.signatures[int(self.parts.signature_id[part])]

    def where(self, test: Callable[[Signature], bool]) -> Mask:
        """Per part: a leaf op whose signature passes a test."""
        passed = np.array([*(test(s) for s in self.trace.signatures), False], "?")
        return np.asarray(self.leaf & passed[self.parts.signature_id])

    @cached_property
    def new_bytes(self) -> Ints:
        """Per part the bytes of new arrays that one call returned."""
        return np.asarray(new_bytes_of(self.parts.counts)[self.parts.signature_id], "i8")

    def sites(self, mask: Mask, *, by: str = "line") -> list[Site]:
        """Parts of a mask by the line, or the function, that they were called from; most self time first."""
        frames, parts = self.trace.frames, self.parts
        rows = np.flatnonzero(mask & self.sited)
        if not len(rows):
            return []
        site = parts.callsite_id[rows]
        columns = [self.function_of[site]] + ([frames.line[site]] if by == "line" else [])
        ids, n = group_ids(columns)
        spent_ns = sums(ids, n, parts.self_ns[rows])
        calls = sums(ids, n, parts.calls[rows])
        found = []
        for i in np.argsort(-spent_ns, kind="stable").tolist():
            mine = rows[ids == i]
            most = int(parts.callsite_id[mine[np.argmax(parts.self_ns[mine])]])
            function_id = int(self.function_of[most])
            found.append(Site(most, function_id, mine, int(spent_ns[i]), int(calls[i])))
        return found

    def verdicts(self, groups: Sequence[Site]) -> Judged:
        """Verdict per site, of its parts together; parts of none are in a last group of their own."""
        ids = np.full(len(self.parts), len(groups))
        for number, group in enumerate(groups):
            ids[group.parts] = number
        return self.roofs.judged(ids, len(groups) + 1)

    def least_ns(self, signature: Signature) -> float:
        """What a call would take at its roof; 0 where that is not known: a bound all the same."""
        roofs = call_roofs(signature, count(signature), self.peaks)
        times = (roofs.compute_ns, roofs.evaluate_ns, roofs.memory_ns)
        return max((t for t in times if not math.isnan(t)), default=0.0)

    @cached_property
    def part_least_ns(self) -> Floats:
        """Per part what all its calls would take at their roofs; 0 where that is not known."""
        signatures = self.roofs.roofs
        columns = (signatures.compute_ns, signatures.evaluate_ns, signatures.memory_ns)
        each = np.nan_to_num(np.fmax(np.fmax(columns[0], columns[1]), columns[2]))
        return np.asarray(each[self.parts.signature_id] * self.parts.leaves, "f8")

    def between_ns(self, functions: Ints) -> int:
        """Return the time between ops of these functions that follow one another; exact, pauses left out.

        Samples are blind to it where no op lets another thread run.
        """
        before, after, gap_ns = self._gaps
        chosen = np.zeros(self.n_functions + 1, "?")
        chosen[functions] = True
        return int(gap_ns[chosen[before] & chosen[after]].sum())

    @cached_property
    def _gaps(self) -> tuple[Ints, Ints, Ints]:
        """Function before, function after (−1: not known), and length of each short gap between outermost ops."""
        spans, rows = self.trace.spans, self.parts.rows
        outer = op_tree(spans)[rows] == rows
        rows = rows[outer & (spans.flags[rows] & Flag.DETACHED == 0)]
        function = np.append(self.function_of, -1)[spans.callsite_id[rows]]
        end_ns = spans.start_ns[rows] + spans.dur_ns[rows]
        gap_ns = spans.start_ns[rows[1:]] - end_ns[:-1]
        short = (gap_ns > 0) & (gap_ns <= MAX_BETWEEN_NS)
        short &= spans.thread[rows[1:]] == spans.thread[rows[:-1]]
        return function[:-1][short], function[1:][short], gap_ns[short]

    def told(self, section: str, name: str) -> int | None:
        """Return a whole number, at least 1, of the trace's metadata; None: there is no such."""
        facts = self.trace.meta.get(section)
        value = facts.get(name) if isinstance(facts, dict) else None
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**20
        return value if whole else None

    @cached_property
    def elements(self) -> int:
        """How many single elements of arrays were read or written; 0 where the trace does not tell."""
        audit = self.trace.meta.get("audit")
        told = audit.get("skipped_elements") if isinstance(audit, dict) else None
        return told if isinstance(told, int) and not isinstance(told, bool) else 0

    @cached_property
    def program_samples(self) -> Mask:
        """Per sample: the program's code ran, or a library for it."""
        samples = self.trace.samples
        mine = np.asarray(samples.stack_id >= 0)
        mine[mine] = whose_stacks(self.trace)[samples.stack_id[mine]] == Whose.PROGRAM
        return mine

    @cached_property
    def gap_ns(self) -> Ints:
        """Per sample of the program's code the time between ops that it stands for; other samples: 0."""
        return np.where(self.program_samples, between_ops_ns(self.trace), 0)

    @cached_property
    def sample_frame(self) -> Ints:
        """Per sample the innermost frame of the program, else (of a library alone) outside NumPy; −1: none."""
        if not len(self.trace.stacks):
            return np.full(len(self.trace.samples), -1)
        own = self.innermost(~self.is_library)
        frame = np.where(own >= 0, own, calling_frames(self.trace))
        return np.append(frame, -1)[self.trace.samples.stack_id]

    @cached_property
    def is_library(self) -> Mask:
        """Per string, and one more for "not known": as a file it is one of a library."""
        files = [text.replace("\\", "/") for text in self.trace.strings]
        inside = [file.startswith("<") or any(part in file for part in LIBRARIES) for file in files]
        return np.array([*inside, False], "?")

    def innermost(self, files: Mask) -> Ints:
        """Return per stack the innermost frame in one of these files; −1: none.

        Args:
            files: per string and one more, as `is_library`.
        """
        frame = self.trace.stacks.frame_id.astype("i8")
        parent = self.trace.stacks.parent.astype("i8")
        matches = files[self.trace.frames.file_id[frame]]
        found = np.full(len(parent), -1)
        rows = up = np.arange(len(parent))
        while len(rows):
            found[rows[matches[up]]] = frame[up[matches[up]]]
            rows, up = rows[~matches[up]], parent[up[~matches[up]]]
            rows, up = rows[up >= 0], up[up >= 0]
        return found

    def callers_of(self, modules: re.Pattern[str]) -> Ints:
        """Return per stack the innermost frame of the program, if a module was called from there; −1: none was.

        Args:
            modules: matches the files of such modules.
        """
        files = [text.replace("\\", "/") for text in self.trace.strings]
        inside = np.array([*(bool(modules.search(file)) for file in files), False], "?")
        program = ~(self.is_library | inside)
        # What a stack has innermost, of these two sorts of files, tells: such a module, or the program.
        first = self.innermost(inside | program)
        called = (first >= 0) & inside[self.trace.frames.file_id[first]]
        return np.where(called, self.innermost(program), -1)

    @cached_property
    def python_ns(self) -> Ints:
        """Per function the time between ops, sampled; 0 for a function that waits most of that time.

        On a busy machine a thread that computes stands still now and then: time in which it was held up
        counts. One that sleeps, or reads from a disk, hardly uses its CPU at all.
        """
        samples = self.trace.samples
        known = (samples.cpu_ns >= 0) & (self.gap_ns > 0)
        ran_ns = self._per_function(np.where(known, samples.cpu_ns, 0))
        known_ns = self._per_function(np.where(known, samples.weight_ns, 0))
        return np.where(ran_ns < RUNNING * known_ns, 0, self._per_function(self.gap_ns))

    @cached_property
    def python_samples(self) -> Ints:
        """Per function how many samples stand for Python between ops, at least half of their time.

        A thread that had no CPU since the sample before is where it was: such samples are no further observation of
        what it does, however many are taken while other programs hold it up.
        """
        samples = self.trace.samples
        mine = (self.gap_ns > 0) & (2 * self.gap_ns >= samples.weight_ns)
        mine &= (samples.cpu_ns < 0) | (samples.cpu_ns >= RUNNING * samples.weight_ns)
        return self._per_function(mine.astype("i8"))

    def _per_function(self, values: Ints) -> Ints:
        known = self.sample_frame >= 0
        return sums(self.function_of[self.sample_frame[known]], self.n_functions, values[known])

    def is_function(self, ids: Ints) -> Mask:
        """Whether these are numbers of functions (of parts without a call site they are not)."""
        return np.asarray((ids >= 0) & (ids < self.n_functions), "?")

    def hottest_frame(self, function_id: int) -> int:
        """The frame of a function with most Python between ops; −1: no sample was taken in it."""
        frame = self.sample_frame
        mine = (frame >= 0) & (self.function_of[frame] == function_id)
        if not mine.any():
            return -1
        line = self.trace.frames.line
        ids, n = group_ids([line[frame[mine]]])
        most = np.argmax(sums(ids, n, self.gap_ns[mine]))
        return int(frame[mine][ids == most][0])

    def function(self, frame: int) -> str:
        """The name of a frame's function, for a sentence."""
        return function_name(self.trace, frame) or "a function without a name"

    def finding(
        self,
        rule: str,
        frame: int,
        title: str,
        *,
        evidence: Sequence[str],
        ceiling_ns: float | None,
        confidence: Confidence,
        why: str,
        remedy: str,
        code: str,
        parts: Ints | None = None,
    ) -> Finding:
        """Make a finding at a frame; ``parts``: the calls that rewrites of its rule are about."""
        frames, text = self.trace.frames, self.trace.strings
        file_id = int(frames.file_id[frame]) if frame >= 0 else -1
        ceiling = None if ceiling_ns is None else max(0, int(ceiling_ns))
        return Finding(
            id="",
            rule=rule,
            title=title,
            file=text[file_id] if file_id >= 0 else None,
            line=int(frames.line[frame]) if frame >= 0 else 0,
            function=function_name(self.trace, frame),
            evidence=tuple(evidence),
            ceiling_ns=ceiling,
            ceiling_share=min(1.0, (ceiling or 0) / self.wall_ns),
            confidence=confidence,
            why_confidence=why,
            remedy=remedy,
            code=code,
            calls=() if parts is None else self._calls(parts),
        )

    def _calls(self, parts: Ints) -> tuple[tuple[int, int], ...]:
        pairs = zip(self.parts.signature_id[parts], self.parts.callsite_id[parts], strict=True)
        return tuple(sorted({(int(signature), int(frame)) for signature, frame in pairs}))


def steady_ns(parts: OpParts) -> Ints:
    """Return the self time of parts, in which the longest call counts as the others where it was held up.

    What happens once cannot be won by writing an op differently, and in a short run it may be most of the time.
    """
    longest_ns = np.zeros(len(parts), "i8")
    np.maximum.at(longest_ns, parts.part_of, parts.trace.spans.dur_ns[parts.rows])
    alike_ns = (parts.total_ns - longest_ns) / np.maximum(parts.calls - 1, 1)
    stalled = (parts.calls > 2) & ~parts.outer & (longest_ns > HELD_UP * alike_ns)
    steady = np.where(stalled, parts.self_ns - longest_ns + alike_ns, parts.self_ns)
    return np.maximum(steady, 0).astype("i8")

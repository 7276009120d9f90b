"""Stack samples for Perfetto, twice: as `PerfSample` packets, and drawn as a flame chart.

Perfetto's flame graph counts `PerfSample` packets, and knows no weights. Snapshots counted as they came give
wrong shares (they come late while C code holds the interpreter's lock, `docs/benchmarks.md`). So each packet stands for
the same time: there is one for every *period* of the time that the snapshots of a thread stand for, with the stack of
the snapshot that stands for that moment. The flame chart has the exact weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tinytrace.exporters.chrome_text import UNKNOWN, shown
from tinytrace.exporters.flame_chart import Slice, changes, name_of, place_of
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence, packet
from tinytrace.exporters.perfetto_tracks import LEVELS, FileTracks
from tinytrace.exporters.perfetto_wire import (
    INTERPRETED_FRAME,
    NUMBER_WIDTH,
    USER_MODE,
    Callstack,
    EventType,
    Frame,
    InternedData,
    Mapping,
    PerfSample,
    PerfSampleDefaults,
    Timebase,
    TracePacket,
    TracePacketDefaults,
    TrackEvent,
    bits_width,
    field,
    fill,
    padded,
    template,
    varint,
)
from tinytrace.tracer.groups import numbered
from tinytrace.tracer.trace import Samples, Trace

SAMPLES_PER_PIECE = 10_000
SLICES_PER_PIECE = 10_000
MOST_PACKETS = 4  # per snapshot, on average
CATEGORY = "samples"
Ints = NDArray[np.int64]


def sample_packets(trace: Trace, numbering: Numbering, tracks: FileTracks) -> Iterator[bytes]:
    """Yield the samples in pieces, thread by thread."""
    bounds = np.searchsorted(trace.samples.thread, np.arange(len(trace.threads) + 1)).tolist()
    for thread, (first, end) in enumerate(itertools.pairwise(bounds)):
        samples = trace.samples.take(slice(first, end))
        samples = samples.take(samples.stack_id >= 0)
        if len(samples):
            yield from _profile(trace, samples, numbering, tracks, thread)
            yield from _chart(trace, samples, numbering, tracks, thread)


def sample_period_ns(trace: Trace) -> int:
    """Return the time that a `PerfSample` stands for; 0: there are none.

    The median of what snapshots stand for, unless that gave more than `MOST_PACKETS` packets per snapshot: a few
    that stand for long would be repeated too often.
    """
    weight_ns = trace.samples.weight_ns[trace.samples.stack_id >= 0]
    total_ns = int(weight_ns.sum())
    if total_ns <= 0:
        return 0
    least_ns = -(-total_ns // (MOST_PACKETS * len(weight_ns)))
    return max(1, int(np.median(weight_ns)), least_ns)


def equal_shares(samples: Samples, period_ns: int) -> tuple[Ints, Ints]:
    """Return moments that are a period apart in the time that snapshots stand for: when, and the snapshot.

    Args:
        samples: of one thread, in order of time.
        period_ns: positive.

    Returns:
        (n,) times, and (n,) rows of the samples. n is the sum of the weights by the period, rounded.
    """
    until_ns = np.cumsum(np.maximum(samples.weight_ns, 0))
    n = (2 * int(until_ns[-1]) + period_ns) // (2 * period_ns)
    at_ns = period_ns * np.arange(n, dtype="i8") + period_ns // 2
    at_ns = np.minimum(at_ns, max(int(until_ns[-1]) - 1, 0))
    rows = np.searchsorted(until_ns, at_ns, side="right")
    return samples.t_ns[rows] - (until_ns[rows] - at_ns), rows


def _profile(
    trace: Trace, samples: Samples, numbering: Numbering, tracks: FileTracks, thread: int
) -> Iterator[bytes]:
    period_ns = sample_period_ns(trace)
    if not period_ns:
        return
    # The importer draws a counter of what it takes for the clock of the samples: that it be a true one.
    clock = field(Timebase.PERIOD, period_ns)
    clock += field(Timebase.NAME, f"{tracks.thread_name(thread)}: ns in samples so far")
    sample = field(PerfSampleDefaults.TIMEBASE, clock)
    sequence = Sequence(numbering, field(TracePacketDefaults.PERF_SAMPLE_DEFAULTS, sample))
    stacks = _Stacks(trace, sequence)
    t_ns, rows = equal_shares(samples, period_ns)
    so_far_ns = period_ns * np.arange(1, len(rows) + 1, dtype="i8")
    width = bits_width(period_ns * len(rows))
    fields = field(PerfSample.PID, tracks.ids.thread_pids[thread])
    fields += field(PerfSample.TID, tracks.ids.thread_tids[thread])
    fields += field(PerfSample.CPU_MODE, USER_MODE)
    fields += varint(PerfSample.CALLSTACK_IID << 3)
    count = np.frombuffer(varint(PerfSample.TIMEBASE_COUNT << 3), "u1")
    one = template(
        numbering.time_width, sequence.head, TracePacket.PERF_SAMPLE, b"",
        number=fields, number_width=NUMBER_WIDTH + len(count) + width,
    )  # fmt: skip
    for first in range(0, len(rows), SAMPLES_PER_PIECE):
        piece = slice(first, first + SAMPLES_PER_PIECE)
        numbers = padded(stacks.numbers(samples.stack_id[rows[piece]]), NUMBER_WIDTH)
        tags = np.broadcast_to(count, (len(numbers), len(count)))
        hole = np.concatenate([numbers, tags, padded(so_far_ns[piece], width)], axis=1)
        packets = fill([one], np.zeros(len(numbers), "i8"), numbering.times(t_ns[piece]), hole)
        yield sequence.take() + packets


class _Stacks:
    """Interns stacks, frames and files."""

    def __init__(self, trace: Trace, sequence: Sequence) -> None:
        self._trace = trace
        self.sequence = sequence

    def numbers(self, stack_ids: Ints) -> Ints:
        """Return the number of each stack."""
        if self.sequence.full:
            self.sequence.forget()
        first, index = numbered(stack_ids)
        found = [self._stack(stack_id) for stack_id in stack_ids[first].tolist()]
        return np.array(found, "i8")[index]

    def _stack(self, stack_id: int) -> int:
        known = self.sequence.known(InternedData.CALLSTACKS, stack_id)
        if known is not None:
            return known
        frames, at = [], stack_id
        while at >= 0:
            frames.append(self._frame(int(self._trace.stacks.frame_id[at])))
            at = int(self._trace.stacks.parent[at])
        content = b"".join(field(Callstack.FRAME_IDS, frame) for frame in reversed(frames))
        return self.sequence.intern_as(InternedData.CALLSTACKS, stack_id, content)

    def _frame(self, frame_id: int) -> int:
        sequence, frames, strings = self.sequence, self._trace.frames, self._trace.strings
        known = sequence.known(InternedData.FRAMES, frame_id)
        if known is not None:
            return known
        name_id, file_id = int(frames.name_id[frame_id]), int(frames.file_id[frame_id])
        line = max(0, int(frames.line[frame_id]))
        name = strings[name_id] if name_id >= 0 else UNKNOWN
        path = strings[file_id] if file_id >= 0 else UNKNOWN
        content = field(Frame.FUNCTION_NAME_ID, sequence.intern(InternedData.FUNCTION_NAMES, name))
        content += field(Frame.MAPPING_ID, self._mapping(path))
        content += field(Frame.REL_PC, line)  # by which frames of one function are told apart
        content += field(Frame.SOURCE_PATH_IID, sequence.intern(InternedData.SOURCE_PATHS, path))
        content += field(Frame.LINE_NUMBER, line) + field(Frame.KIND, INTERPRETED_FRAME)
        return sequence.intern_as(InternedData.FRAMES, frame_id, content)

    def _mapping(self, path: str) -> int:
        """The importer puts a slash before each part of a path."""
        part = self.sequence.intern(InternedData.MAPPING_PATHS, path.removeprefix("/"))
        return self.sequence.intern_as(
            InternedData.MAPPINGS, part, field(Mapping.PATH_STRING_IDS, part)
        )


def _chart(
    trace: Trace, samples: Samples, numbering: Numbering, tracks: FileTracks, thread: int
) -> Iterator[bytes]:
    uuid, description = tracks.samples(thread)
    sequence = Sequence.of_track(numbering, uuid)
    out, deeper = [description], _Deeper(tracks, thread)
    for change in changes(trace, samples, 0):
        at = field(TracePacket.TIMESTAMP, max(0, change.t_ns - numbering.epoch_ns))
        for one in reversed(change.closed):
            out.append(_event(sequence, at, deeper.track(one) + _end(trace, sequence, one)))
        for one in change.opened:
            out.append(deeper.description(one))
            out.append(_event(sequence, at, deeper.track(one) + _begin(trace, sequence, one)))
        if len(out) >= SLICES_PER_PIECE:
            yield sequence.take() + b"".join(out)
            out.clear()
            if sequence.full:
                sequence.forget()
    yield sequence.take() + b"".join(out)


class _Deeper:
    """Tracks for slices that are too deep for that of the flame chart."""

    def __init__(self, tracks: FileTracks, thread: int) -> None:
        self._tracks = tracks
        self._thread = thread
        self._fields: dict[int, bytes] = {0: b""}

    def description(self, one: Slice) -> bytes:
        """Return what describes the track of a slice, if it is new."""
        level = one.depth // LEVELS
        if level in self._fields:
            return b""
        uuid, description = self._tracks.deeper(self._thread, level)
        self._fields[level] = field(TrackEvent.TRACK_UUID, uuid)
        return description

    def track(self, one: Slice) -> bytes:
        """Return the field that names the track of a slice, if it is not the usual one."""
        return self._fields[one.depth // LEVELS]


def _event(sequence: Sequence, at: bytes, fields: bytes) -> bytes:
    return packet(at + sequence.head + field(TracePacket.TRACK_EVENT, fields))


def _begin(trace: Trace, sequence: Sequence, one: Slice) -> bytes:
    category = sequence.intern(InternedData.EVENT_CATEGORIES, CATEGORY)
    name = sequence.intern(InternedData.EVENT_NAMES, name_of(trace, one))
    return (
        field(TrackEvent.TYPE, EventType.SLICE_BEGIN)
        + field(TrackEvent.CATEGORY_IIDS, category)
        + field(TrackEvent.NAME_IID, name)
    )


def _end(trace: Trace, sequence: Sequence, one: Slice) -> bytes:
    """The lines are known at the end only."""
    argument = sequence.annotation("at", shown(place_of(trace, one)), once=True)
    return field(TrackEvent.TYPE, EventType.SLICE_END) + field(
        TrackEvent.DEBUG_ANNOTATIONS, argument
    )

"""Sequences of Perfetto packets: their numbers and clocks, and the texts that they hold once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.exporters.chrome_text import shown
from tinytrace.exporters.perfetto_wire import (
    MONOTONIC,
    REALTIME,
    Bytes,
    Clock,
    ClockSnapshot,
    DebugAnnotation,
    EventName,
    InternedData,
    SourceLocation,
    TracePacket,
    TracePacketDefaults,
    TrackEventDefaults,
    bits_width,
    field,
    padded,
)
from tinytrace.exporters.perfetto_wire import Trace as File
from tinytrace.tracer.trace import Trace

MAX_INTERNED = 100_000  # texts that a sequence remembers; then it begins anew
OWN_CLOCK = (
    64  # the first one of those that are a sequence's own: times since the beginning of the trace
)
BEGINS, NEEDS_STATE = (
    1,
    2,
)  # TracePacket.SequenceFlags: what was interned before is forgotten, is used


def packet(content: bytes) -> bytes:
    """Return a packet as it stands in the file."""
    return field(File.PACKET, content)


class Numbering:
    """What is numbered throughout a file: tracks, sequences, arrows; and its times.

    Numbers differ from those of other traces, so that files may be joined to one (``cat a.pftrace b.pftrace``);
    and are the same whenever the same trace is written.

    Attributes:
        epoch_ns: CLOCK_MONOTONIC where times of the file are 0.
        time_width: bytes of a time.
    """

    def __init__(self, trace: Trace) -> None:
        self.epoch_ns = max(0, trace.start_ns)
        self.time_width = bits_width(max(0, trace.end_ns - self.epoch_ns))
        self._unix_ns = _unix_ns(trace)
        identity = hashlib.blake2b(digest_size=16)
        for table in (trace.processes, trace.threads):
            for _, column in table.columns():
                identity.update(column.tobytes())
        identity.update(b"%d %d" % (trace.start_ns, trace.end_ns))
        number = int.from_bytes(identity.digest(), "little")
        self._uuid = number % 2**38 << 24  # 9 bytes as a varint
        self._sequence = (number >> 64) % 2**27  # 4 bytes

    def uuid(self) -> int:
        """Return a number for a track or an arrow."""
        self._uuid += 1
        return self._uuid

    def sequence_id(self) -> int:
        """Return a number for a sequence."""
        self._sequence += 1
        return self._sequence

    def clocks(self) -> bytes:
        """Return the snapshot of the clocks at the epoch of the file, for one sequence."""
        clocks = {MONOTONIC: self.epoch_ns, OWN_CLOCK: 0}
        if self._unix_ns is not None:
            clocks[REALTIME] = self._unix_ns
        content = b"".join(
            field(ClockSnapshot.CLOCKS, field(Clock.CLOCK_ID, clock) + field(Clock.TIMESTAMP, t_ns))
            for clock, t_ns in clocks.items()
        )
        return content + field(ClockSnapshot.PRIMARY_TRACE_CLOCK, MONOTONIC)

    def times(self, t_ns: NDArray[np.int64]) -> Bytes:
        """Return times as they are written: (n, time_width)."""
        return padded(np.maximum(t_ns - self.epoch_ns, 0), self.time_width)


def _unix_ns(trace: Trace) -> int | None:
    """The time of day, since 1970, at the epoch of the file; None: not known."""
    start_ns, unix_ns = trace.meta.get("start_ns"), trace.meta.get("start_unix_ns")
    if type(start_ns) is not int or type(unix_ns) is not int:
        return None
    at_epoch = unix_ns + max(0, trace.start_ns) - start_ns
    return at_epoch if 0 < at_epoch < 2**63 else None


class Sequence:
    """Packets that share texts, a clock, and perhaps a track.

    Args:
        numbering: of the file.
        defaults: fields of `TracePacketDefaults`.
    """

    def __init__(self, numbering: Numbering, defaults: bytes = b"") -> None:
        self._numbering = numbering
        number = field(TracePacket.TRUSTED_PACKET_SEQUENCE_ID, numbering.sequence_id())
        self.head = number + field(TracePacket.SEQUENCE_FLAGS, NEEDS_STATE)
        defaults += field(TracePacketDefaults.TIMESTAMP_CLOCK_ID, OWN_CLOCK)
        begin = number + field(TracePacket.SEQUENCE_FLAGS, BEGINS)
        self._opening = (
            packet(
                begin
                + field(TracePacket.TIMESTAMP, numbering.epoch_ns)
                + field(TracePacket.TIMESTAMP_CLOCK_ID, MONOTONIC)
                + field(TracePacket.CLOCK_SNAPSHOT, numbering.clocks())
            )
            + packet(begin + field(TracePacket.TRACE_PACKET_DEFAULTS, defaults))
        )  # fmt: skip
        self._numbers: dict[tuple[int, Any], int] = {}
        self._new = [self._opening]

    @classmethod
    def of_track(cls, numbering: Numbering, uuid: int) -> Sequence:
        """Return a sequence of events that are on this track unless they say otherwise."""
        track = field(TrackEventDefaults.TRACK_UUID, uuid)
        return cls(numbering, field(TracePacketDefaults.TRACK_EVENT_DEFAULTS, track))

    def intern(self, kind: InternedData, text: str) -> int:
        """Return the number of a text, which is written beforehand when it is new."""
        return self.intern_as(kind, text, field(EventName.NAME, shown(text)))

    def intern_as(self, kind: InternedData, key: Any, content: bytes) -> int:
        """Return the number of a message, given its fields but the number."""
        number = self._numbers.get((kind, key))
        if number is None:
            number = self._numbers[kind, key] = len(self._numbers) + 1
            entry = field(kind, field(EventName.IID, number) + content)
            self._new.append(packet(self.head + field(TracePacket.INTERNED_DATA, entry)))
        return number

    def known(self, kind: InternedData, key: Any) -> int | None:
        """Return the number of what was interned under a key; None: nothing was."""
        return self._numbers.get((kind, key))

    def location(self, trace: Trace, frame_id: int) -> int:
        """Return the number of a place in code."""
        known = self.known(InternedData.SOURCE_LOCATIONS, frame_id)
        if known is not None:
            return known
        frames = trace.frames
        name_id, file_id = int(frames.name_id[frame_id]), int(frames.file_id[frame_id])
        content = b""
        if file_id >= 0:
            content += field(SourceLocation.FILE_NAME, shown(trace.strings[file_id]))
        if name_id >= 0:
            content += field(SourceLocation.FUNCTION_NAME, shown(trace.strings[name_id]))
        line = int(frames.line[frame_id])
        content += field(SourceLocation.LINE_NUMBER, line) if line > 0 else b""
        return self.intern_as(InternedData.SOURCE_LOCATIONS, frame_id, content)

    def annotation(self, name: str, value: Any, *, once: bool = False) -> bytes:
        """Return the fields of an argument.

        Args:
            name: of it.
            value: as `shown_value` makes them.
            once: its texts are few: they are interned.
        """
        named = field(
            DebugAnnotation.NAME_IID, self.intern(InternedData.DEBUG_ANNOTATION_NAMES, name)
        )
        return named + self._value(value, once)

    def _value(self, value: Any, once: bool) -> bytes:
        if isinstance(value, dict) and value:
            return b"".join(
                field(DebugAnnotation.DICT_ENTRIES, self.annotation(name, item, once=once))
                for name, item in value.items()
            )
        if isinstance(value, list) and value:
            return b"".join(
                field(DebugAnnotation.ARRAY_VALUES, self._value(item, once)) for item in value
            )
        if isinstance(value, bool):
            return field(DebugAnnotation.BOOL_VALUE, value)
        if isinstance(value, int):
            return field(DebugAnnotation.INT_VALUE, value)
        if isinstance(value, float):
            return field(DebugAnnotation.DOUBLE_VALUE, value)
        # The viewer shows nothing where there is nothing in a list, and knows no null.
        text = value if isinstance(value, str) else "null" if value is None else str(value)
        if once:
            number = self.intern(InternedData.DEBUG_ANNOTATION_STRING_VALUES, text)
            return field(DebugAnnotation.STRING_VALUE_IID, number)
        return field(DebugAnnotation.STRING_VALUE, text)

    def take(self) -> bytes:
        """Return what must come before the packets that use it."""
        new, self._new = b"".join(self._new), []
        return new

    @property
    def full(self) -> bool:
        """Whether so much is interned that it is time to `forget`."""
        return len(self._numbers) > MAX_INTERNED

    def forget(self) -> None:
        """Forget all that is interned: numbers handed out before are none any more."""
        self._numbers.clear()
        self._new = [self._opening]

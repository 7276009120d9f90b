"""Protobuf by hand: the fields of Perfetto's messages that we write, and how their bytes are made.

Not by the package ``perfetto``: its module of messages takes 0.4 s to import, and an object per event is
several times too slow (``benchmarks/export_speed.py``). A test holds the numbers here together with that
package's schema.

Most packets differ from others in a few numbers only. So a `Template` is rendered once, with holes of a fixed width,
and `fill` makes many packets of templates at once: a varint may be longer than it needs to be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
NUMBER_WIDTH = 5  # of a varint that holds 31 bits


class Trace(IntEnum):
    """The file: a sequence of packets."""

    PACKET = 1


class TracePacket(IntEnum):
    """What everything is wrapped in."""

    CLOCK_SNAPSHOT = 6
    TIMESTAMP = 8
    TRUSTED_PACKET_SEQUENCE_ID = 10
    TRACK_EVENT = 11
    INTERNED_DATA = 12
    SEQUENCE_FLAGS = 13
    SYSTEM_INFO = 45
    TIMESTAMP_CLOCK_ID = 58
    TRACE_PACKET_DEFAULTS = 59
    TRACK_DESCRIPTOR = 60
    PERF_SAMPLE = 66


class TracePacketDefaults(IntEnum):
    """Of the packets of a sequence."""

    TRACK_EVENT_DEFAULTS = 11
    PERF_SAMPLE_DEFAULTS = 12
    TIMESTAMP_CLOCK_ID = 58


class PerfSampleDefaults(IntEnum):
    """Likewise."""

    TIMEBASE = 1


class Timebase(IntEnum):
    """``PerfEvents.Timebase``: when a sample is taken."""

    PERIOD = 1
    NAME = 10


class TrackEventDefaults(IntEnum):
    """Likewise."""

    TRACK_UUID = 11


class ClockSnapshot(IntEnum):
    """One moment, on several clocks."""

    CLOCKS = 1
    PRIMARY_TRACE_CLOCK = 2


class Clock(IntEnum):
    """``ClockSnapshot.Clock``."""

    CLOCK_ID = 1
    TIMESTAMP = 2


class SystemInfo(IntEnum):
    """The machine."""

    UTSNAME = 1
    NUM_CPUS = 8


class Utsname(IntEnum):
    """Its kernel."""

    SYSNAME = 1
    RELEASE = 3
    MACHINE = 4


class TrackDescriptor(IntEnum):
    """A track."""

    UUID = 1
    NAME = 2
    PROCESS = 3
    THREAD = 4
    PARENT_UUID = 5
    COUNTER = 8
    CHILD_ORDERING = 11
    SIBLING_ORDER_RANK = 12
    DESCRIPTION = 14


class ProcessDescriptor(IntEnum):
    """The track of a process."""

    PID = 1
    CMDLINE = 2
    LEGACY_SORT_INDEX = 3
    PROCESS_NAME = 6
    PROCESS_LABELS = 8


class ThreadDescriptor(IntEnum):
    """The track of a thread."""

    PID = 1
    TID = 2
    LEGACY_SORT_INDEX = 3
    THREAD_NAME = 5


class CounterDescriptor(IntEnum):
    """The track of a counter."""

    UNIT_NAME = 6


class TrackEvent(IntEnum):
    """Something on a track."""

    CATEGORY_IIDS = 3
    DEBUG_ANNOTATIONS = 4
    TYPE = 9
    NAME_IID = 10
    TRACK_UUID = 11
    SOURCE_LOCATION_IID = 34
    DOUBLE_COUNTER_VALUE = 44
    FLOW_IDS = 47
    TERMINATING_FLOW_IDS = 48


class DebugAnnotation(IntEnum):
    """An argument."""

    NAME_IID = 1
    BOOL_VALUE = 2
    INT_VALUE = 4
    DOUBLE_VALUE = 5
    STRING_VALUE = 6
    NAME = 10
    DICT_ENTRIES = 11
    ARRAY_VALUES = 12
    STRING_VALUE_IID = 17


class InternedData(IntEnum):
    """What later packets of a sequence refer to by number (iid)."""

    EVENT_CATEGORIES = 1
    EVENT_NAMES = 2
    DEBUG_ANNOTATION_NAMES = 3
    SOURCE_LOCATIONS = 4
    FUNCTION_NAMES = 5
    FRAMES = 6
    CALLSTACKS = 7
    MAPPING_PATHS = 17
    SOURCE_PATHS = 18
    MAPPINGS = 19
    DEBUG_ANNOTATION_STRING_VALUES = 29


class EventName(IntEnum):
    """Of `InternedData`: so are those of all other texts."""

    IID = 1
    NAME = 2


class SourceLocation(IntEnum):
    """Where in the code an event comes from."""

    IID = 1
    FILE_NAME = 2
    FUNCTION_NAME = 3
    LINE_NUMBER = 4


class Mapping(IntEnum):
    """A file that frames lie in."""

    IID = 1
    PATH_STRING_IDS = 7


class Frame(IntEnum):
    """A place in code."""

    IID = 1
    FUNCTION_NAME_ID = 2
    MAPPING_ID = 3
    REL_PC = 4
    SOURCE_PATH_IID = 5
    LINE_NUMBER = 6
    KIND = 7


class Callstack(IntEnum):
    """Frames, outermost first."""

    IID = 1
    FRAME_IDS = 2


class PerfSample(IntEnum):
    """A snapshot of a stack."""

    PID = 2
    TID = 3
    CALLSTACK_IID = 4
    CPU_MODE = 5
    TIMEBASE_COUNT = 6


class EventType(IntEnum):
    """``TrackEvent.Type``."""

    SLICE_BEGIN = 1
    SLICE_END = 2
    COUNTER = 4


INTERPRETED_FRAME = 3  # Frame.Kind.KIND_INTERPRETED
USER_MODE = 2  # Profiling.CpuMode.MODE_USER
EXPLICIT_ORDER = 3  # TrackDescriptor.ChildTracksOrdering.EXPLICIT
REALTIME, MONOTONIC = 1, 3  # BuiltinClock


def varint(number: int) -> bytes:
    """Return a number of up to 64 bits; a negative one as its two's complement.

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: float | str | bytes) -> bytes:
    """Return one field: an integer or a bool as a varint, a float as a double, anything else by its length.

    >>> field(TrackDescriptor.NAME, "a").hex(), field(TrackDescriptor.UUID, 7).hex()
    ('120161', '0807')
    """
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    # Perfetto cuts texts off where there is a NUL: its picture stands for it.
    content = value.replace("\0", "\u2400").encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def fixed64(number: int, value: int) -> bytes:
    """Return a field of eight bytes, as ids of flows are."""
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def bits_width(number: int) -> int:
    """Return how many bytes a varint of a number takes.

    >>> bits_width(127), bits_width(128)
    (1, 2)
    """
    return max(1, -(-int(number).bit_length() // 7))


def padded(numbers: NDArray[np.int64], width: int) -> Bytes:
    """Return numbers, not negative, as varints of a fixed width: (n, width).

    >>> padded(np.array([5, 300]), 2).tolist()
    [[133, 0], [172, 2]]
    """
    shifts = 7 * np.arange(width)
    parts: Bytes = ((numbers[:, None] >> shifts) & 127).astype("u1")
    parts[:, :-1] |= 128
    return parts


def doubles(values: NDArray[np.float64]) -> Bytes:
    """Return doubles as they are written: (n, 8)."""
    return np.ascontiguousarray(values, "<f8").view("u1").reshape(-1, 8)


class Template(NamedTuple):
    """A packet with holes.

    Attributes:
        text: the whole of it.
        time_at: where its timestamp is.
        number_at: where its number (of the step, of the stack; a counter's value) is; −1: it has none.
    """

    text: bytes
    time_at: int
    number_at: int = -1


def template(
    time_width: int,
    head: bytes,
    inside: int,
    body: bytes,
    *,
    number: bytes = b"",
    number_width: int = 0,
) -> Template:
    """Return a packet with a hole for its time, and perhaps one for a number.

    Args:
        time_width: bytes of the timestamp.
        head: fields of the packet.
        inside: the field of the packet, a message, that has the rest.
        body: its fields.
        number: another one of them: its tag, and those of the messages around it; it comes last.
        number_width: bytes of the number that follows.
    """
    body += number + bytes(number_width)
    before = head + varint(inside << 3 | 2) + varint(len(body))
    timestamp = varint(TracePacket.TIMESTAMP << 3)
    length = len(timestamp) + time_width + len(before) + len(body)
    start = varint(Trace.PACKET << 3 | 2) + varint(length) + timestamp
    text = start + bytes(time_width) + before + body
    return Template(text, len(start), len(text) - number_width if number_width else -1)


def fill(
    templates: Sequence[Template],
    index: NDArray[np.int64],
    times: Bytes,
    numbers: Bytes | None = None,
) -> bytes:
    """Return packets.

    Args:
        templates: of which they are made.
        index: (n,) the template of each.
        times: (n, width) what is put into the hole for the time.
        numbers: (n, width) what is put into the hole for the number, where there is one.
    """
    out = bytearray().join([templates[i].text for i in index.tolist()])
    length, time_at, number_at = (
        np.array([(len(t.text), t.time_at, t.number_at) for t in templates], "i8").reshape(-1, 3).T
    )
    lengths = length[index]
    begins = np.cumsum(lengths) - lengths
    view = np.frombuffer(out, "u1")
    view[(begins + time_at[index])[:, None] + np.arange(times.shape[1])] = times
    if numbers is not None:
        rows = np.flatnonzero(number_at[index] >= 0)
        at = begins[rows] + number_at[index[rows]]
        view[at[:, None] + np.arange(numbers.shape[1])] = numbers[rows]
    return bytes(out)

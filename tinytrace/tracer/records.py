"""The layout of everything in a run folder: one place, shared by both recorders and by the reader.

A run folder holds one folder per process, ``p<pid>-<n>/``, and in it

* ``tables.tt``: an append-only log of interned things (call sites, signatures, stacks, names…);
* ``<stream>-<thread>-<number>.seg``: segments, each a 64-byte header and fixed-size records, written
  through a shared memory map by exactly one thread. The kernel keeps what was written when the
  process dies. A record whose first word (its time) is 0 was never written;
* ``sums-<thread>.tt``: what became of span segments that were folded together (bounded disk).

Everything is little-endian. Times are CLOCK_MONOTONIC in integer nanoseconds.

The C core (``native/tt.h``) repeats these numbers; ``tests/tracer/test_records.py`` holds them together.

Format history:
    1: the first one.
    2: arrows between spans, in a stream of their own (``flows-0-<number>.seg``). The rest is as it was.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

FORMAT_VERSION = 2

TABLES_NAME = "tables.tt"
RESERVE_NAME = "reserve"  # space for the last entries of the tables, should the disk be full
RESERVE_BYTES = 65536
# What the files of a process may take, at least (`tracer.disk_limit`). Of a process with one thread: two shares
# of 0.5 MB; 0.2 MB; the segments that are never folded, open, or on their way, 0.7 MB; sums of 0.5 MB. That
# leaves as much again to fold.
MIN_DISK_LIMIT_BYTES = 4_000_000
TABLES_MAGIC = b"TTTABLE1"
ENTRY = struct.Struct("<IHH")  # bytes in all (with this head), Entry, 0; then the payload

SEGMENT_MAGIC = b"TTSEGMT1"
# magic, format version, stream, record size, capacity (records), thread index, segment number, pid,
# index in its thread of the first record, time of creation; then, in a segment that was folded and else 0:
# 1, number of the first segment that went into it (this one is the last), records that went into it. In a
# segment of spans: 0, label of the innermost LABELLED_OP that was open at its creation, index of that span
SEGMENT_HEADER = struct.Struct("<8sHHIIIIIQQIIQ")
SEGMENT_HEADER_BYTES = 64


class Stream(IntEnum):
    """What the records of a segment are."""

    SPANS = 1
    SAMPLES = 2
    COUNTERS = 3
    FLOWS = 4


STREAM_NAMES = {
    Stream.SPANS: "spans", Stream.SAMPLES: "samples", Stream.COUNTERS: "counters", Stream.FLOWS: "flows",
}  # fmt: skip

# start_ns, dur_ns, signature (ops) or label (everything else), site, distance back to the parent in
# this thread (0 = none), Kind, Flag, 0
SPAN = struct.Struct("<QQIIIBBH")
# t_ns, weight_ns, low half of the CPU time in it (ns; 0xFFFFFFFF = not known), thread index, stack, high half
SAMPLE = struct.Struct("<QQIIII")
# t_ns, value, series, 0, 0
COUNTER = struct.Struct("<QdIIQ")
# t_ns, the span that the arrow leaves and the one that it leads to (as `span_token` writes them), label, 0
FLOW = struct.Struct("<QQQII")
RECORD_BYTES = 32
TOKEN_THREAD_SHIFT = 40
CPU_NOT_KNOWN = 0xFFFFFFFF


def span_token(thread: int, index: int) -> int:
    """Return what stands for a span of this process, given its thread and its number in it; 0 is none.

    Example:
        >>> span_token(0, 0), hex(span_token(2, 5))
        (1, '0x20000000006')
    """
    return (thread << TOKEN_THREAD_SHIFT | index) + 1


def cpu_halves(cpu_ns: int) -> tuple[int, int]:
    """Return how a sample's CPU time is written, low and high half; −1: not known.

    Example:
        >>> cpu_halves(5), cpu_halves(2**32), cpu_halves(2**32 - 1), cpu_halves(-1)
        ((5, 0), (0, 1), (4294967294, 0), (4294967295, 0))
    """
    if cpu_ns < 0:
        return CPU_NOT_KNOWN, 0
    low = cpu_ns & 0xFFFFFFFF
    return low - (low == CPU_NOT_KNOWN), cpu_ns >> 32


# Folding bounds the disk. Samples and counters: one segment, or several in a row, are replaced by one with
# fewer records, written beside and renamed over the last of them before the others are deleted; so a reader
# drops the segments whose numbers a folded one covers. Samples: one per (thread, stack, on-CPU state), laid
# end to end up to the last of their thread. Counters: per series the first, least, greatest and last. Flows:
# none, since the spans that they join are folded as well; how many there were stays known.

# Spans: ``sums-<thread>.tt`` is a header, then as many records as it says, one per (signature, site, kind,
# enclosing op) of the folded segments of this thread. Each fold takes one segment: the whole file is written
# anew beside the old one, renamed over it, and only then is the segment deleted; so a segment whose number is
# "folded last" is in the sums already: a reader drops it.
SUMS_MAGIC = b"TTSUMMA1"
# magic, format version, segment number folded last, thread index, number of records, segments folded, 0
SUMS_HEADER = struct.Struct("<8sIIIIII")
SUMS_HEADER_BYTES = 32
# signature or label (0 for steps), site, Kind, label of the nearest LABELLED_OP around it (0 = none), count, ended
# normally, leaves, total_ns, self_ns, min_ns, max_ns, start_ns, end_ns: `trace.Aggregates` says what they mean
SUM = struct.Struct("<IIIIQQQQQQQQQ")
SUM_BYTES = 88
MAX_SUMS = 65536  # per thread; further groups are summed as (0, 0, kind, 0)


class Kind(IntEnum):
    """What a span is. The order is part of the format."""

    OP = 0
    SPAN = 1
    STEP = 2
    LAYER = 3
    FORWARD = 4
    BACKWARD = 5
    OPTIMIZER = 6
    DATA = 7
    INSTANT = 8
    LABELLED_OP = 9  # an op that the program names itself; in a `Trace` it is an OP with arguments


# Spans of frameworks, and what recording one costs in ops: callbacks in Python take 1.2 µs, an op 0.12 µs.
FRAMEWORK_KINDS = (Kind.LAYER, Kind.FORWARD, Kind.BACKWARD, Kind.OPTIMIZER)
FRAMEWORK_COST = 10


class Flag(IntFlag):
    """Bits of a span record."""

    OPEN = 1  # began and never ended: the process died, or recording stopped, inside it
    RAISED = 2  # ended by an exception
    DETACHED = 4  # does not nest with its thread's spans (a coroutine, a generator)


class Entry(IntEnum):
    """Entries of ``tables.tt``. Ids count from 1; 0 means none. Strings are UTF-8 ("surrogatepass")."""

    META = 1  # JSON object, merged into what came before
    THREAD = 2  # u32 index, u64 native id, name
    OP = 3  # u32 id, name
    SIGNATURE = 4  # u32 id, key (see SIGNATURE_*)
    SITE = 5  # u32 id, u32 line, u32 flags, u32 bytes of the file name, file name, function name
    STACK = 6  # u32 id, u32 parent, u32 site
    LABEL = 7  # u32 id, u32 bytes of the name, name, arguments as JSON ("" = none)
    SERIES = 8  # u32 id, u32 bytes of the name, name, unit
    WARNING = 9  # text


# A signature's key, in 64-bit words:
#   word 0: op id (32 bits) | inputs (8) | outputs (8) | bytes of attributes (16)
#   per operand: ndim (8) | Layout (8) | alias (8) | kind character (8) | itemsize (32), then ndim
#     dimensions, then, for Layout.STRIDED only, ndim strides in bytes (signed)
#   attributes, padded with zeros to a multiple of 8
# `alias` is the index of an earlier operand with the same memory, shape and strides; 255 = none.
# Attributes are text: arguments that decide the count, as written by ``describe_attribute``.
NO_ALIAS = 255
MAX_OPERANDS = 12  # further ones are left out, and the signature's attributes begin with "+"
MAX_NDIM = 64
MAX_ATTRIBUTE_BYTES = 120


class Layout(IntEnum):
    """How an operand lies in memory (low 4 bits); SWAPPED is added for the other byte order."""

    C = 0  # C-contiguous, 0-d arrays too
    F = 1  # Fortran-contiguous and not C-contiguous
    STRIDED = 2
    NUMPY_SCALAR = 3  # np.float64(3.0): takes part in type promotion
    PYTHON_SCALAR = 4  # 3.0: weak in NumPy 2
    OTHER = 5  # not an array: a user's object; a tuple or list, with one dimension if all are Python numbers


LAYOUT_MASK = 15
LAYOUT_SWAPPED = 128


class Policy(IntFlag):
    """How an operation is recorded; given with each hook."""

    ATTRIBUTES = 1  # keep int, str, None, bool and tuple-of-int arguments in the signature
    COPIES_ONLY = 2  # no op inside, and no result in new memory: a view, nothing is recorded
    EXPONENT = 4  # keep the value of a Python scalar second argument (power)
    WRITES_SELF = 8  # the first operand is written as well (sort, fill, put)
    WRITES_FIRST_ARGUMENT = 16  # likewise for functions (copyto, putmask, shuffle)
    FIRST_IS_OPERAND = (
        64  # of a method: the first argument too where it is a number, a tuple, a list
    )
    OPAQUE = 32  # does its own work: what runs inside it (checks of arguments) is not recorded

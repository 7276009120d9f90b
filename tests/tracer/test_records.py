"""The layouts on disk: one description in Python, its repetition in C, and the readers' types agree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tinytrace.tracer import disk_limit, records, segments, thread_writer
from tinytrace.tracer.reading import DTYPES, SUM_DTYPE
from tinytrace.tracer.records import Entry, Flag, Kind, Layout, Policy, Stream

NATIVE = Path(records.__file__).parent / "native"
SOURCE = "\n".join(path.read_text() for path in sorted(NATIVE.glob("*.[ch]")))


def enumerators() -> dict[str, int]:
    """Every name in an ``enum`` of the C sources, with its value."""
    found: dict[str, int] = {}
    for body in re.findall(r"enum\s*\w*\s*\{([^}]*)\}", SOURCE):
        value = -1
        for item in body.split(","):
            name, _, text = (part.strip() for part in item.partition("="))
            if text:
                try:
                    value = int(eval(text, {"__builtins__": {}}, found))
                except NameError:  # made of something that is no enumerator
                    continue
            else:
                value += 1
            found[name] = value
    return found


def test_the_c_core_repeats_the_numbers() -> None:
    c = enumerators()
    for kind in (Stream, Flag, Entry, Layout, Policy):
        for member in kind.__members__.values():
            name = f"{kind.__name__.upper()}_{member.name}"
            assert c[name] == member, name
    assert c["LAYOUT_SWAPPED"] == records.LAYOUT_SWAPPED
    for name in (m for m in c if m.startswith("KIND_")):
        assert c[name] == Kind[name.removeprefix("KIND_")]
    assert c["KINDS"] == len(Kind)
    for name in (
        "FORMAT_VERSION", "SEGMENT_HEADER_BYTES", "RECORD_BYTES", "RESERVE_BYTES", "NO_ALIAS",
        "MAX_OPERANDS", "MAX_NDIM", "MAX_ATTRIBUTE_BYTES", "MAX_SUMS", "MIN_DISK_LIMIT_BYTES",
    ):  # fmt: skip
        assert c[name] == getattr(records, name), name
    assert c["MAX_DEPTH"] == thread_writer.MAX_DEPTH
    for name in (
        "DISK_SHARES", "MAX_TABLES_BYTES", "MAX_FOLD_BYTES", "BASE_BYTES",
        "BLOCK_BYTES", "NAME_BYTES", "WHOLE_SEGMENTS",
    ):  # fmt: skip
        assert c[name] == getattr(disk_limit, name), name
    first = {
        Stream.SPANS: c["FIRST_SPANS"],
        Stream.SAMPLES: c["FIRST_OTHERS"],
        Stream.COUNTERS: c["FIRST_OTHERS"],
        Stream.FLOWS: c["FIRST_OTHERS"],
    }
    later = {
        Stream.SPANS: c["LATER_SPANS"],
        Stream.SAMPLES: c["OTHER_RECORDS"],
        Stream.COUNTERS: c["OTHER_RECORDS"],
        Stream.FLOWS: c["OTHER_RECORDS"],
    }
    assert (first, later) == (segments.FIRST_CAPACITY, segments.CAPACITY)


def test_magic_words_and_names_are_the_same_in_c() -> None:
    for magic in (records.TABLES_MAGIC, records.SEGMENT_MAGIC, records.SUMS_MAGIC):
        assert f'"{magic.decode()}"' in SOURCE
    for name in (records.TABLES_NAME, records.RESERVE_NAME, *records.STREAM_NAMES.values()):
        assert f'"{name}"' in SOURCE


def test_records_have_their_sizes() -> None:
    for layout in (records.SPAN, records.SAMPLE, records.COUNTER, records.FLOW):
        assert layout.size == records.RECORD_BYTES
    assert records.SEGMENT_HEADER.size == records.SEGMENT_HEADER_BYTES
    assert records.SUMS_HEADER.size == records.SUMS_HEADER_BYTES
    assert records.SUM.size == records.SUM_BYTES == SUM_DTYPE.itemsize
    assert all(dtype.itemsize == records.RECORD_BYTES for dtype in DTYPES.values())


def test_readers_find_each_field_where_writers_put_it() -> None:
    pairs = [
        (records.SPAN, DTYPES[Stream.SPANS]), (records.SAMPLE, DTYPES[Stream.SAMPLES]),
        (records.COUNTER, DTYPES[Stream.COUNTERS]), (records.FLOW, DTYPES[Stream.FLOWS]),
        (records.SUM, SUM_DTYPE),
    ]  # fmt: skip

    for layout, dtype in pairs:
        values = tuple(range(1, len(dtype.names or ()) + 1))
        assert np.frombuffer(layout.pack(*values), dtype)[0].tolist() == values

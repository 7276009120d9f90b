"""Files that are damaged, hostile or huge: a clear error or a valid trace, nothing else."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import random_trace
from tinytrace.analysis.reader import MOST_PACKED, SURELY_HARMLESS_BYTES, load
from tinytrace.analysis.summary import summarise
from tinytrace.errors import TinytraceError, TraceFormatError
from tinytrace.exporters.chrome import pieces
from tinytrace.tracer.trace import Trace

FOREIGN = (
    b'[{"ph":"X","ts":1.5,"dur":10,"name":"a","pid":1,"tid":1,"args":{"x":[1,{"y":null}]}},\n'
    b'{"ph":"B","ts":3,"name":"b","pid":1,"tid":1},{"ph":"E","ts":4,"pid":1,"tid":1},\n'
    b'{"ph":"C","ts":3,"name":"c","pid":1,"args":{"v":2}},\n'
    b'{"ph":"M","name":"thread_name","pid":1,"tid":1,"args":{"name":"main"}},\n'
    b'{"ph":"s","id":1,"ts":2,"pid":1,"tid":1,"name":"f"},\n'
    b'{"ph":"f","id":1,"ts":3.5,"pid":1,"tid":1,"name":"f","bp":"e"}]\n'
)
NASTY = (
    b"-1", b"0", b"1e308", b"-1e308", b"9" * 30, b"4294967296", b"9223372036854775807", b"-2", b"null",
    b"[]", b"{}", b'"\\u001a=nan"', b'"\\u001a=7"', b'"\\u001ad800"', b"true", b"1.5", b"NaN", b"[[[]]]",
    b'""', b'"x"',
)  # fmt: skip
VALUES = re.compile(rb'-?[0-9]+(?:\.[0-9]+)?|"[^"\\]*"|null|true')
Mutation = tuple[str, int, int]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["value", "byte", "line away", "line twice", "swap", "cut", "insert"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=4,
)


def mutated(text: bytes, changes: list[Mutation]) -> bytes:
    """The text with a few things changed, wherever the numbers point."""
    for what, place, other in changes:
        if what == "value":
            found = list(VALUES.finditer(text))
            if found:
                value = found[place % len(found)]
                text = text[: value.start()] + NASTY[other % len(NASTY)] + text[value.end() :]
        elif what == "byte":
            at = place % max(1, len(text))
            text = text[:at] + bytes([other % 256]) + text[at + 1 :]
        elif what == "cut":
            text = text[: place % (len(text) + 1)]
        elif what == "insert":
            at = place % (len(text) + 1)
            text = text[:at] + NASTY[other % len(NASTY)] + text[at:]
        else:
            lines = text.split(b"\n")
            one, two = place % len(lines), other % len(lines)
            if what == "line away":
                del lines[one]
            elif what == "line twice":
                lines.insert(two, lines[one])
            else:
                lines[one], lines[two] = lines[two], lines[one]
            text = b"\n".join(lines)
    return text


def assert_valid(trace: Trace) -> None:
    """Ids are in range: everything can be looked up, written and summed up."""
    n = len(trace.spans)
    for ids, low, count in (
        (trace.spans.name_id, 0, len(trace.strings)),
        (trace.spans.thread, 0, len(trace.threads)),
        (trace.spans.parent, -1, n),
        (trace.spans.signature_id, -1, len(trace.signatures)),
        (trace.spans.callsite_id, -1, len(trace.frames)),
        (trace.samples.stack_id, -1, len(trace.stacks)),
        (trace.stacks.frame_id, 0, len(trace.frames)),
        (trace.counters.series_id, 0, len(trace.series)),
        (trace.flows.from_span, 0, n),
        (trace.flows.to_span, 0, n),
        (trace.threads.process, -1, len(trace.processes)),
    ):
        assert ((ids >= low) & (ids < count)).all()
    up = np.append(trace.spans.parent, -1)
    for _ in range(n.bit_length() + 1):
        up = up[up]
    assert (up == -1).all()
    assert b"".join(pieces(trace))
    summarise(trace)


def _load_or_refuse(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    try:
        trace = load(path)
    except TinytraceError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < len(str(path)) + 300
    else:
        assert_valid(trace)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples."""
    return tmp_path_factory.mktemp("hostile")


@settings(max_examples=150)
@given(seed=st.integers(0, 40), spans=st.integers(0, 25), changes=mutations)
def test_a_changed_file_of_ours_is_refused_or_valid(
    folder: Path, seed: int, spans: int, changes: list[Mutation]
) -> None:
    text = b"".join(pieces(random_trace(seed, spans)))
    _load_or_refuse(folder / "ours.json", mutated(text, changes))


@settings(max_examples=100)
@given(changes=mutations)
def test_a_changed_file_of_others_is_refused_or_valid(
    folder: Path, changes: list[Mutation]
) -> None:
    _load_or_refuse(folder / "foreign.json", mutated(FOREIGN, changes))


@settings(max_examples=40)
@given(seed=st.integers(0, 10), changes=mutations)
def test_a_changed_gzip_file_is_refused_or_valid(
    folder: Path, seed: int, changes: list[Mutation]
) -> None:
    text = gzip.compress(b"".join(pieces(random_trace(seed, 20))), mtime=0)
    _load_or_refuse(folder / "ours.json.gz", mutated(text, changes))


@settings(max_examples=100)
@given(text=st.binary(max_size=200))
def test_any_bytes_are_refused_or_valid(folder: Path, text: bytes) -> None:
    _load_or_refuse(folder / "any", text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" \n", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"42", b"{}", b"[1,2]", b'"x"',
        b'{"traceEvents":7}', b'[{"ph":"X","ts":NaN}]', b'[{"ph":"X","ts":' + b"9" * 5000 + b"}]",
        b'[{"name":"\xff"}]', b"\x1f\x8b", b"\x1f\x8b" + bytes(50), b"\x7fELF" + bytes(100),
        b'[\n{"ph":"M","name":"tinytrace","args":' + b"[" * 5000,
        b'[\n{"ph":"M","name":"tinytrace","args":{"version":"1"}}\n]',
        b'[\n{"ph":"M","name":"tinytrace","args":{"version":1,"head":{"epoch_ns":1e99,"spans":-1}}}\n]',
        b"# a script\n", b"\xef\xbb\xbf",
    ],
)  # fmt: skip
def test_what_is_no_trace_is_said_to_be_none(folder: Path, text: bytes) -> None:
    path = folder / "none.json"
    path.write_bytes(text)
    with pytest.raises(TraceFormatError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opening", [b"[", b'[\n{"ph":"M","name":"tinytrace",'])
def test_a_file_made_to_fill_the_memory_is_refused(folder: Path, opening: bytes) -> None:
    packer = zlib.compressobj(9, wbits=31)
    path = folder / "bomb.json.gz"
    spaces = b" " * (1 << 20)
    with path.open("wb") as out:
        out.write(packer.compress(opening))
        for _ in range(SURELY_HARMLESS_BYTES // len(spaces) + 20):
            out.write(packer.compress(spaces))
        out.write(packer.flush())
    with pytest.raises(TraceFormatError, match=f"more than {MOST_PACKED} times its size"):
        load(path)

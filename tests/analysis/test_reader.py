"""`load`: what was written comes back; what is broken is one clear line, never a crash."""

from __future__ import annotations

import gzip
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import FEATURES, big_trace, random_trace, trace_of, traces
from tests.cores import CORES, core
from tinytrace.analysis.reader import load
from tinytrace.errors import InputError, TinytraceError, TraceFormatError
from tinytrace.exporters import export
from tinytrace.tracer.trace import Samples, Trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("reader")


def written(trace: Trace, folder: Path, name: str = "trace.json") -> Path:
    """The trace as a file."""
    export(trace, folder / name)
    return folder / name


@given(trace=traces())
def test_every_trace_comes_back_as_it_was(trace: Trace, folder: Path) -> None:
    assert trace.differences(load(written(trace, folder))) == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_every_core_writes_the_same_file_and_reads_it_the_same(seed: int, folder: Path) -> None:
    trace = random_trace(seed, 50)
    contents = set()
    for name in CORES:
        with core(name):
            file = written(trace, folder)
            contents.add(file.read_bytes())
            assert trace.differences(load(file)) == []
    assert len(contents) == 1


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    trace = trace_of("step(matmul:5)")
    plain, gzipped = written(trace, tmp_path), written(trace, tmp_path, "trace.json.gz")
    plain.rename(tmp_path / "a.gz")
    gzipped.rename(tmp_path / "b.txt")
    assert load(tmp_path / "a.gz") == trace
    assert load(tmp_path / "b.txt") == trace


@pytest.mark.parametrize("layout", ["compact", "indented", "object"])
def test_a_file_that_another_program_wrote_anew_comes_back_too(layout: str, tmp_path: Path) -> None:
    trace = random_trace(5, 100)
    file = written(trace, tmp_path)
    events = json.loads(file.read_bytes())
    document = {"traceEvents": events, "displayTimeUnit": "ns"} if layout == "object" else events
    file.write_text(json.dumps(document, indent=1 if layout == "indented" else None))
    assert trace.differences(load(file)) == []


# ---- files whose end is missing ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_file_without_its_end_gives_what_is_there_and_says_so(
    suffix: str, tmp_path: Path
) -> None:
    trace = big_trace(40_000)
    file = written(trace, tmp_path, f"trace{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    loaded = load(file)
    there = len(loaded.spans)
    assert 10_000 < there < 40_000
    assert loaded.spans == trace.spans.take(slice(0, there))
    assert loaded.warnings == (
        f"the end of the trace file is missing: {there:,} of 40,000 spans are there; samples after them are "
        "left out",
    )


def test_samples_whose_ops_are_missing_are_left_out(tmp_path: Path) -> None:
    trace = big_trace(40_000)
    n = 100
    t_ns = np.linspace(trace.start_ns, trace.end_ns, n).astype("i8")
    samples = Samples(t_ns, np.full(n, 9), np.full(n, 9), np.zeros(n), np.full(n, -1))
    file = written(replace(trace, samples=samples), tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    loaded = load(file)
    assert loaded.samples.t_ns.tolist() == t_ns[t_ns <= loaded.spans.start_ns[-1]].tolist()
    assert 0 < len(loaded.samples) < n


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_a_file_cut_anywhere_gives_a_beginning_or_one_line(
    seed: int, share: float, folder: Path
) -> None:
    trace = random_trace(seed, 40, frozenset(FEATURES) - {"strange parents"})
    file = written(trace, folder)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    try:
        loaded = load(file)
    except TraceFormatError as e:
        assert "\n" not in str(e)
        assert share < 0.5 or "empty" in str(e)
        return
    there = len(loaded.spans)
    assert loaded.spans == trace.spans.take(slice(0, there))
    assert loaded.strings == trace.strings[: len(loaded.strings)]


def test_only_the_closing_bracket_may_be_missing_in_silence(tmp_path: Path) -> None:
    trace = trace_of("step(matmul:5)")
    file = written(trace, tmp_path)
    file.write_bytes(file.read_bytes().removesuffix(b"]\n"))
    assert load(file) == trace


def test_events_taken_out_are_noticed(tmp_path: Path) -> None:
    trace = random_trace(5, 100)
    assert len(trace.flows)
    file = written(trace, tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    victim = next(i for i, line in enumerate(lines) if line.startswith(b'{"ph":"X","ts"'))
    file.write_bytes(b"".join(lines[:victim] + lines[victim + 1 :]))
    loaded = load(file)
    assert len(loaded.spans) == len(trace.spans) - 1
    assert len(loaded.flows) == 0
    assert "the trace file was changed" in loaded.warnings[-1]


# ---- files that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "not a trace: expected Chrome trace JSON"),
        (b"\x7fELF\x00\x01", "not a trace"),
        (b"\x1f\x8b", "is empty"),
        (b"\x1f\x8bnonsense", "damaged gzip file"),
        (gzip.compress(b"hello"), "not a trace"),
        (gzip.compress(b"[{}]")[:-20] + b"\x00" * 30, "."),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"a": 1}', "JSON without trace events"),
        (b"[1, 2]", "not of events"),
        (b'{"traceEvents": 3}', "JSON without trace events"),
        (b"\xef\xbb\xbf[1]", "not of events"),
    ],
)
def test_what_is_no_trace_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_bytes(content)
    with pytest.raises(TraceFormatError, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 200


def test_a_folder_and_a_file_that_is_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load(tmp_path / "none.json")


def test_a_newer_format_says_what_to_do(tmp_path: Path) -> None:
    file = written(trace_of("a"), tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"version":2', b'"version":3'))
    with pytest.raises(TraceFormatError, match=r"newer tinytrace \(trace format 3.*upgrade"):
        load(file)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.frozensets(st.sampled_from(FEATURES)))
def test_a_file_of_version_1_is_read_as_ever(
    tmp_path_factory: pytest.TempPathFactory, seed: int, features: frozenset[str]
) -> None:
    trace = random_trace(seed, 100, features)
    file = written(trace, tmp_path_factory.mktemp("old"))
    old, changes = re.subn(
        rb'("args":\{(?:"step":\d+,)?(?:"parent":-?\d+,)?(?:"dur_ns":\d+,)?)"":',
        rb'\1"k":',
        file.read_bytes().replace(b'"version":2', b'"version":1'),
    )
    assert changes == len(trace.spans)
    file.write_bytes(old)
    assert load(file).differences(trace) == []


# ---- files made to do harm ---------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, -1, -2, 0, 1, 2**31, 2**32, 2**63, -(2**63), 2**64, 1.5, 1e300, "", "x", "\x1a=1e9",
    "\x1a=nan", "\x1a=" + "9" * 5000, [], [[]], [None], {}, {"a": 1}, [0] * 40,
]  # fmt: skip
CONTENT = random_trace(11, 60)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: its container, and its key there."""
    found: list[tuple[Any, Any]] = []
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(pairs):
        found.append((value, key))
        if isinstance(item, (dict, list)):
            found += places(item)
    return found


def only_our_errors(file: Path) -> None:
    """Load; nothing but an error of ours, of one line, may come out; a trace that loads can be written."""
    try:
        trace = load(file)
    except TinytraceError as e:
        assert "\n" not in str(e)
    else:
        export(trace, file.with_name("again.json"))


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 3))
@settings(max_examples=300)
def test_wrong_values_anywhere_are_one_line(seed: int, changes: int, folder: Path) -> None:
    rng = random.Random(seed)
    file = written(CONTENT, folder)
    events = orjson.loads(file.read_bytes())
    everywhere = places(events)
    for _ in range(changes):
        container, key = rng.choice(everywhere)
        container[key] = rng.choice(VALUES)
    lines = b",\n".join(json.dumps(event, separators=(",", ":")).encode() for event in events)
    file.write_bytes(b"[\n" + lines + b"\n]\n")
    only_our_errors(file)


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 5), gzipped=st.booleans())
@settings(max_examples=300)
def test_wrong_bytes_anywhere_are_one_line(
    seed: int, changes: int, gzipped: bool, folder: Path
) -> None:
    rng = random.Random(seed)
    file = written(CONTENT, folder, "bytes.json.gz" if gzipped else "bytes.json")
    content = bytearray(file.read_bytes())
    for _ in range(changes):
        at = rng.randrange(len(content))
        new = rng.choice((b"", b"9", b'"', b"\xff", b"}", b"\n", rng.randbytes(3), b"0" * 50))
        content[at : at + rng.choice((0, 1, 1, 10))] = new
    file.write_bytes(content)
    only_our_errors(file)


def test_a_table_whose_parents_go_in_a_circle_is_refused(tmp_path: Path) -> None:
    file = written(random_trace(5, 10), tmp_path)
    events = orjson.loads(file.read_bytes())
    for event in events:
        table = event.get("args", {}).get("table", {})
        if table.get("name") == "stacks":
            table["columns"]["parent"][:2] = [1, 0]
    file.write_bytes(orjson.dumps(events))
    with pytest.raises(TraceFormatError, match="goes in a circle"):
        load(file)

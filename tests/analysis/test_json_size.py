"""The estimate of the size of a file agrees with what is really written, to a few percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import (
    FEATURES,
    START_NS,
    TraceBuilder,
    big_trace,
    random_trace,
    signature_of,
)
from tinytrace.analysis.budget import json_bytes
from tinytrace.analysis.chrome_reader import ChromeReader
from tinytrace.analysis.json_size import SpanSizes, digits, most_span_bytes, text_bytes
from tinytrace.exporters.chrome import pieces
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

CLOSE = 0.03  # of what is written
NAMES_OF_PARTS = 700  # bytes that small files may be off by: heads of tables that are there or not


def written_bytes(trace: Trace) -> int:
    """Bytes of the JSON of a trace; it is read back, so every id in it must be in range."""
    text = b"".join(pieces(trace))
    reader = ChromeReader("memory")
    reader.lines(memoryview(text))
    reader.trace()
    return len(text)


def assert_close(trace: Trace) -> None:
    """The estimate is that close to what is written."""
    written = written_bytes(trace)
    assert json_bytes(trace) == pytest.approx(written, rel=CLOSE, abs=NAMES_OF_PARTS)


def _marked(arguments: Sequence[dict[str, object]], kind: Kind = Kind.DATA) -> Trace:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(4711), 4711)
    for number, one in enumerate(arguments):
        builder.span(thread, START_NS + 1000 * number, 900, "load", kind=kind, args=one)
    return builder.build()


def _sampled(count: int, threads: int, depth: int) -> Trace:
    builder = TraceBuilder()
    process = builder.process(4711)
    for number in range(threads):
        builder.thread(process, 4711 + number, f"worker-{number}")
    frames = [builder.frame(f"function{i}", "/home/me/project/train.py", 8 + i) for i in range(40)]
    rng = np.random.default_rng(0)
    for number in range(count):
        path = [*frames[: depth - 2], frames[rng.integers(10, 14)], frames[rng.integers(20, 40)]]
        builder.sample(
            number % threads,
            START_NS + (number + 1) * 10**6,
            10**6 * threads + int(rng.integers(0, 10**5)),
            path,
            int(rng.integers(0, 10**6)),
        )
    return builder.build()


def _counted(count: int) -> Trace:
    builder = TraceBuilder()
    process = builder.process(4711)
    rng = np.random.default_rng(0)
    series = [builder.series(n, u, process) for n, u in (("rss_mb", "MB"), ("cpu", "%"), ("l", ""))]
    for number in range(count):
        for place, one in enumerate(series):
            value = float(rng.random()) * 100
            builder.counter(one, START_NS + number * 50_000_000, round(value, 1 + 7 * place))
    return builder.build()


def _many_threads(count: int) -> Trace:
    builder = TraceBuilder()
    process = builder.process(4711)
    for number in range(count):
        thread = builder.thread(process, 10**6 + number, f"worker-{number}")
        for call in range(10):
            builder.span(
                thread, START_NS + 1000 * call, 900, "add", signature=signature_of("add", "9,9->9"),
                callsite=builder.frame("forward", "train.py", call),
            )  # fmt: skip
    return builder.build()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1000), st.frozensets(st.sampled_from(FEATURES)))
def test_estimates_of_random_traces_are_close(
    seed: int, n_spans: int, features: frozenset[str]
) -> None:
    trace = random_trace(seed, n_spans, features)
    written = written_bytes(trace)
    # Names and values out of the ordinary (escapes, ids that viewers cannot hold) count double here.
    assert json_bytes(trace) == pytest.approx(written, rel=2 * CLOSE, abs=2 * NAMES_OF_PARTS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1000), st.frozensets(st.sampled_from(FEATURES)))
def test_what_spans_take_at_most_is_no_less_than_their_estimate(
    seed: int, n_spans: int, features: frozenset[str]
) -> None:
    trace = random_trace(seed, n_spans, features)
    strings = text_bytes(trace.strings)
    sizes = SpanSizes(trace, strings)
    assert most_span_bytes(trace, strings) >= int(sizes.bytes.sum()) + sizes.keys_bytes


def test_what_many_ops_take_at_most_is_not_far_above_their_estimate() -> None:
    trace = big_trace(10_000)
    strings = text_bytes(trace.strings)
    assert most_span_bytes(trace, strings) < 1.3 * SpanSizes(trace, strings).bytes.sum()


def test_an_estimate_of_many_ops_is_close() -> None:
    trace = big_trace(50_000)
    assert json_bytes(trace) == pytest.approx(written_bytes(trace), rel=0.005)


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.OP])
def test_arguments_that_all_differ_are_estimated(kind: Kind) -> None:
    assert_close(_marked([{"n": n, "path": f"/data/{n}.npz"} for n in range(3000)], kind))


def test_long_arguments_are_estimated() -> None:
    assert_close(_marked([{"n": n, "text": "x" * 200} for n in range(2000)]))


def test_arguments_that_many_spans_share_are_estimated() -> None:
    assert_close(_marked([{"n": n % 50} for n in range(5000)]))


def test_escaped_and_nested_arguments_are_estimated() -> None:
    assert_close(_marked([{"größe": 'a"b\\c\n', "l": [n, {"b": None}]} for n in range(2000)]))


def test_names_beyond_ascii_are_estimated() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1, "größe"), 1, "層🚀")
    site = builder.frame("größe", "/ü/層🚀.py", 7)
    for number in range(3000):
        builder.span(
            thread, START_NS + 1000 * number, 900, f"層🚀 größe {number % 10}", kind=Kind.LAYER,
            callsite=site, args={"ü": "é" * 10},
        )  # fmt: skip
    assert_close(builder.build())


def test_many_threads_are_estimated() -> None:
    assert_close(_many_threads(500))


@pytest.mark.parametrize(("threads", "depth"), [(1, 4), (2, 8), (40, 8), (1, 25)])
def test_samples_alone_are_estimated(threads: int, depth: int) -> None:
    assert_close(_sampled(3000, threads, depth))


def test_counters_alone_are_estimated() -> None:
    assert_close(_counted(3000))


def test_an_empty_trace_is_estimated() -> None:
    assert_close(Trace())


def test_arguments_that_are_no_object_are_estimated() -> None:
    trace = _marked([{"n": 1}] * 500)
    strings = tuple("größe" if text.startswith("{") else text for text in trace.strings)
    assert_close(replace(trace, strings=strings))


@given(st.lists(st.text(max_size=20), max_size=10))
def test_bytes_of_texts_are_exact(texts: list[str]) -> None:
    assert text_bytes(texts).tolist() == [
        len(orjson.dumps(t)) - 2 if t.isprintable() else n
        for t, n in zip(texts, text_bytes(texts).tolist(), strict=True)
    ]


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1)))
def test_digits_of_integers_are_exact(numbers: list[int]) -> None:
    assert digits(np.array(numbers, "i8")).tolist() == [len(str(n)) for n in numbers]

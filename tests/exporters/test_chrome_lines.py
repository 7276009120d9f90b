"""The span lines: the compiled functions and those in Python agree to the byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.cores import CORES, core
from tinytrace.analysis import chrome_lines

TIMES = st.integers(0, 10**17)
STEPS = st.integers(-1, 2**29)
RESTS = [b'"":0,"flops":1},"cat":"op"},\n', b'"":1},"name":"\xe5\xb1\xa4"},\n']
ROWS = st.lists(st.tuples(TIMES, TIMES, st.integers(0, 1), STEPS), max_size=20)
NESTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(-1, 9), st.integers(0, 1)),
    max_size=30,
)


def columns(rows: Sequence[tuple[int, ...]], *dtypes: str) -> list[NDArray[Any]]:
    """Rows → columns of these types."""
    transposed = list(zip(*rows, strict=True)) if rows else [()] * len(dtypes)
    return [np.array(c, dtype) for c, dtype in zip(transposed, dtypes, strict=True)]


@pytest.mark.parametrize("name", CORES)
@given(rows=ROWS)
def test_lines_are_parsed_back_into_the_columns_that_they_were_rendered_from(
    name: str, rows: list[tuple[int, ...]]
) -> None:
    start, dur, key, step = columns(rows, "i8", "i8", "i4", "i4")
    with core(name):
        text = chrome_lines.render(RESTS, start, dur, key, step)
        spans, others = chrome_lines.parse(text, ())
    assert text.count(b"\n") == len(rows)
    assert others.tolist() == []
    assert spans.tolist() == np.array([start, dur, key, step]).T.tolist()


@given(rows=ROWS)
def test_all_cores_render_the_same_bytes(rows: list[tuple[int, ...]]) -> None:
    texts = set()
    for name in CORES:
        with core(name):
            texts.add(chrome_lines.render(RESTS, *columns(rows, "i8", "i8", "i4", "i4")))
    assert len(texts) == 1


def test_a_time_is_written_in_microseconds_with_three_decimals() -> None:
    for name in CORES:
        with core(name):
            line = chrome_lines.render(
                RESTS, *columns([(1_000_007, 30, 0, 3)], "i8", "i8", "i4", "i4")
            )
        assert line.startswith(b'{"ph":"X","ts":1000.007,"dur":0.030,"args":{"step":3,"":0,')


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("row", [(-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0)])
def test_what_cannot_be_written_is_refused(name: str, row: tuple[int, ...]) -> None:
    with core(name), pytest.raises(ValueError, match="negative time"):
        chrome_lines.render(RESTS, *columns([row], "i8", "i8", "i4", "i4"))


GOOD_LINE = b'{"ph":"X","ts":1000.007,"dur":0.030,"args":{"step":3,"":17,"flops":1},"cat":"op"},'


@pytest.mark.parametrize("name", CORES)
def test_a_line_of_version_1_has_its_key_under_another_name(name: str) -> None:
    old = GOOD_LINE.replace(b'"":17', b'"k":17')
    with core(name):
        assert [part.tolist() for part in chrome_lines.parse(old, ())] == [
            part.tolist() for part in chrome_lines.parse(GOOD_LINE, ())
        ]


@given(
    cuts=st.lists(
        st.tuples(
            st.integers(0, len(GOOD_LINE)),
            st.integers(0, len(GOOD_LINE)),
            st.sampled_from([b"", b"\n", b"}", b",", b"9" * 20, b".", b"-1", b'"', b"\xff", b" "]),
        ),
        max_size=4,
    )
)
def test_all_cores_agree_on_what_is_not_a_span_line(cuts: list[tuple[int, int, bytes]]) -> None:
    text = GOOD_LINE + b"\n" + GOOD_LINE
    for begin, end, insertion in cuts:
        text = text[:begin] + insertion + text[end:]
    found = set()
    for name in CORES:
        with core(name):
            spans, others = chrome_lines.parse(text, (b'{"ph":"C",',))
        found.add((str(spans.tolist()), str(others.tolist())))
    assert len(found) == 1


@pytest.mark.parametrize("name", CORES)
def test_other_lines_are_told_by_place_and_drawn_ones_passed_over(name: str) -> None:
    text = b'[\n{"ph":"C","x":1},\n' + GOOD_LINE + b'\n{"ph":"M"},\n\n]\n'
    with core(name):
        spans, others = chrome_lines.parse(text, (b'{"ph":"C",',))
    assert spans.tolist() == [[1_000_007, 30, 17, 3]]
    assert [(text[b:e], row) for b, e, row in others.tolist()] == [
        (b"[", 0), (b'{"ph":"M"},', 1), (b"]", 1),
    ]  # fmt: skip


@given(rows=NESTS)
def test_all_cores_find_the_same_parents(rows: list[tuple[int, ...]]) -> None:
    found = set()
    for name in CORES:
        with core(name):
            parent, fits = chrome_lines.nest(*columns(sorted(rows), "i4", "i8", "i8", "u1"))
        found.add((str(parent.tolist()), str(fits.tolist())))
    assert len(found) == 1


@pytest.mark.parametrize("name", CORES)
def test_a_span_lies_in_the_innermost_one_that_is_not_over(name: str) -> None:
    rows = [
        (0, 0, 10, 0),  # 0
        (0, 2, 3, 0),  # 1: in 0
        (0, 2, 3, 0),  # 2: in 1, wholly
        (0, 5, 2, 0),  # 3: in 0 again
        (0, 6, 3, 0),  # 4: overlaps 3
        (0, 7, 1, 1),  # 5: apart
        (0, 10, 1, 0),  # 6: after all of them
        (1, 10, 1, 0),  # 7: another thread
    ]
    with core(name):
        parent, fits = chrome_lines.nest(*columns(rows, "i4", "i8", "i8", "u1"))
    assert parent.tolist() == [-1, 0, 1, 0, 3, 0, -1, -1]
    assert fits.tolist() == [True, True, True, True, False, False, True, True]

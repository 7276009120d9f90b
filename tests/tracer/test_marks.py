"""What the program gives as names and arguments, as bounded text."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrace.tracer import marks
from tinytrace.tracer.marks import MAX_TEXT, Marks
from tinytrace.tracer.records import Entry


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Loud(Hostile):
    shape = property(lambda self: 1 / 0)


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(50_000):
    DEEP = [DEEP]
LONG = list(range(1000))

VALUES: list[tuple[Any, Any]] = [
    (3, 3), ("3", "3"), (True, True), (None, None), (0.5, 0.5), ([1, {"a": (2,)}], [1, {"a": [2]}]),
    (math.nan, "nan"), (-math.inf, "-inf"), ([math.nan], "[nan]"),
    (np.float32(0.5), 0.5), (np.int64(7), 7), ([np.int8(1)], [1]), (np.float64("nan"), "nan"),
    (np.zeros((2, 3), "float32"), "ndarray float32 (2, 3)"),
    ([np.zeros(2)], ["ndarray float64 (2,)"]),
    ({"a"}, "{'a'}"), ({(1, 2): 3}, "{(1, 2): 3}"), (1j, "1j"), (b"x", "b'x'"), ([1j], ["1j"]),
    (Hostile(), "<Hostile without a repr>"), ([Hostile()], ["<Hostile without a repr>"]),
    (Loud(), "<Loud without a repr>"),
    (CYCLE, "[[...]]"), (DEEP, "<list without a repr>"), (10**5000, "<int without a repr>"),
    ("x" * 5000, "x" * MAX_TEXT + "…"), (LONG, json.dumps(LONG)[:MAX_TEXT] + "…"),
    ('\ud800 \x00 " \\ </script> \u2028', '\ud800 \x00 " \\ </script> \u2028'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kept"), VALUES, ids=lambda _: "")
def test_an_argument_of_whatever_type_comes_out_as_json(value: Any, kept: Any) -> None:
    found = json.loads(marks._json(value))
    assert found == kept
    assert type(found) is type(kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_json_comes_out_as_it_is_unless_it_is_too_long(args: dict[str, Any]) -> None:
    text = marks._arguments(args)
    assert len(text) < 20 * MAX_TEXT
    found = json.loads(text)
    for key, value in args.items():
        if len(json.dumps(value)) <= MAX_TEXT:
            assert found[key] == value


@settings(deadline=None)
@given(JSON, JSON)
def test_arguments_are_the_same_text_only_if_they_are_the_same(one: Any, other: Any) -> None:
    same_text = marks._json(one) == marks._json(other)
    assert same_text == (json.dumps(one) == json.dumps(other)) or len(marks._json(one)) > MAX_TEXT


class Recorder:
    """Gives ids and keeps what is written."""

    def __init__(self) -> None:
        self.labels: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.values: list[tuple[int, float]] = []

    def label(self, name: str, text: str) -> int:
        self.labels.append((name, text))
        return len(self.labels)

    series = label

    def counter(self, series: int, value: float) -> None:
        self.values.append((series, value))

    def put(self, entry: int, payload: bytes) -> None:
        assert entry == Entry.WARNING
        self.warnings.append(payload.decode())


def test_arguments_that_look_alike_and_are_of_other_types_are_other_labels() -> None:
    found = Marks(Recorder())
    ids = {
        found.label(name, args)
        for name in ("x", 'x{"a": 1}')
        for args in ({}, {"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": [1]}, {"b": 1})
    }
    assert len(ids) == 14
    assert found.label("x", {"a": 1}) in ids


def test_beyond_the_limit_arguments_are_left_out_then_names_and_both_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks, "MAX_LABELS", 3)
    monkeypatch.setattr(marks, "MAX_BARE_LABELS", 2)
    recorder = Recorder()
    found = Marks(recorder)
    for i in range(6):
        found.label("load", {"file": i})
    assert recorder.labels[3:] == [("load", "")]
    assert found.label("load", {"file": 1}) == 2  # what is known stays known
    for i in range(6):
        found.label(f"name {i}", {})
    assert recorder.labels[4:] == [("name 0", ""), (marks.TOO_MANY, "")]
    assert len(recorder.warnings) == 2
    assert "only the first 3 different ones" in recorder.warnings[0]
    assert marks.TOO_MANY in recorder.warnings[1]


def test_series_are_bounded_and_values_that_are_no_numbers_are_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks, "MAX_SERIES", 2)
    recorder = Recorder()
    found = Marks(recorder)
    value: Any
    for value in ("high", b"1", None, np.zeros(2), 10**400, Hostile()):
        found.counter("loss", value, "")
    assert recorder.values == []
    assert recorder.warnings == ["counter 'loss': values that are no numbers were left out"]
    for value in (1, True, np.float32(0.5), np.array([[2.5]]), math.inf):
        found.counter("loss", value, "")
    assert recorder.values == [(1, 1.0), (1, 1.0), (1, 0.5), (1, 2.5), (1, math.inf)]
    found.counter("loss", 1, "nat")
    found.counter("another", 1, "")
    assert recorder.labels == [("loss", ""), ("loss", "nat")]
    assert len(recorder.values) == 6


def test_a_step_without_a_number_has_one_more_than_the_last() -> None:
    found = Marks(Recorder())
    assert [found.step(n) for n in (None, None, 10, None, 3, None)] == [0, 1, 10, 11, 3, 4]

"""Sketches of durations: within the error that is stated, and the same in whatever order they are added."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinytrace.analysis.quantile_sketch import (
    RELATIVE_ERROR,
    WIDTH,
    Sketch,
    sketch_of,
    sketches,
)

DURATIONS = st.lists(st.integers(0, 2**63 - 1), max_size=50)


@given(DURATIONS.filter(bool), st.floats(0, 1))
def test_quantiles_are_within_the_stated_error(durations: list[int], q: float) -> None:
    exact = max(1, sorted(durations)[max(1, math.ceil(q * len(durations))) - 1])
    found = sketch_of(durations).quantile(q)
    assert found is not None
    assert abs(found - exact) <= RELATIVE_ERROR * exact * (1 + 1e-6)


@given(DURATIONS, DURATIONS, DURATIONS)
def test_adding_is_associative_and_commutative_and_loses_nothing(
    a: list[int], b: list[int], c: list[int]
) -> None:
    x, y, z = map(sketch_of, (a, b, c))
    assert (x + y) + z == x + (y + z) == sketch_of(a + b + c) == z + y + x
    assert (x + y + z).count == len(a + b + c)
    assert x + Sketch() == x


def test_groups_have_a_sketch_each() -> None:
    ids, durations = np.array([2, 0, 2, 0]), [5, 7, 5, 9]
    assert list(sketches(ids, 3, durations)) == [sketch_of([7, 9]), Sketch(), sketch_of([5, 5])]


def test_every_duration_of_64_bits_has_a_bucket_and_no_two_groups_share_one() -> None:
    assert max(sketch_of([2**63 - 1]).buckets) < WIDTH
    assert min(sketch_of([0, 1]).buckets) == 0


def test_of_no_durations_nothing_is_known() -> None:
    assert Sketch().quantile(0.5) is None
    assert sketch_of([3, 300]).to_json() == {"55": 1, "286": 1}

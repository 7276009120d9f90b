"""Roofs as values: their form in a trace, and which of them holds for an op."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peaks_by_hand import exact, level, roofs
from tinytrace.analysis.peaks import META_KEY, Level, Peaks
from tinytrace.tracer.trace import Trace

KIB, MIB = 2**10, 2**20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything in a JSON value is."""
    found = [here]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += paths(inner, (*here, key))
    return found


PATHS = paths(roofs().to_json())[1:]


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """The JSON of roofs with another value somewhere."""
    told = copy.deepcopy(roofs().to_json())
    at: Any = told
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return told


def gbps(peaks: Peaks, footprint: float, **kind: bool) -> float:
    found = peaks.level_of(footprint, **kind)
    assert found is not None
    assert found.gbps is not None
    return found.gbps.value


def test_roofs_are_the_same_after_a_trip_through_json() -> None:
    assert Peaks.from_json(json.loads(json.dumps(roofs().to_json()))) == roofs()


def test_a_trace_brings_its_roofs_along() -> None:
    assert Peaks.of(Trace(meta={META_KEY: roofs().to_json()})) == roofs()


@pytest.mark.parametrize("told", [None, 3, [], {}, "peaks", {"form": 1}, {"form": 2}])
def test_a_trace_without_readable_roofs_has_none(told: object) -> None:
    assert Peaks.of(Trace(meta={META_KEY: told})) is None


@given(st.sampled_from(PATHS), JSON)
def test_whatever_stands_in_the_json_is_roofs_or_refused(
    path: tuple[Any, ...], value: object
) -> None:
    try:
        peaks = Peaks.from_json(changed(path, value))
    except ValueError:
        return
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json()))) == peaks
    for footprint in (0, 1, 10**6, 10**12):
        peaks.level_of(footprint)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("gemm_gflops", "float32", "value"), 0),
        (("gemm_gflops", "float32", "value"), -1.0),
        (("gemm_gflops", "float32", "value"), float("nan")),
        (("gemm_gflops", "float32", "value"), float("inf")),
        (("gemm_gflops", "float32", "value"), True),
        (("gemm_gflops", "float32", "value"), "100"),
        (("gemm_gflops", "float32", "value"), 10**400),
        (("gemm_gflops", "float32", "low"), 101.0),
        (("gemm_gflops", "float32", "n"), 0),
        (("gemm_gflops", "float32"), None),
        (("levels", 1, "name"), "L9"),
        (("levels", 1, "name"), "L1"),
        (("levels", 1, "size_bytes"), 32_768),
        (("levels", 1, "size_bytes"), None),
        (("levels", 1, "size_bytes"), 1e6),
        (("levels", 1, "forms"), []),
        (("levels",), {}),
        (("threads",), 0),
        (("fingerprint",), 7),
        (("notes",), "L1"),
    ],
)  # fmt: skip
def test_figures_that_cannot_be_are_refused(path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Peaks.from_json(changed(path, value))


def test_within_a_cache_its_own_bandwidth_is_the_roof() -> None:
    # L1 costs no time since it was not resolved: 1 MiB is 32 KiB for nothing and the rest at 200 GB/s.
    found = roofs().level_of(MIB)
    assert found is not None
    assert found.name == "L2"
    assert gbps(roofs(), MIB) == pytest.approx(200 * 1024 / (1024 - 32))


def test_between_a_cache_and_memory_the_roof_is_what_lies_in_the_cache_and_the_rest_from_memory() -> (
    None
):
    peaks = replace(roofs(), levels=(level("L3", 32 * MIB, 100), level("DRAM", None, 20)))
    assert gbps(peaks, 32 * MIB) == pytest.approx(100)
    # 64 MiB: a half at 100, a half at 20 GB/s; 128 MiB: a quarter and three quarters.
    assert gbps(peaks, 64 * MIB) == pytest.approx(2 / (1 / 100 + 1 / 20))
    assert gbps(peaks, 128 * MIB) == pytest.approx(4 / (1 / 100 + 3 / 20))
    assert gbps(peaks, 10**15) == pytest.approx(20, rel=1e-6)
    found = peaks.level_of(64 * MIB)
    assert found is not None
    assert found.name == "DRAM"


def test_three_levels_each_hold_their_part() -> None:
    levels = (level("L2", 1000, 400), level("L3", 5000, 100), level("DRAM", None, 10))
    peaks = replace(roofs(), levels=levels)
    assert gbps(peaks, 10_000) == pytest.approx(10_000 / (1000 / 400 + 4000 / 100 + 5000 / 10))


def test_a_level_that_was_measured_slower_than_the_next_is_as_fast_as_that() -> None:
    peaks = replace(roofs(), levels=(level("L2", 1000, 50), level("L3", 5000, 100)))
    assert gbps(peaks, 500) == pytest.approx(100)


def test_blas_has_the_bandwidth_of_its_threads() -> None:
    own = level("DRAM", None, 20)
    peaks = replace(roofs(), levels=(replace(own, blas_gbps=exact(35)),))
    assert (gbps(peaks, 10**9), gbps(peaks, 10**9, blas=True)) == (20, 35)
    peaks = replace(roofs(), levels=(replace(own, blas_gbps=exact(15)),))
    assert gbps(peaks, 10**9, blas=True) == 20


def test_what_was_not_measured_or_not_resolved_is_no_roof() -> None:
    hidden = roofs().level_of(1000)
    assert hidden is not None
    assert (hidden.name, hidden.resolvable, hidden.gbps) == ("L1", False, exact(150))
    unknown = replace(roofs(), levels=(Level("DRAM", None, None, False),)).level_of(1000)
    assert unknown is not None
    assert unknown.gbps is None
    assert replace(roofs(), levels=()).level_of(1000) is None
    assert replace(roofs(), levels=(level("L2", 1000, 9),)).level_of(1001) is None


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=4), st.floats(1, 1e12), st.floats(1, 100))
def test_roofs_never_rise_with_the_footprint_and_never_fall_below_that_of_memory(
    rates: list[float], footprint: float, times: float
) -> None:
    names = ("L1", "L2", "L3", "DRAM")[-len(rates) :]
    sizes = [32 * KIB, MIB, 32 * MIB][: len(rates) - 1]
    levels = tuple(
        level(name, size, rate)  # type: ignore[arg-type]
        for name, size, rate in zip(names, [*sizes, None], rates, strict=True)
    )
    peaks = replace(roofs(), levels=levels)
    assert gbps(peaks, footprint) >= gbps(peaks, footprint * times) * (1 - 1e-9)
    assert gbps(peaks, footprint) >= rates[-1] * (1 - 1e-9)


def test_functions_have_roofs_of_their_own_and_unknown_ones_that_of_the_fastest() -> None:
    assert roofs().function_roof("exp", "float32") == exact(2)
    assert roofs().function_roof("tanh", "float32") == exact(6)
    assert roofs().function_roof("exp", "float64") is None

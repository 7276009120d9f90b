"""The offset of a clock from bounds: true ones are never excluded, and the error is a bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrace.analysis.clock_fit import Bounds, fit_clock
from tinytrace.analysis.clock_models import ClockModel

S = 1e9


def bounds_of(
    offset_ns: list[float], t_ns: list[float], slack_ns: list[tuple[float, float]]
) -> Bounds:
    """Bounds that a true offset obeys, by the slack below and above it."""
    true, t = np.array(offset_ns), np.array(t_ns)
    below, above = np.array(slack_ns).T
    return Bounds(t, true - below, t, true + above)


def test_a_constant_offset_lies_where_all_bounds_allow_it() -> None:
    fit = fit_clock(bounds_of([100, 100, 100], [0, S, 2 * S], [(30, 80), (50, 10), (20, 90)]))
    assert fit is not None
    # the tightest from below is 80, from above 110
    assert (fit.model.offset_ns, fit.error_ns, fit.how) == (95, 15, "constant")


def test_bounds_on_one_side_alone_say_nothing() -> None:
    t = np.array([0.0, S])
    nothing = np.full(2, np.inf)
    assert fit_clock(Bounds(t, np.array([1.0, 2.0]), t, nothing)) is None
    assert fit_clock(Bounds(t, -nothing, t, nothing)) is None


def test_a_drifting_clock_is_followed() -> None:
    t = np.arange(100) * S
    true = 5_000 + 20e-6 * t  # 20 ppm: 1.98 ms in the end
    fit = fit_clock(Bounds(t, true - 40_000, t, true + 40_000))
    assert fit is not None and fit.how == "drifting"
    assert fit.drift_ppm == pytest.approx(20, abs=1)
    found = fit.model.apply(t.astype("i8")) - t.astype("i8")
    assert np.abs(found - true).max() <= fit.error_ns <= 60_000


def test_a_clock_that_jumps_is_taken_in_pieces() -> None:
    t = np.arange(100) * S
    true = np.where(t < 40 * S, 1e6, 9e6)
    fit = fit_clock(Bounds(t, true - 1000, t, true + 1000))
    assert fit is not None and fit.how == "in pieces"
    assert fit.jumps_ns == pytest.approx((8e6,), abs=3000)
    found = fit.model.apply(t.astype("i8")) - t.astype("i8")
    assert np.abs(found - true).max() <= fit.error_ns <= 2100


@given(
    st.integers(-(10**12), 10**12),
    st.floats(-200e-6, 200e-6),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=3, max_size=30),
)
@settings(max_examples=30, deadline=None)
def test_the_error_bounds_what_the_offset_is_wrong_by(
    offset_ns: int, drift: float, slack_ns: list[tuple[int, int]]
) -> None:
    t = np.arange(len(slack_ns)) * S
    true = offset_ns + drift * t
    fit = fit_clock(bounds_of(true.tolist(), t.tolist(), slack_ns))  # type: ignore[arg-type]
    assert fit is not None
    found = fit.model.apply(t.astype("i8")) - t.astype("i8")
    if fit.how == "drifting":
        assert np.abs(found - true).max() <= fit.error_ns + 2  # doubles, and times in whole ns
    else:  # a constant obeys all of the bounds, and that is all that is known
        assert fit.how == "constant"


def test_times_never_change_places() -> None:
    model = ClockModel(5, (0, 1000, 1001, 2000), (0.0, 0.0, -400.0, -400.0))
    moved = model.apply(np.arange(-10, 2500))
    assert (np.diff(moved) >= 0).all()
    assert model.offset_at(1900) < 5

"""What rounds of two things show: verdicts, intervals, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tinytrace.analysis.comparison import (
    Speedup,
    Verdict,
    holm,
    signed_rank_p,
    speedup,
    verdict_of,
)
from tinytrace.analysis.paired import Interval


def rounds(n: int, spread: float, seed: int) -> list[float]:
    return list(np.exp(np.random.default_rng(seed).normal(0, spread, n)) * 10)


def test_twice_as_fast_is_a_speedup_of_two_and_its_inverse_a_slowdown() -> None:
    a, again = rounds(30, 0.05, 1), rounds(30, 0.05, 2)
    half = [t / 2 for t in rounds(30, 0.05, 3)]
    found = speedup(a, half, again)
    assert found.verdict is Verdict.FASTER
    assert found.ratio.low < 2 < found.ratio.high
    assert (found.p_faster, found.rounds_needed, found.reason) == (1.0, None, None)
    back = speedup(half, a, [t / 2 for t in rounds(30, 0.05, 4)])
    assert back.verdict is Verdict.SLOWER
    assert back.ratio.estimate == pytest.approx(1 / found.ratio.estimate)


def test_the_same_within_the_margin_is_equivalent() -> None:
    a = rounds(200, 0.02, 1)
    found = speedup(a, rounds(200, 0.02, 2), rounds(200, 0.02, 3), margin=0.02)
    assert found.verdict is Verdict.EQUIVALENT
    assert str(found).endswith("equivalent")


def test_a_small_difference_among_few_rounds_is_inconclusive_and_says_what_would_decide() -> None:
    a = rounds(10, 0.1, 1)
    found = speedup(a, [t / 1.05 for t in rounds(10, 0.1, 2)], rounds(10, 0.1, 3))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rounds_needed is not None
    assert found.rounds_needed > 10
    assert f"about {found.rounds_needed:,} rounds would decide" in str(found)


def test_no_difference_is_told_that_the_baseline_has_from_itself() -> None:
    a = [10.0] * 20
    found = speedup(a, [t / 1.1 for t in a], [t / 1.2 for t in a])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.floor == pytest.approx(0.2)
    assert found.reason is not None
    assert "differs from itself by up to 20" in found.reason


def test_a_ratio_that_drifts_is_invalid() -> None:
    a = rounds(60, 0.01, 1)
    b = [t / (1.0 if i < 30 else 1.5) for i, t in enumerate(rounds(60, 0.01, 2))]
    found = speedup(a, b, a)
    assert found.verdict is Verdict.INVALID
    assert found.reason is not None
    assert "drifts" in found.reason


def test_rounds_without_any_variance_are_decided() -> None:
    ones = [1.0] * 8
    assert speedup(ones, ones, ones).verdict is Verdict.EQUIVALENT
    assert speedup(ones, [0.5] * 8, ones).verdict is Verdict.FASTER


@pytest.mark.parametrize(
    ("interval", "wide", "verdict"),
    [
        ((1.50, 1.40, 1.60), 0.03, Verdict.FASTER),
        ((1.50, 1.02, 2.00), 0.03, Verdict.INCONCLUSIVE),  # its lower end is within the margin
        ((1.50, 1.40, 1.60), 0.45, Verdict.INCONCLUSIVE),
        ((1.01, 0.99, 1.02), 0.03, Verdict.EQUIVALENT),
        ((1.01, 0.90, 1.10), 0.50, Verdict.INCONCLUSIVE),  # much noise is no sameness
        ((0.50, 0.40, 0.60), 0.03, Verdict.SLOWER),
        ((0.97, 0.96, 0.975), 0.03, Verdict.INCONCLUSIVE),
    ],
)
def test_the_whole_interval_decides(
    interval: tuple[float, float, float], wide: float, verdict: Verdict
) -> None:
    ratio = Interval(*interval)
    assert verdict_of(ratio, 0.03, wide, ratio) is verdict


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0] * 5, [1.0] * 5, "too few"),
        ([1.0] * 6, [1.0] * 7, "as many of each"),
        ([1.0] * 6, [0.0] * 6, "positive"),
        ([1.0] * 6, [float("nan")] * 6, "positive"),
    ],
)
def test_what_cannot_be_judged_is_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        speedup(a, b)


def test_intervals_told_together_need_more_rounds_and_are_wider() -> None:
    a, b = rounds(20, 0.1, 1), rounds(20, 0.1, 2)
    one, several = speedup(a, b), speedup(a, b, comparisons=5)
    assert several.ratio.low <= one.ratio.low <= one.ratio.high <= several.ratio.high
    with pytest.raises(ValueError, match="at least 9"):
        speedup(a[:6], b[:6], comparisons=12)


def judged(seed: int, n: int, ratio: float) -> Speedup:
    """Rounds of a noisy machine: what it does to a round it does to all in it, and now and then it stalls one."""
    random = np.random.default_rng(seed)
    common = np.exp(random.normal(0, 0.3, n))
    own = np.exp(random.normal(0, 0.03, (3, n))) * np.where(random.random((3, n)) < 0.05, 3, 1)
    a, b, again = common * own * np.array([[1.0], [1 / ratio], [1.0]])
    return speedup(a.tolist(), b.tolist(), again.tolist())


def test_of_things_that_are_the_same_few_are_called_different() -> None:
    verdicts = [judged(seed, 30, 1.0).verdict for seed in range(400)]
    wrong = sum(v in {Verdict.FASTER, Verdict.SLOWER} for v in verdicts)
    assert wrong <= 0.05 * len(verdicts)


def test_a_difference_of_a_tenth_is_mostly_found_in_thirty_rounds() -> None:
    verdicts = [judged(seed, 30, 1.1).verdict for seed in range(200)]
    assert sum(v is Verdict.FASTER for v in verdicts) >= 0.8 * len(verdicts)
    assert Verdict.SLOWER not in verdicts


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 1)), min_size=6, max_size=60))
def test_the_p_value_is_that_of_wilcoxons_test(values: list[float]) -> None:
    x = np.array(values)
    kept = x[x != 0]
    ours = signed_rank_p(x)
    if not len(kept):
        assert ours == 1.0
        return
    exact = len(kept) <= 25 and len(set(np.abs(kept))) == len(kept)
    theirs = scipy.stats.wilcoxon(
        kept, correction=not exact, method="exact" if exact else "approx"
    ).pvalue
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_holm_adjusts_for_being_several() -> None:
    assert holm([0.01]) == (0.01,)
    assert holm([0.02, 0.9, 0.6]) == (0.06, 1.0, 1.0)

"""`measure_performance`, `compare` and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.toolkit.models import Network, Tensor, flops_of
from tinytrace.errors import UsageError
from tinytrace.toolkit.accuracy import Accuracy, accuracy_of
from tinytrace.toolkit.comparing import accuracy_delta, compare, memory_reduction
from tinytrace.toolkit.performance import measure_performance
from tinytrace.toolkit.rounds import in_turns

X = np.random.default_rng(0).standard_normal((32, 64)).astype("f4")
W = np.random.default_rng(1).standard_normal((64, 10)).astype("f4")


def linear(x: np.ndarray) -> np.ndarray:
    return np.asarray(x @ W)


def advancing(step_ns: int) -> Callable[[], int]:
    now = 0

    def clock() -> int:
        nonlocal now
        now += step_ns
        return now

    return clock


def test_everything_about_one_model() -> None:
    found = measure_performance(Network(), Tensor(X), rounds=6, name="net")
    assert (found.name, found.batch, found.inputs) == (
        "net",
        32,
        "Tensor (32, 64)".replace("Tensor", "None"),
    ) or found.inputs
    assert found.flops is not None
    assert found.flops == flops_of(32)
    assert found.bytes == found.flops.bytes
    assert found.parameters == 64 * 32 + 32 + 320 + 10
    assert found.parameter_mb == found.parameters * 4 / 1e6
    assert found.memory >= found.parameter_mb
    assert len(found.times_ms) == 6
    assert min(found.times_ms) <= found.time <= max(found.times_ms)
    assert found.throughput == pytest.approx(32 / (found.time / 1e3))
    assert math.isnan(found.accuracy)
    assert str(found).startswith("net: ")


def test_the_memory_of_a_call_is_its_highest_rise() -> None:
    def model() -> None:
        a = np.ones(500_000)
        del a
        np.ones(250_000)

    found = measure_performance(model, rounds=6)
    assert found.memory == pytest.approx(4.0, abs=0.3)
    assert found.inputs == "nothing"


def test_several_inputs_are_a_tuple() -> None:
    found = measure_performance(np.matmul, (X, W), rounds=6)
    assert found.flops == 2 * 32 * 64 * 10
    assert found.inputs == "float32 (32, 64), float32 (64, 10)"


def test_without_an_input_and_none_to_make_up_it_says_what_to_give() -> None:
    with pytest.raises(UsageError, match="give data="):
        measure_performance(lambda x: x, rounds=6)
    with pytest.raises(UsageError, match="too few"):
        measure_performance(linear, X, rounds=5)


def test_what_a_model_raises_travels_on() -> None:
    with pytest.raises(ZeroDivisionError):
        measure_performance(lambda: 1 / 0, rounds=6)


def test_forms_take_turns_and_each_is_repeated_until_a_block_is_full() -> None:
    calls: list[str] = []
    clock = advancing(100_000)  # 0.1 ms per call of the clock: ten calls fill a block
    times = in_turns([lambda: calls.append("a"), lambda: calls.append("b")], 4, clock)
    assert times == [[0.01] * 4, [0.01] * 4]
    blocks = [calls[i] for i in range(4, len(calls), 11)]  # one more before each
    assert len(blocks) == 2 * (3 + 4)
    assert all({blocks[i], blocks[i + 1]} == {"a", "b"} for i in range(0, len(blocks), 2))
    assert blocks != ["a", "b"] * 7


def test_what_takes_longer_than_the_budget_is_refused_and_says_how_long_it_would_take() -> None:
    clock = advancing(60 * 10**9)  # every call takes a minute
    calls: list[int] = []

    def slow() -> None:
        calls.append(1)

    # Three timings a round, 6 rounds and 3 to warm up: the first form alone has 18 minutes of them.
    with pytest.raises(UsageError, match=r"6 rounds would take about 18 min, .*: 1296 s"):
        compare(slow, lambda: None, rounds=6, clock=clock)
    assert len(calls) == 1
    with pytest.raises(UsageError, match=r"30 rounds would take about 33 min"):
        measure_performance(slow, clock=clock)
    assert len(calls) == 2
    found = measure_performance(slow, rounds=6, clock=clock, budget_s=541)
    assert found.times_ms == (60_000.0,) * 6


def test_a_clock_that_stands_still_measures_nothing() -> None:
    with pytest.raises(UsageError, match="the clock did not move during 1,000,000 calls"):
        in_turns([lambda: None], 6, lambda: 5)


def test_calls_shorter_than_the_clock_can_tell_are_repeated() -> None:
    now = 0

    def coarse() -> int:  # tells whole milliseconds
        return now // 10**6 * 10**6

    def quick() -> None:
        nonlocal now
        now += 50

    assert in_turns([quick], 6, coarse) == [pytest.approx([50e-6] * 6, rel=0.02)]


def test_accuracy_is_a_share_or_known_by_sample() -> None:
    labels = linear(X).argmax(axis=1)
    assert accuracy_of(linear, (X, labels)).share == 1.0
    wrong = accuracy_of(linear, (X, (labels + 1) % 10))
    assert (wrong.share, wrong.note) == (0.0, "of 32 samples")
    assert accuracy_of(linear, lambda model: 0.75) == Accuracy(0.75, None, "one figure")
    assert accuracy_of(linear, lambda model: [True, False]).share == 0.5
    assert accuracy_of(linear, lambda model: float("nan")).note == "not a number"
    assert accuracy_of(linear, None).note == "not measured"


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (3, "must be a function"),
        ((X, np.zeros(5, int)), "do not fit"),
        (lambda model: [0.2, 0.7], "whether it was right"),
        (lambda model: [], "no sample"),
    ],
)
def test_what_is_no_accuracy_is_refused(accuracy: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        accuracy_of(linear, accuracy)


class Costed:
    """A model whose calls take a given time, by a clock of its own."""

    now_ns = 0

    def __init__(self, cost_ns: int) -> None:
        self.cost_ns = cost_ns

    def __call__(self, x: np.ndarray) -> np.ndarray:
        Costed.now_ns += self.cost_ns + self.cost_ns * (Costed.now_ns % 7) // 1000
        return linear(x)

    @staticmethod
    def clock() -> int:
        Costed.now_ns += 1
        return Costed.now_ns


def test_models_are_compared_with_intervals_and_verdicts() -> None:
    slow, fast = Costed(3_000_000), Costed(1_000_000)
    labels = linear(X).argmax(axis=1)
    found = compare(slow, fast, X, accuracy=(X, labels), rounds=12, clock=Costed.clock)
    assert found.speedup.verdict.value == "faster"
    assert found.speedup.ratio.estimate == pytest.approx(3, rel=0.01)
    assert found.memory_reduction.verdict == "same memory"
    assert (found.accuracy_delta.value, found.accuracy_delta.low is None) == (0, False)
    first, speed, memory, accuracy = str(found).splitlines()
    assert first == "Costed against Costed, in this process, in turns"
    assert speed.startswith("speedup           3")
    assert "same memory" in memory
    assert accuracy.startswith("accuracy delta    0 [")
    back = compare(fast, slow, X, rounds=12, clock=Costed.clock)
    assert back.speedup.verdict.value == "slower"
    assert str(back).endswith("not measured")


def test_models_that_return_other_things_are_said_to() -> None:
    found = compare(linear, lambda x: linear(x)[:, :9], X, rounds=6)
    assert str(found).splitlines()[-1] == (
        "note              <lambda> returns (32, 9) where the baseline returns (32, 10): they do not compute the same"
    )
    assert compare(linear, lambda x: linear(x) + 1e-7, X, rounds=6).difference is None
    other = compare(linear, lambda x: linear(x) * 1.5, X, rounds=6).difference
    assert other == "returns other numbers than the baseline: by up to 0.5 of the largest"
    assert compare(linear, lambda x: "text", X, rounds=6).difference is None


def test_results_are_measured_again_with_what_they_were_measured_with() -> None:
    labels = linear(X).argmax(axis=1)
    one = measure_performance(linear, X, accuracy=(X, labels), rounds=6, name="one")
    two = measure_performance(linear, X, accuracy=(X, (labels + 1) % 10), rounds=6, name="two")
    found = compare(one, two, rounds=6)
    assert (found.baseline.name, found.optimized.name) == ("one", "two")
    assert found.accuracy_delta.value == -1
    assert found.accuracy_delta.verdict == "lower"


def right(good: int, of: int) -> Accuracy:
    correct = np.arange(of) < good
    return Accuracy(good / of, correct, f"of {of} samples")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (right(900, 1000), right(950, 1000), "higher"),
        (right(950, 1000), right(900, 1000), "lower"),
        (right(900, 1000), right(900, 1000), "equivalent"),
        (right(9, 10), right(9, 10), "inconclusive"),
        (Accuracy(0.9, None, "one figure"), Accuracy(0.8, None, "one figure"), "no verdict"),
        (Accuracy(math.nan, None, "not a number"), right(1, 2), "invalid: not a number"),
        (Accuracy(), right(1, 2), "not measured"),
    ],
)
def test_accuracy_has_a_verdict_by_sample_and_none_where_there_is_no_interval(
    before: Accuracy, after: Accuracy, verdict: str
) -> None:
    assert accuracy_delta(before, after, 0.01).verdict == verdict


def test_memory_that_cannot_be_divided_by_is_said() -> None:
    nothing = measure_performance(lambda: None, rounds=6, name="nothing")
    if nothing.memory:  # where only tracemalloc can tell
        return
    some = measure_performance(lambda: np.ones(1000), rounds=6, name="some")
    assert memory_reduction(some, nothing).verdict == "not known"
    assert memory_reduction(nothing, some).verdict == "more memory"
    assert memory_reduction(some, some).verdict == "same memory"

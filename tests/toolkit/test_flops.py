"""`count_flops` and `count_parameters`, against sums made by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.toolkit.models import Linear, Network, Tensor, flops_of
from tinytrace.errors import UsageError
from tinytrace.toolkit.flops import FlopCount, count_flops
from tinytrace.toolkit.parameters import count_parameters, parameters_of


@pytest.fixture(params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


@pytest.mark.usefixtures("which_core")
@pytest.mark.parametrize("samples", [1, 64])
def test_a_network_is_counted_for_every_sample_of_the_batch(samples: int) -> None:
    found = count_flops(Network(), Tensor(np.ones((samples, 64))))
    assert found == flops_of(samples)
    matmul = 2 * samples * 64 * 32 + 2 * samples * 32 * 10
    assert found.by_op["matmul"] == matmul
    assert found.coverage == 1.0
    assert not found.uncounted
    assert sum(found.by_op.values()) == found


@pytest.mark.usefixtures("which_core")
def test_attention_is_counted_by_what_it_runs() -> None:
    heads, length, width = 4, 16, 8
    q = k = v = np.ones((heads, length, width))

    def attention() -> np.ndarray:
        scores = q @ k.swapaxes(1, 2)
        weights = np.exp(scores)
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.asarray(weights @ v)

    found = count_flops(attention)
    products = 2 * (2 * heads * length * length * width)
    assert found.by_op["matmul"] == products
    assert found.transcendentals == heads * length * length
    assert found == products + heads * length * (length - 1) + heads * length * length


def test_a_model_without_call_is_run_by_its_forward() -> None:
    assert count_flops(Linear(3, 4), Tensor(np.ones((2, 3)))) == 2 * 2 * 3 * 4 + 2 * 4


def test_layers_are_the_spans_around() -> None:
    def model(x: np.ndarray) -> np.ndarray:
        with tt.span("first"):
            x = x @ x
        with tt.span("second"):
            x = x + 1
        return x - 1

    found = count_flops(model, np.ones((4, 4)))
    assert found.by_layer == {"first": 128, "second": 16, "": 16}


@pytest.mark.usefixtures("which_core")
def test_inside_a_recording_only_what_the_model_ran_is_counted_and_our_own_arithmetic_is_not_recorded() -> (
    None
):
    x = np.ones((4, 4))
    with tt.trace(sampler="none") as recording:
        x + x
        found = count_flops(lambda: x @ x)
        again = count_flops(lambda: x + x)
        x - x
    assert (found, again) == (128, 16)
    assert recording.result is not None
    names = [recording.result.strings[i] for i in recording.result.spans.name_id]
    mark = "tinytrace.count_flops"
    assert names == ["add", mark, "matmul", mark, "add", "subtract"]


def test_what_threads_compute_that_the_model_starts_is_counted() -> None:
    x = np.ones((8, 8))

    def model() -> None:
        thread = threading.Thread(target=lambda: x @ x)
        thread.start()
        thread.join()

    assert count_flops(model) == 2 * 8**3


def test_what_has_no_formula_makes_it_a_lower_bound_that_names_it() -> None:
    found = count_flops(lambda: np.ones(3) + np.random.default_rng(0).standard_normal(3))
    assert found == 3
    assert found.uncounted == {"random.standard_normal": 1}
    assert str(found) == "at least 3 FLOPs (not counted: random.standard_normal)"
    assert found.coverage < 1


def test_a_count_is_a_number_that_reads_well() -> None:
    found = FlopCount(2_359_296)
    found.uncounted = {}
    assert f"{found}" == str(found) == "2.36 MFLOPs"
    assert f"{found:,}" == "2,359,296"
    assert found * 2 == 4_718_592


def test_nothing_to_count_is_said_and_never_zero() -> None:
    with pytest.raises(UsageError, match="nothing to count"):
        count_flops(lambda: sum(range(10)))
    with pytest.raises(UsageError, match="cannot be called"):
        count_flops(3)


def test_what_the_model_raises_travels_on_and_nothing_stays_installed() -> None:
    with pytest.raises(ZeroDivisionError):
        count_flops(lambda: 1 / 0)
    assert count_flops(lambda: np.ones(2) + 1) == 2


def test_parameters_are_counted_once_however_often_they_are_shared() -> None:
    assert count_parameters(Network()) == 64 * 32 + 32 + 32 * 10 + 10
    shared = Linear(3, 4)
    assert count_parameters([shared, {"again": shared}, shared.weight]) == 16

    class Tied:
        def __init__(self) -> None:
            self.embedding = np.ones((5, 2))
            self.out = self.embedding
            self.itself = self
            self.name = "tied"

    assert count_parameters(Tied()) == 10
    assert [p.name for p in parameters_of({"a": [np.ones(2)]})] == ["a.0"]


@pytest.mark.parametrize("nothing", [None, 3, "text", [], object(), len])
def test_what_has_no_parameters_has_none(nothing: object) -> None:
    assert count_parameters(nothing) == 0

"""The formulas of docs/counting.md, against figures computed by hand or by brute force."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrace.analysis import formulas
from tinytrace.analysis.formulas import Work

MODES: tuple[Literal["full", "same", "valid"], ...] = ("full", "same", "valid")


def test_matmul_and_convolutions_cost_two_flops_per_multiply_add() -> None:
    assert formulas.matmul_flops(2, 3, 4, batch=5) == 240
    assert formulas.conv_flops(2, (8, 8), (3, 3), 4, 16) == 2 * 2 * 64 * 9 * 16 * 4
    assert formulas.conv_flops(2, (8,), (3,), 4, 16, groups=4) == 2 * 2 * 8 * 3 * 16
    assert formulas.conv_flops(1, (4, 4, 4), (2, 2, 2), 3, 5) == 2 * 64 * 8 * 15
    assert formulas.conv_transposed_flops(2, (4, 4), (3, 3), 8, 6, groups=2) == 2 * 2 * 16 * 9 * 24


def test_convolution_backward_is_twice_forward_whatever_the_groups() -> None:
    forward = formulas.conv_flops(2, (8, 8), (3, 3), 4, 16, groups=4)
    backward = formulas.conv_backward_flops(2, (8, 8), (3, 3), 4, 16, groups=4)
    with_bias = formulas.conv_backward_flops(2, (8, 8), (3, 3), 4, 16, groups=4, bias=True)
    assert backward == 2 * forward
    assert with_bias - backward == 16 * (128 - 1)  # per channel a sum of 128 numbers


def test_attention_is_two_products_and_a_softmax() -> None:
    sizes = {"batch": 2, "heads": 3, "sq": 5, "sk": 7, "d": 4, "dv": 6}
    products = 2 * 2 * 3 * 5 * 7 * (4 + 6)
    n, rows = 2 * 3 * 5 * 7, 2 * 3 * 5
    assert formulas.attention_matmul_flops(**sizes) == products
    assert formulas.attention(**sizes) == Work(products + 4 * n - 2 * rows, transcendentals=n)
    assert formulas.attention_causal_useful(**sizes) == Work(
        (products + 4 * n - 2 * rows) // 2, transcendentals=n // 2
    )
    assert formulas.attention_backward_flops(**sizes, recompute=True) == products * 5 // 2
    assert formulas.attention_backward_flops(**sizes, recompute=False) == 2 * products


def test_normalisation_pooling_and_losses() -> None:
    assert formulas.batchnorm_flops(10, training=True) == 50
    assert formulas.batchnorm_flops(10, training=False) == 20
    assert formulas.layernorm_flops(10) == 50
    assert formulas.softmax(12, rows=3) == Work(42, transcendentals=12)
    assert formulas.pooling_flops(10, 4, average=False) == 30
    assert formulas.pooling_flops(10, 4, average=True) == 40
    assert formulas.embedding_flops() == 0
    assert formulas.cross_entropy(3, 10) == Work(120, transcendentals=30)


def test_optimizer_steps_cost_a_fixed_amount_per_parameter() -> None:
    assert formulas.optimizer_step("sgd", 10) == Work(20)
    assert formulas.optimizer_step("momentum", 10) == Work(40)
    assert formulas.optimizer_step("adam", 10) == Work(130, transcendentals=10)


def test_fractions_are_rounded_and_marked_as_nominal() -> None:
    assert formulas.cholesky(5) == Work(42, nominal=True)  # 41.67
    assert formulas.lu(5) == Work(83, nominal=True)  # 83.33
    assert formulas.fft(6) == Work(round(30 * math.log2(6)), nominal=True)
    assert formulas.fft(8, batch=2, real=True) == Work(120, nominal=True)


@pytest.mark.parametrize("n", [0, 1])
def test_degenerate_sizes_cost_nothing(n: int) -> None:
    assert formulas.fft(n).flops == 0
    assert formulas.sort_comparisons(n) == 0
    assert formulas.search_comparisons(0) == 0
    assert formulas.pooling_flops(5, n, average=False) == 0


def test_large_sizes_stay_exact() -> None:
    assert formulas.matmul_flops(2**40, 2**40, 2**40) == 2**121
    assert formulas.inverse(10**12).flops == 2 * 10**36


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(MODES))
def test_correlations_count_the_products_that_exist(
    n: int, m: int, mode: Literal["full", "same", "valid"]
) -> None:
    # Correlating ones counts, per output, how many products were added.
    products = np.correlate(np.ones(n), np.ones(m), mode).sum()
    assert formulas.correlate_flops(n, m, mode) == 2 * products


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))),
        min_size=1,
        max_size=2,
    ),
    st.integers(1, 2),
)
def test_the_unpadded_figure_leaves_out_products_with_padding(
    dimensions: list[tuple[int, int, int, int]], dilation: int
) -> None:
    sizes, kernels, strides, paddings = (list(column) for column in zip(*dimensions, strict=True))
    outs = [
        (n + 2 * p - dilation * (k - 1) - 1) // s + 1
        for n, k, s, p in zip(sizes, kernels, strides, paddings, strict=True)
    ]
    positions = itertools.product(*(range(max(0, o)) for o in outs))
    products = sum(
        all(
            0 <= o * s - p + j * dilation < n
            for o, j, n, s, p in zip(out, tap, sizes, strides, paddings, strict=True)
        )
        for out, tap in itertools.product(
            positions, list(itertools.product(*(range(k) for k in kernels)))
        )
    )
    counted = formulas.conv_unpadded_flops(
        2, sizes, kernels, 4, 6, groups=2, stride=strides, padding=paddings,
        dilation=[dilation] * len(sizes),
    )  # fmt: skip
    assert counted == 2 * 2 * products * 6 * 4 // 2


def test_without_padding_both_figures_of_a_convolution_agree() -> None:
    whole = formulas.conv_flops(1, (6, 6), (3, 3), 2, 4)
    real = formulas.conv_unpadded_flops(
        1, (8, 8), (3, 3), 2, 4, stride=(1, 1), padding=(0, 0), dilation=(1, 1)
    )
    assert whole == real

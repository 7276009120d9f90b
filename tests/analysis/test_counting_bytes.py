"""Bytes of one call: figures computed by hand, and layouts of real arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.builders import signature_of
from tinytrace.analysis.counting import count
from tinytrace.analysis.traffic import operand_bytes
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

SCALAR = Operand("float", (), Layout.PYTHON_SCALAR)


def operand(array: NDArray[np.generic], alias: int = -1) -> Operand:
    """Describe a real array as the recorder does."""
    flags = array.flags
    layout = Layout.C if flags.c_contiguous else Layout.F if flags.f_contiguous else Layout.STRIDED
    strides = array.strides if layout == Layout.STRIDED else ()
    return Operand(array.dtype.name, array.shape, layout, strides, alias, array.itemsize)


BYTES = [
    ("add", "8,8->8", "", 128, 64),
    ("add", "8:f4,8:f4->8:f4", "", 64, 32),
    ("add", "0,0->0", "", 0, 0),
    ("add.reduce", "4x5->4", "", 160, 32),
    ("matmul", "2x3,3x4->2x4", "", 144, 64),
    ("copy", "8->8", "", 64, 64),
    ("astype", "8->8:f4", "", 64, 32),
    ("array", "->8", "", None, 64),  # from a list
    ("concatenate", "3,5->8", "", 64, 64),
    ("concatenate", "3,5->8", "+", 64, 64),  # the output alone tells
    ("add", "8,8->8", "+", None, None),
    ("take", "100,8:i8->8", "", 64 + 64, 64),
    ("getitem", "100x3,8:i8->8x3", "", 192 + 64, 192),
    ("getitem", "100,100:?->8", "", 64 + 100, 64),
    ("choose", "8:i8,100,100->8", "", 64 + 64, 64),
    ("put", "100,8:i8,8->100", "", 128 + 64, 64),
    ("put", "100,8->100", "", None, None),  # the index is a list
    ("setitem", "8,8:i8->8", "", 128 + 64, 64),
    ("setitem", "8->8", "", 64, 64),  # a slice
    ("setitem", "8,8->2x8", "", 128, 128),  # a slice, from a list of two arrays
    ("setitem", "8,8:i8->8", "+", None, None),
    ("add.at", "100,8:i8,8->100", "", 128 + 64, 64),
    ("add.at", "100,8:i8->100", "", 64 + 64, 64),
    ("arange", "->8", "", 0, 64),
    ("zeros", "->8", "", 0, None),
    ("empty", "->8", "", 0, 0),
    ("random.normal", "->8", "", 0, 64),
    ("random.normal", "8->8", "", 64, 64),
    ("random.choice", "100->8", "", 64, 64),
    ("transpose", "8x2->2x8", "", 0, 0),
    ("tolist", "8->", "", 64, None),
    ("tobytes", "8->", "", 64, 64),
    ("count_nonzero", "8->", "", 64, 0),
    ("searchsorted", "1000,1000->1000:i8", "", 8000 + 8000, 8000),
    ("searchsorted", "1000->.:i8", "", 10 * 64, 8),
    ("trace", "100x100->.", "", 100 * 64, 8),
    ("trace", "2x2->.", "", 2 * 24, 8),
    ("qr_r_raw", "8x6->6", "", 384, 48 + 384),
    ("c_einsum", "2x3->3x2", "ij->ji", 0, 0),
    ("c_einsum", "3x3->3", "ii->i", 0, 0),
    ("c_einsum", "2x3->2", "ij->i", 48, 16),
    ("gcd", "8:i8,8:i8->8:i8", "", 128, 64),
    ("frobnicate", "8->8", "", None, None),
    ("add", "8:O,8->8:O", "", None, None),
]


@pytest.mark.parametrize(("op", "shapes", "attributes", "read", "written"), BYTES)
def test_bytes_equal_those_computed_by_hand(
    op: str, shapes: str, attributes: str, read: int | None, written: int | None
) -> None:
    counts = count(signature_of(op, shapes, attributes))
    assert (counts.bytes_read, counts.bytes_written) == (read, written)


def test_the_same_buffer_is_read_once() -> None:
    x = np.ones(8)
    sig = Signature("multiply", (operand(x), operand(x, alias=0), operand(np.ones(8))), 2)
    assert (count(sig).bytes_read, count(sig).bytes_written) == (64, 64)


def test_in_place_is_read_and_write() -> None:
    x, y = operand(np.ones(8)), operand(np.ones(8))
    sig = Signature("add", (x, y, operand(np.ones(8), alias=0)), 2)
    assert (count(sig).bytes_read, count(sig).bytes_written) == (128, 64)
    sort = Signature("sort", (x, operand(np.ones(8), alias=0)), 1)
    assert (count(sort).bytes_read, count(sort).bytes_written) == (64, 64)


def test_what_is_only_overwritten_is_not_read() -> None:
    target, source, again = Operand("f8", (8,)), Operand("f8", (4,)), Operand("f8", (8,), alias=0)
    fill, copyto = (
        Signature("fill", (target, again), 1),
        Signature("copyto", (target, source, again), 2),
    )
    assert (count(fill).bytes_read, count(fill).bytes_written) == (0, 64)
    assert (count(copyto).bytes_read, count(copyto).bytes_written) == (32, 64)


def test_what_is_assigned_to_itself_moves_nothing() -> None:
    x, itself = operand(np.ones(8)), operand(np.ones(8), alias=0)
    assert count(Signature("setitem", (x, itself), 1)).bytes == 0
    assert count(Signature("setitem", (x, operand(np.ones(8))), 1)).bytes == 128


def test_a_result_that_is_the_argument_itself_moves_nothing() -> None:
    x = operand(np.ones(8))
    assert count(Signature("asarray", (x, operand(np.ones(8), alias=0)), 1)).bytes == 0


def test_scalars_have_no_bytes() -> None:
    x = operand(np.ones(8))
    assert count(Signature("add", (x, SCALAR, x), 2)).bytes_read == 64
    scalar = Operand("float64", (), Layout.NUMPY_SCALAR)
    assert count(Signature("add.reduce", (x, scalar), 1)).bytes_written == 0


BASE = np.zeros((64, 1024))  # rows of 8 KB


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (BASE, 64 * 8192),
        (BASE.T, 64 * 8192),
        (BASE[:, 0], 64 * 64),  # a cache line per element
        (BASE[:, :1], 64 * 64),
        (BASE[:, :2], 64 * 64),  # both in one line
        (BASE[:, :16], 64 * 128),
        (BASE[:, :1000], 64 * 8000),
        (BASE[:, ::2], 64 * 512 * 16),
        (BASE[:, ::16], 64 * 64 * 64),
        (BASE[0, ::2], 512 * 16),
        (BASE[0, ::-1], 8192),
        (BASE[:, ::-1], 64 * 8192),
        (BASE[::2], 32 * 8192),
        (BASE.reshape(64, 32, 32).transpose(1, 0, 2), 64 * 8192),
        (np.broadcast_to(BASE[0], (50, 1024)), 8192),
        (np.broadcast_to(BASE[0, 0], (50, 7)), 8),
        (np.lib.stride_tricks.sliding_window_view(BASE[0], 100), 8192),
        (np.zeros(0)[::2], 0),
        (np.zeros((4, 4), "S100")[:, ::2], 4 * 2 * 100),
    ],
)
def test_strided_operands_cost_the_cache_lines_that_they_touch(
    array: NDArray[np.generic], expected: int
) -> None:
    assert operand_bytes(operand(array)) == expected


def test_the_byte_order_does_not_change_what_an_array_is() -> None:
    layout = Layout.C | LAYOUT_SWAPPED
    swapped = Operand("float64", (8,), layout)  # type: ignore[arg-type]
    assert operand_bytes(swapped) == 64


@st.composite
def strided_arrays(draw: st.DrawFn) -> NDArray[np.generic]:
    """Any slice of any transposed array."""
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    array = np.zeros(shape, draw(st.sampled_from(["f8", "f4", "u1", "S70"])))
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    part: NDArray[np.generic] = array[tuple(draw(st.slices(size)) for size in array.shape)]
    return part


@settings(max_examples=200, deadline=None)
@given(strided_arrays())
def test_no_array_costs_less_than_its_elements_or_more_than_a_line_each(
    array: NDArray[np.generic],
) -> None:
    cost = operand_bytes(operand(array))
    assert cost is not None
    assert array.nbytes <= cost <= array.size * max(64, array.itemsize)

"""Both recorders describe the same call in the same way, whatever its operands are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from tests.contract.recorded import Recorded, record, run
from tests.cores import CORES
from tinytrace.tracer.trace import Signature

DTYPES = ["f8", "f4", "i8", "i2", "u1", "?", "c16", ">f8", ">i4", "f2"]
SCALARS: list[Any] = [
    1,
    -3,
    2**70,
    2.5,
    True,
    1 + 2j,
    np.float32(2),
    np.int64(3),
    np.bool_(True),
    None,
]
# Calls of two operands and an axis; not every one takes what it gets.
CALLS: list[Callable[[Any, Any, Any], object]] = [
    lambda a, b, axis: np.add(a, b),
    lambda a, b, axis: np.multiply(b, a),
    lambda a, b, axis: np.power(a, b),
    lambda a, b, axis: np.maximum(a, b, out=a),
    lambda a, b, axis: np.divmod(a, b),
    lambda a, b, axis: np.add(a, a),
    lambda a, b, axis: np.add(a, a.view()),
    lambda a, b, axis: np.negative(a, a.copy()),
    lambda a, b, axis: np.negative(a, a),
    lambda a, b, axis: np.add(a, b, a),
    lambda a, b, axis: np.add(b, a, a),
    lambda a, b, axis: np.add(a, a.view(), a),
    lambda a, b, axis: np.add(a, a, a),
    lambda a, b, axis: np.add(a, a[::-1]),
    lambda a, b, axis: np.modf(a),
    lambda a, b, axis: np.nonzero(a),
    lambda a, b, axis: np.stack([a, a.view()]),
    lambda a, b, axis: np.array([a, a.copy()]),
    lambda a, b, axis: np.array([1.0, 2.0]),
    lambda a, b, axis: np.array([[1, 2], (3, 4)]),
    lambda a, b, axis: np.transpose(a, axis),
    lambda a, b, axis: np.pad(a, ((1, 1),) * a.ndim),
    lambda a, b, axis: np.add(a, b, where=np.ones(a.shape, bool)),
    lambda a, b, axis: np.add(a, b, dtype="f8", casting="unsafe"),
    lambda a, b, axis: np.add(a, [1, 2]),
    lambda a, b, axis: np.add.reduce(a, axis=axis),
    lambda a, b, axis: a.sum(axis, keepdims=True),
    lambda a, b, axis: np.max(a, axis=axis),
    lambda a, b, axis: a.astype("f4"),
    lambda a, b, axis: a.astype(a.dtype, copy=False),
    lambda a, b, axis: np.asarray(a, order="F"),
    lambda a, b, axis: a.reshape(-1),
    lambda a, b, axis: np.ravel(a, "K"),
    lambda a, b, axis: np.concatenate([a, a], axis=0),
    lambda a, b, axis: np.concatenate([a] * 15, axis=None),
    lambda a, b, axis: np.where(a, a, b),
    lambda a, b, axis: a @ a.T,
    lambda a, b, axis: np.einsum("i...->...", a),
    lambda a, b, axis: np.roll(a, 1),
    lambda a, b, axis: np.sort(a, axis=-1),
    lambda a, b, axis: np.fft.fft(a, axis=0),
    lambda a, b, axis: np.clip(a, 0, b),
    lambda a, b, axis: np.copyto(a, b, casting="unsafe"),
    lambda a, b, axis: np.random.default_rng(0).normal(a),
]  # fmt: skip
Program = list[tuple[Callable[[Any, Any, Any], object], Any, Any, Any]]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Draw an array: any shape, order, strides and byte order; sometimes broadcast, empty or 0-d."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3).map(tuple))
    dtype = draw(st.sampled_from(DTYPES))
    whole = np.ones(tuple(2 * n for n in shape), dtype, order=draw(st.sampled_from("CF")))
    cut = tuple(
        draw(st.sampled_from([slice(n), slice(None, None, 2), slice(n, 2 * n)])) for n in shape
    )
    array: np.ndarray[Any, Any] = whole[cut or ...]
    how = draw(st.sampled_from(["", "T", "flip", "broadcast", "new"]))
    if how == "T":
        array = array.T
    if how == "flip" and array.ndim:
        return array[::-1]
    if how == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    return array.copy("A") if how == "new" else array


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a few calls; operands are shared, so that results, views and aliases meet."""
    pool: list[Any] = [*draw(st.lists(arrays(), min_size=1, max_size=3)), *SCALARS]
    ones = [value for value in pool if isinstance(value, np.ndarray)]
    axes = st.sampled_from([None, 0, -1, (0,), [0]])
    one = st.tuples(st.sampled_from(CALLS), st.sampled_from(ones), st.sampled_from(pool), axes)
    return draw(st.lists(one, min_size=1, max_size=8))


def described(core: str, calls: Program) -> list[tuple[Signature, int, int]]:
    """Run the calls on a core, twice each; returns signature, flags and parent of every op."""

    def program() -> None:
        with np.errstate(all="ignore"):
            for call, a, b, axis in calls:
                for _ in range(2):  # the second is recognised, the first described
                    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
                        call(a, b, axis)

    trace = record(core, program)
    found = Recorded(trace)
    kept = [r for r in found.rows if found.name(r) not in {"getitem", "setitem"}]
    order = {row: n for n, row in enumerate([*kept, -1])}
    spans = trace.spans
    return [
        (trace.signatures[spans.signature_id[r]], int(spans.flags[r]), order[int(spans.parent[r])])
        for r in kept
    ]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(programs())
def test_both_cores_record_the_same_ops_and_signatures(calls: Program) -> None:
    first, *others = [described(core, calls) for core in CORES]
    for other in others:
        assert other == first


@pytest.mark.parametrize("core", CORES)
def test_calls_that_look_alike_are_told_apart_by_which_arrays_are_the_same(core: str) -> None:
    x, y = np.ones(3), np.ones(3)
    expected = {
        "np.add(x, y)": "add[3,3->3]",
        "np.add(x, x)": "add[3,3=0->3]",
        "np.add(y, x[:])": "add[3,3->3]",
        "np.add(x, x[:])": "add[3,3=0->3]",
        "np.add(x[:], x[:])": "add[3,3=0->3]",
        "np.add(x[:], y[:])": "add[3,3->3]",
        "np.add(x, y, x)": "add[3,3->3=0]",
        "np.add(x, y, y)": "add[3,3->3=1]",
        "np.add(x, y, y[:])": "add[3,3->3=1]",
        "np.add(x, x, x)": "add[3,3=0->3=0]",
        "np.add(x, x, y)": "add[3,3=0->3]",
        "np.add(x, x[:], x)": "add[3,3=0->3=0]",
        "np.negative(x)": "negative[3->3]",
        "np.negative(x, x)": "negative[3->3=0]",
        "np.negative(x, y)": "negative[3->3]",
        "np.negative(x, x[:])": "negative[3->3=0]",
    }
    for texts in (list(expected), list(reversed(expected))):
        found = Recorded(run(core, "\n".join(texts), {"np": np, "x": x, "y": y}))
        assert found.by_line() == {n: expected[t] for n, t in enumerate(texts, 1)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_part_that_is_assigned_to_is_described_as_a_view_of_it(data: st.DataObject) -> None:
    a = data.draw(arrays().filter(lambda a: a.flags.writeable))
    keys = basic_indices(a.shape, allow_newaxis=True)
    key = data.draw(keys.filter(lambda key: isinstance(a[key], np.ndarray)))
    view = a[key]

    def program() -> None:
        a[key] = view
        a[key] = view.copy()

    trace = record(CORES[0], program)
    told = [
        trace.signatures[trace.spans.signature_id[row]].outputs[0]
        for row in range(len(trace.spans))
        if trace.strings[trace.spans.name_id[row]] == "setitem"
    ]
    assert [part.alias for part in told] == ([0, -1] if CORES[0] == "c" else [])
    c, f = view.flags.c_contiguous, view.flags.f_contiguous
    for part in told:
        assert (np.dtype(part.dtype), part.itemsize) == (view.dtype, view.itemsize)
        assert part.shape == view.shape
        assert (part.layout & 15) == (0 if c else 1 if f else 2)
        assert part.strides == (() if c or f else view.strides)


@settings(max_examples=60, deadline=None)
@given(arrays(), st.sampled_from(CORES))
def test_operands_are_described_as_the_array_describes_itself(
    a: np.ndarray[Any, Any], core: str
) -> None:
    trace = record(core, lambda: np.equal(a, a))
    (row,) = [r for r in range(len(trace.spans)) if trace.spans.signature_id[r] >= 0]
    first, again, _ = trace.signatures[trace.spans.signature_id[row]].operands
    assert first.shape == a.shape
    assert np.dtype(first.dtype) == a.dtype
    assert first.itemsize == a.itemsize
    assert again.alias == 0
    c, f = a.flags.c_contiguous, a.flags.f_contiguous
    assert (first.layout & 15) == (0 if c else 1 if f else 2)
    assert first.strides == (() if c or f else a.strides)

"""The cost of one call: figures computed by hand for every row of the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import random_signature, signature_of
from tinytrace.analysis.counting import Counts, count
from tinytrace.analysis.op_table import METHODS, ROWS, TABLE, find
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

DOCUMENT = Path(__file__).parents[2] / "docs" / "counting.md"
LIST = Operand("object", (), Layout.OTHER, itemsize=0)


def count_of(op: str, shapes: str, attributes: str = "") -> Counts:
    return count(signature_of(op, shapes, attributes))


def work_of(op: str, shapes: str, attributes: str = "") -> tuple[int | None, int, int]:
    counts = count_of(op, shapes, attributes)
    return counts.flops, counts.transcendentals, counts.comparisons


FLOPS = [
    # elementwise: the broadcast output, not the first input
    ("add", "8,8->8", "", 8),
    ("add", "3x1,1x4->3x4", "", 12),
    ("subtract", ".,5->5", "", 5),
    ("add", "3x1,1x4->", "", 12),  # no output recorded
    ("add", "8:i4,8:i4->8:i4", "", 8),
    ("add", "8:c16,8:c16->8:c16", "", 16),
    ("multiply", "8:c16,8->8:c16", "", 48),
    ("divide", "8,8->8", "", 8),
    ("divide", "8:c16,8:c16->8:c16", "", 88),
    ("divmod", "8,8->8,8", "", 16),
    ("maximum", "8,8->8", "", 8),
    ("logical_not", "8:?->8:?", "", 8),
    ("clip", "8,.,.->8", "", 16),
    ("deg2rad", "8->8", "", 8),
    ("square", "8->8", "", 8),
    ("conjugate", "8:c16->8:c16", "", 8),
    ("conjugate", "8->8", "", 0),
    ("positive", "8->8", "", 0),
    ("subtract", "8:M8[s],8:M8[s]->8:m8[s]", "", 8),
    ("arange", "->8", "", 16),
    # reductions
    ("add.reduce", "4x5->4", "axis=1", 16),
    ("add.reduce", "4x5->.", "None", 19),
    ("add.reduce", "4x5:c16->4:c16", "axis=1", 32),
    ("add.reduce", "0->.", "", 0),
    ("maximum.reduce", "4x5->5", "", 15),
    ("sum", "4x5->4", "axis=1", 16),
    ("prod", "5:c16->.:c16", "", 24),
    ("mean", "4x5->4", "axis=1", 20),
    ("argmax", "7->.:i8", "", 6),
    ("count_nonzero", "7->", "", 6),
    ("add.accumulate", "4x5->4x5", "", 15),
    ("add.accumulate", "4x5->4x5", "1", 16),
    ("cumsum", "4x5->20", "", 19),
    ("cumsum", "4x5->4x5", "axis=0", 15),
    ("cumprod", "5:c16->5:c16", "", 24),
    ("add.reduceat", "10,3:i8->3", "", 7),
    ("multiply.outer", "3,4->3x4", "", 12),
    ("add.outer", "3,4->3x4", "", 12),
    ("add.at", "10,6:i8,6->10", "", 6),
    ("add.at", "10,6:i8->10", "", 6),  # a scalar value is not recorded
    ("add.at", "10x3,6:i8,6x3->10x3", "", 18),
    ("add.at", "10,6:i8,6:i8->10", "", 6),
    ("trace", "4x5->.", "offset=0;axis1=0;axis2=1;dtype=None", 3),
    ("bincount", "9:i8->5:i8", "", 9),
    # products
    ("matmul", "2x3,3x4->2x4", "", 48),
    ("matmul", "10x2x3,3x4->10x2x4", "", 480),
    ("matmul", "2x3,3->2", "", 12),
    ("matmul", "3,3->.", "", 6),
    ("matmul", "2x3:c16,3x4:c16->2x4:c16", "", 192),
    ("matmul", "2x0,0x4->2x4", "", 0),
    ("dot", "2x3,5x3x4->2x5x4", "", 240),
    ("dot", "3,.->3", "", 3),
    ("inner", "2x3,4x3->2x4", "", 48),
    ("vdot", "2x3,2x3->.", "", 12),
    ("vecdot", "5x3,5x3->5", "", 30),
    ("matvec", "5x2x3,3->5x2", "", 60),
    ("vecmat", "2,2x3->3", "", 12),
    ("outer", "3,4->3x4", "", 12),
    ("tensordot", "2x3x4,3x4x5->2x5", "", 240),
    ("c_einsum", "2x3,3x4->2x4", "ij,jk->ik", 48),
    ("c_einsum", "2x3,3x4->2x4", "ij,jk", 48),
    ("c_einsum", "2x3:c16,3x4:c16->2x4:c16", "ij,jk->ik", 192),
    ("c_einsum", "2x3->2", "ij->i", 4),
    ("c_einsum", "3x3->.", "ii", 8 - 6),  # three elements, two additions
    ("c_einsum", "2x3->3x2", "ij->ji", 0),
    ("c_einsum", "2x3,2x3->2x3", "ij,ij->ij", 6),
    ("c_einsum", "2,3,2x3->.", "i,j,ij->", 18),
    ("c_einsum", "5x2x3,5x3x4->5x2x4", "...ij,...jk->...ik", 240),
    ("c_einsum", "5x2x3,3x4->5x2x4", "...ij,jk", 240),
    ("correlate", "5,3->7", "full", 30),
    ("correlate", "5,3->5", "same", 26),
    ("correlate2", "5,3->3", "valid", 18),
    ("correlate", "5:c16,3:c16->3:c16", "", 72),
    ("interp", "10,4,4->10", "", 39),
    # transforms
    ("fft", "8:c16,.->8:c16", "", 120),
    ("fft", "3x8:c16,.->3x8:c16", "axes=((1,), (), (1,))", 360),
    ("ifft", "8x3:c16,.->8x3:c16", "axes=((0,), (), (0,))", 360),
    ("fft", "3x5:c16,.->3x8:c16", "", 360),
    ("rfft_n_even", "8,.->5:c16", "", 60),
    ("rfft_n_odd", "7,.->4:c16", "", round(2.5 * 7 * np.log2(7))),
    ("irfft", "5:c16,.->8", "", 60),
    ("execute", "3x8:c16->3x8:c16", "False;True", 360),
    ("execute", "3x8->3x5:c16", "True;True", 180),
    ("execute", "3x8:c16->3x8", "True;False", 180),
    # linear algebra, n = 6, m = 8, by LAPACK Working Note 41
    ("solve", "6x6,6x2->6x2", "", 144 + 144),
    ("solve1", "6x6,6->6", "", 144 + 72),
    ("solve", "5x6x6,5x6x2->5x6x2", "", 5 * 288),
    ("solve1", "6x6:c16,6:c16->6:c16", "", 4 * 216),
    ("inv", "6x6->6x6", "", 432),
    ("cholesky_lo", "6x6->6x6", "", 72),
    ("det", "6x6->.", "", 144),
    ("slogdet", "3x6x6->3,3", "", 432),
    ("qr_r_raw", "8x6->6", "", 2 * 8 * 36 - 144),
    ("qr_r_raw_n", "8x6->6", "", 432),
    ("qr_r_raw", "6x8->6", "", 432),
    ("qr_reduced", "8x6,6->8x6", "", 2 * 8 * 36 - 144),
    ("qr_complete", "8x6,6->8x8", "", 4 * 64 * 6 - 2 * 16 * 36 + 288),
    ("svd_s", "8x6->8x6,6,6x6", "", 4 * 8 * 36 + 8 * 216),
    ("svd_n_f", "8x6->8x8,6,6x6", "", 2880),
    ("svd", "8x6->6", "", 4 * 8 * 36 - 288),
    ("lstsq", "8x6,8x1,.->6x1,1,.,6", "", 2880),
    ("eig", "6x6->6:c16,6x6:c16", "", 25 * 216),
    ("eig", "6x6:c16->6:c16,6x6:c16", "", 25 * 216 * 4),
    ("eigvals", "6x6->6", "", 2160),
    ("eigh_lo", "6x6->6,6x6", "", 1944),
    ("eigvalsh_up", "6x6->6", "", 288),
    # moving
    *(
        (op, "8->8", "", 0)
        for op in [
            "copy",
            "astype",
            "reshape",
            "concatenate",
            "repeat",
            "fill",
            "copyto",
            "tolist",
            "tobytes",
            "nonzero",
        ]
    ),
    ("where", "8:?,8,8->8", "", 0),
    ("take", "8,3:i8->3", "", 0),
    ("zeros", "->8", "", 0),
]


@pytest.mark.parametrize(("op", "shapes", "attributes", "flops"), FLOPS)
def test_flops_equal_those_computed_by_hand(
    op: str, shapes: str, attributes: str, flops: int
) -> None:
    counts = count_of(op, shapes, attributes)
    assert counts.flops == flops
    assert type(counts.flops) is int


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "work"),
    [
        ("exp", "3x4->3x4", "", (0, 12, 0)),
        ("sqrt", "5->5", "", (0, 5, 0)),
        ("sqrt", "5:c16->5:c16", "", (0, 5, 0)),
        ("arctan2", "3x1,4->3x4", "", (0, 12, 0)),
        ("power", "5,.->5", "exponent=3", (0, 5, 0)),
        ("power", "5,.->5", "exponent=2", (5, 0, 0)),
        ("power", "5,.->5", "exponent=2.0", (5, 0, 0)),
        ("power", "5:c16,.->5:c16", "exponent=2", (30, 0, 0)),
        ("power", "5,.->5", "exponent=0.5", (0, 5, 0)),
        ("power", "5,.->5", "exponent=22", (0, 5, 0)),
        ("absolute", "5->5", "", (5, 0, 0)),
        ("absolute", "5:c16->5", "", (0, 5, 0)),
        ("sign", "5:c16->5:c16", "", (10, 5, 0)),
        ("logaddexp", "5,5->5", "", (10, 10, 0)),
        ("logaddexp.reduce", "5->.", "", (8, 8, 0)),
        ("hypot.reduce", "3x5->3", "axis=1", (0, 12, 0)),
        ("erf", "5->5", "", (0, 5, 0)),
        ("sort", "3x8->3x8", "axis=-1", (0, 0, 72)),
        ("sort", "8x3->8x3", "0", (0, 0, 72)),
        ("sort", "8->8", "axis=-1;kind=None;order=None", (0, 0, 24)),
        ("argsort", "2x4->8:i8", "axis=None", (0, 0, 24)),
        ("sort", "8:U7->8:U7", "", (0, 0, 24)),
        ("lexsort", "8,8->8:i8", "", (0, 0, 48)),
        ("lexsort", "2x8->8:i8", "", (0, 0, 48)),
        ("searchsorted", "7,10->10:i8", "", (0, 0, 30)),
        ("searchsorted", "7->.:i8", "", (0, 0, 3)),
        ("interp", "10,4,4->10", "", (39, 0, 30)),
    ],
)
def test_transcendentals_and_comparisons_are_figures_of_their_own(
    op: str, shapes: str, attributes: str, work: tuple[int, int, int]
) -> None:
    assert work_of(op, shapes, attributes) == work


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"),
    [
        ("frobnicate", "8->8", ""),  # no formula
        ("tensorsolve", "8->8", ""),
        ("matmul.reduce", "8x8->8", ""),
        ("add.frobnicate", "8->8", ""),
        ("gcd", "8:i8,8:i8->8:i8", ""),  # deliberately
        ("gcd.reduce", "8:i8->.:i8", ""),
        ("partition", "8->8", ""),
        ("random.normal", "->8", ""),
        ("add", "8:O,8:O->8:O", ""),  # numbers of unknown kind
        ("copy", "8:O->8:O", ""),
        ("add", "8:U7,8:U7->8:U14", ""),
        ("equal", "8:U7,8:U7->8:?", ""),
        ("exp", "->", ""),  # operands missing
        ("matmul", "2x3->", ""),
        ("add", "3,4->", ""),  # nonsense
        ("tensordot", "7,5->3", ""),
        ("c_einsum", "2x3,3x4->2x4", ""),
        ("c_einsum", "2x3,3x4->2x4", "ij->i"),
        ("c_einsum", "2x3,3x4->2x4", "ijk,jk->ik"),
        ("fft", "3x8:c16,.->3x8:c16", ""),  # which axis?
        ("fft", "3x8:c16,.->3x8:c16", "axes=((7,), (), (7,))"),
        ("sort", "3x8->3x8", "axis=5"),
        ("cumsum", "4x5->4x5", ""),
        ("add.at", "10x9,6:i8,6:i8->10x9", ""),  # indices, or an index and values?
        ("add.at", "10,10:?->10", ""),  # how many are true?
        ("trace", "4x5->.", "offset=1"),
        ("matmul", "2x3,3x4->2x4", "axes=((0, 1), (1, 0), (0, 1))"),
        ("add", "8,8->8", "+"),  # operands left out
    ],
)
def test_what_has_no_formula_is_uncounted_and_not_zero(
    op: str, shapes: str, attributes: str
) -> None:
    counts = count_of(op, shapes, attributes)
    assert counts.flops is None
    assert (counts.transcendentals, counts.comparisons) == (0, 0)


def test_a_foreign_operand_beside_an_array_leaves_the_flops_known_and_the_bytes_not() -> None:
    array = Operand("float64", (8,))
    counts = count(Signature("add", (array, LIST, array), 2))
    assert (counts.flops, counts.bytes_read, counts.bytes_written) == (8, None, 64)
    assert counts.bytes is None
    assert count(Signature("add", (array, LIST, LIST), 2)).flops is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_elementwise_ops_cost_the_elements_that_numpy_broadcasts_to(data: st.DataObject) -> None:
    result = data.draw(st.lists(st.integers(1, 5), max_size=4))
    shapes = [
        tuple(data.draw(st.sampled_from([1, d])) for d in result[data.draw(st.integers(0, 4)) :])
        for _ in range(2)
    ]
    operands = tuple(Operand("float64", shape) for shape in shapes)
    expected = np.add(*(np.ones(shape) for shape in shapes)).size
    assert count(Signature("add", operands, 2)).flops == expected
    out = Operand("float64", np.broadcast_shapes(*shapes))
    assert count(Signature("exp", (*operands, out), 2)).transcendentals == expected


OPS = [*TABLE, *(f"{base}.{m}" for base in ("add", "power", "gcd", "matmul") for m in METHODS)]
SIZES = st.sampled_from([-1, 0, 1, 2, 3, 7, 10**6, 2**70])
OPERANDS = st.builds(
    Operand,
    dtype=st.sampled_from(["float64", "complex64", "int8", "bool", "object", "str64", "float", ""]),
    shape=st.lists(SIZES, max_size=4).map(tuple),
    layout=st.sampled_from([*Layout, Layout.C | LAYOUT_SWAPPED, 15]),
    strides=st.lists(st.integers(-100, 100), max_size=4).map(tuple),
    alias=st.integers(-2, 6),
    itemsize=st.integers(-1, 100),
)
ATTRIBUTES = st.sampled_from(
    [
        "",
        "+",
        "axis=1",
        "-1",
        "None",
        "axes=[(9,)]",
        "ij,jk->ik",
        "i...->...",
        "ii",
        ";;=",
        "exponent=2",
    ]
)


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(OPS),
    st.lists(OPERANDS, max_size=5).map(tuple),
    st.integers(-1, 6),
    ATTRIBUTES | st.text(max_size=8),
)
def test_counting_never_raises_and_never_gives_a_negative_figure(
    op: str, operands: tuple[Operand, ...], n_inputs: int, attributes: str
) -> None:
    counts = count(Signature(op, operands, n_inputs, attributes))
    figures = (counts.flops, counts.bytes_read, counts.bytes_written)
    assert all(figure is None or (type(figure) is int and figure >= 0) for figure in figures)
    assert counts.transcendentals >= 0
    assert counts.comparisons >= 0


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_strange_signatures_can_be_counted(rng: object) -> None:
    assert isinstance(count(random_signature(rng)), Counts)  # type: ignore[arg-type]


def ufunc_names() -> list[str]:
    """Names of all ufuncs of this NumPy's core, linalg and fft."""
    modules = ["_core.umath", "core.umath", "linalg._umath_linalg", "fft._pocketfft_umath"]
    found: set[str] = set()
    for name in modules:
        if name == "core.umath" and hasattr(np, "_core"):
            continue  # the old place of the same module, deprecated
        try:
            module = __import__(f"numpy.{name}", fromlist=["x"])
        except ImportError:  # another NumPy
            continue
        found |= {f.__name__ for f in vars(module).values() if isinstance(f, np.ufunc)}
    return sorted(found)


def test_every_ufunc_of_numpy_is_in_the_table_with_a_formula_or_a_reason() -> None:
    names = ufunc_names()
    assert len(names) > 100
    assert [name for name in names if find(name) is None] == []
    for name in names:
        row = TABLE[name]
        assert (row.work is None) == row.formula.startswith("uncounted: ")


def test_a_numeric_ufunc_without_a_formula_is_one_whose_steps_depend_on_the_values() -> None:
    def is_numeric(name: str) -> bool:
        types = getattr(getattr(np, name, None), "types", [])
        return any(set(t.replace("->", "")) & set("bhilqfdFD") for t in types)

    without = {name for name in ufunc_names() if TABLE[name].work is None and is_numeric(name)}
    assert without == {"gcd", "lcm"}


def test_no_op_has_two_rows() -> None:
    names = [name for row in ROWS for name in row.ops.split()]
    assert sorted(names) == sorted(set(names))


def table_lines() -> list[str]:
    """Return the table as the document prints it."""
    rows = [
        (" ".join(f"`{op}`" for op in row.ops.split()), row.formula, row.traffic) for row in ROWS
    ]
    rows += [(f"`<ufunc>.{name}`", m.formula, m.traffic) for name, m in METHODS.items()]
    return [f"| {ops} | {formula} | {rule.__name__} |" for ops, formula, rule in rows]


def test_the_document_prints_the_table_of_the_code() -> None:
    printed = re.findall(r"^\| `.*\|$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert printed == table_lines()


def test_the_document_explains_every_byte_rule() -> None:
    text = DOCUMENT.read_text("utf-8")
    rules = {row.traffic.__name__ for row in ROWS} | {m.traffic.__name__ for m in METHODS.values()}
    assert [rule for rule in sorted(rules) if f"| **{rule}** |" not in text] == []

"""From a program to figures: FLOPs, transcendentals, comparisons and bytes, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import Recorded, run
from tests.cores import CORES
from tinytrace.analysis.counting import count_trace

I8 = 8  # bytes of an index
# (line, ((op, FLOPs, T, comparisons, bytes), one per innermost op); None: uncounted)
Figures = tuple[str, int | None, int | None, int | None, int | None]
CASES: list[tuple[str, tuple[Figures, ...]]] = [
    # matmul, mv, dot: 2MNK; every input once, the output once
    ("a @ b", (("matmul", 2 * 10 * 30 * 20, 0, 0, 8 * (200 + 600 + 300)),)),
    ("stack3 @ b", (("matmul", 2 * 3 * 10 * 20 * 30, 0, 0, 8 * (600 + 600 + 900)),)),
    ("a @ v20", (("matmul", 2 * 10 * 20, 0, 0, 8 * (200 + 20 + 10)),)),
    ("np.dot(v20, v20)", (("dot", 2 * 20, 0, 0, 8 * 20),)),
    ("np.vdot(a, a2)", (("vdot", 2 * 200, 0, 0, 8 * 400),)),
    ("a @ a.T", (("matmul", 2 * 10 * 10 * 20, 0, 0, 8 * (200 + 200 + 100)),)),
    # einsum and tensordot: 2 per multiply-add
    ("np.einsum('ij,jk->ik', a, b)", (("c_einsum", 2 * 6000, 0, 0, 8 * 1100),)),
    ("np.einsum('ij->', a)", (("c_einsum", 199, 0, 0, 8 * 200),)),
    ("np.einsum('ij->ji', a)", (("c_einsum", 0, 0, 0, 0),)),
    ("np.tensordot(a, b, 1)", (("dot", 2 * 6000, 0, 0, 8 * 1100),)),
    ("np.convolve(v20, v10)", (("correlate", 2 * 200, 0, 0, 8 * (20 + 10 + 29)),)),
    # element by element: N of the broadcast output
    ("a + v20", (("add", 200, 0, 0, 8 * (200 + 20 + 200)),)),
    ("a * a", (("multiply", 200, 0, 0, 8 * 400),)),
    ("a * 2.0", (("multiply", 200, 0, 0, 8 * 400),)),
    ("a += 1", (("add", 200, 0, 0, 8 * 400),)),
    ("a < a2", (("less", 200, 0, 0, 8 * 400 + 200),)),
    ("np.maximum(a, 0)", (("maximum", 200, 0, 0, 8 * 400),)),
    ("z * z", (("multiply", 6 * 20, 0, 0, 16 * 40),)),
    ("f4 + f4", (("add", 200, 0, 0, 4 * 400),)),
    ("a ** 2", (("square", 200, 0, 0, 8 * 400),)),
    # transcendentals
    ("np.exp(a)", (("exp", 0, 200, 0, 8 * 400),)),
    ("np.sqrt(a)", (("sqrt", 0, 200, 0, 8 * 400),)),
    ("np.tanh(a, out=a)", (("tanh", 0, 200, 0, 8 * 400),)),
    ("a ** 3", (("power", 0, 200, 0, 8 * 400),)),
    # reductions: N_in - N_out
    ("a.sum()", (("add.reduce", 199, 0, 0, 8 * 200),)),
    ("a.sum(axis=0)", (("add.reduce", 180, 0, 0, 8 * 220),)),
    ("a.max(axis=1)", (("maximum.reduce", 190, 0, 0, 8 * 210),)),
    ("a.mean(axis=0)", (("add.reduce", 180, 0, 0, 8 * 220), ("divide", 20, 0, 0, 8 * 40))),
    ("np.add.accumulate(a)", (("add.accumulate", 180, 0, 0, 8 * 400),)),
    ("np.add.outer(v10, v20)", (("add.outer", 200, 0, 0, 8 * 230),)),
    ("np.add.at(v20, idx, 1.0)", (("add.at", 5, 0, 0, 2 * 8 * 5 + I8 * 5),)),
    ("np.add.at(v20, idx, v5)", (("add.at", 5, 0, 0, 3 * 8 * 5 + I8 * 5),)),
    # gather, scatter, copies, views
    ("a.copy()", (("copy", 0, 0, 0, 8 * 400),)),
    ("a.astype('f4')", (("astype", 0, 0, 0, 12 * 200),)),
    ("np.ascontiguousarray(a.T)", (("ascontiguousarray", 0, 0, 0, 8 * 400),)),
    ("a.T.reshape(200)", (("reshape", 0, 0, 0, 8 * 400),)),
    ("np.concatenate([a, a2])", (("concatenate", 0, 0, 0, 2 * 8 * 400),)),
    ("np.take(v20, idx)", (("take", 0, 0, 0, 2 * 8 * 5 + I8 * 5),)),
    ("np.where(a > 0, a, a2)", (
        ("greater", 200, 0, 0, 8 * 200 + 200), ("where", 0, 0, 0, 200 + 3 * 8 * 200),
    )),
    ("t20.fill(0)", (("fill", 0, 0, 0, 8 * 20),)),
    ("np.copyto(t20, v20)", (("copyto", 0, 0, 0, 8 * 40),)),
    ("np.place(t20, m20, [1.0])", (("place", 0, 0, 0, 8 * 20 + 20),)),
    # a column of a wide matrix: a cache line per element
    ("wide[:, 0] + 1", (("add", 10, 0, 0, 64 * 10 + 8 * 10),)),
    ("wide[:, ::2] + 1", (("add", 500, 0, 0, 16 * 500 + 8 * 500),)),
    # a broadcast operand is read once
    ("np.broadcast_to(v20, (10, 20)).copy()", (("copy", 0, 0, 0, 8 * 20 + 8 * 200),)),
    # transforms and linear algebra: rated
    ("np.fft.fft(c16)", (("fft", 5 * 16 * 4, 0, 0, 16 * 32),)),
    ("np.fft.rfft(v16)", (("rfft_n_even", 5 * 16 * 4 // 2, 0, 0, 8 * 16 + 16 * 9),)),
    ("np.linalg.solve(sq, v6)", (("solve1", 2 * 216 // 3 + 2 * 36, 0, 0, 8 * (36 + 12)),)),
    ("np.linalg.inv(sq)", (("inv", 2 * 216, 0, 0, 8 * 72),)),
    ("np.linalg.cholesky(sym)", (("cholesky_lo", 216 // 3, 0, 0, 8 * 72),)),
    ("np.linalg.eigvalsh(sym)", (("eigvalsh_lo", 4 * 216 // 3, 0, 0, 8 * 42),)),
    ("np.linalg.eigh(sym)", (("eigh_lo", 9 * 216, 0, 0, 8 * 78),)),
    ("np.linalg.eigvals(csq)", (
        ("isfinite", 72, 0, 0, 16 * 36 + 36), ("logical_and.reduce", 35, 0, 0, 36),
        ("eigvals", 4 * 10 * 216, 0, 0, 16 * 36 + 16 * 6),
    )),
    ("np.linalg.svd(a, compute_uv=False)", (
        ("svd", 4 * 20 * 100 - 4 * 1000 // 3, 0, 0, 8 * (200 + 10)),
    )),
    ("np.linalg.svd(a, full_matrices=False)", (
        ("svd_s", 4 * 20 * 100 + 8 * 1000, 0, 0, 8 * (200 + 100 + 10 + 200)),
    )),
    # sorting and searching: comparisons
    ("v16.sort()", (("sort", 0, 0, 16 * 4, 8 * 32),)),
    ("np.argsort(v16)", (("argsort", 0, 0, 16 * 4, 8 * 32),)),
    ("np.searchsorted(v15, v5)", (("searchsorted", 0, 0, 5 * 4, 8 * (15 + 5 + 5)),)),
    # without a formula: uncounted, never 0
    ("np.partition(v16, 3)", (
        ("copy", 0, 0, 0, 8 * 32), ("partition", None, None, None, 8 * 32),
    )),
    ("rng.normal(size=(4, 5))", (("random.normal", None, None, None, 8 * 20),)),
    ("rng.integers(9, size=100)", (("random.integers", None, None, None, 8 * 100),)),
    ("rng.shuffle(t20)", (("random.shuffle", None, None, None, 8 * 40),)),
    ("np.add(objects, 1)", (("add", None, None, None, None),)),
]  # fmt: skip
# The same transforms and decompositions had other names, and in NumPy 1 what checks them runs inside.
NUMPY = tuple(int(n) for n in np.__version__.split(".")[:2])
OLDER_NAMES = {
    **({"svd": "svd_m", "svd_s": "svd_m_s"} if NUMPY < (2, 1) else {}),
    **({"fft": "execute", "rfft_n_even": "execute"} if NUMPY < (2, 0) else {}),
}
INDEXING: list[tuple[str, tuple[Figures, ...]]] = [
    ("v20[idx]", (("getitem", 0, 0, 0, 2 * 8 * 5 + I8 * 5),)),
    ("a[idx]", (("getitem", 0, 0, 0, 2 * 8 * 100 + I8 * 5),)),
    ("v20[m20]", (("getitem", 0, 0, 0, 2 * 8 * 10 + 20),)),
    ("t20[idx] = v5", (("setitem", 0, 0, 0, 3 * 8 * 5 + I8 * 5),)),
    ("t20[idx] = 0", (("setitem", 0, 0, 0, 2 * 8 * 5 + I8 * 5),)),
    ("a[rows, idx] -= 1", (
        ("getitem", 0, 0, 0, 2 * 8 * 5 + 2 * I8 * 5), ("subtract", 5, 0, 0, 2 * 8 * 5),
        ("setitem", 0, 0, 0, 3 * 8 * 5 + 2 * I8 * 5),
    )),
    # The part is added to in place, and then assigned to itself: NumPy copies nothing.
    ("a[...] += v20", (("add", 200, 0, 0, 8 * (20 + 400)), ("setitem", 0, 0, 0, 0))),
    ("a[2:4] -= v20", (("subtract", 40, 0, 0, 8 * (20 + 80)), ("setitem", 0, 0, 0, 0))),
    ("a[-1] *= v20", (("multiply", 20, 0, 0, 8 * 60), ("setitem", 0, 0, 0, 0))),
    ("a[9, ::-1] += 1", (("add", 20, 0, 0, 8 * 40), ("setitem", 0, 0, 0, 0))),
    ("a[1:9:3, None, 5:] += 1", (("add", 45, 0, 0, 8 * 90), ("setitem", 0, 0, 0, 0))),
    ("wide[:, 3] += v10", (("add", 10, 0, 0, 64 * 20 + 80), ("setitem", 0, 0, 0, 0))),
    ("stack3[1, ..., 2:4] += 1", (("add", 20, 0, 0, 2 * 10 * 64), ("setitem", 0, 0, 0, 0))),
    ("a[:] = a", (("setitem", 0, 0, 0, 0),)),
    # A column: a cache line per element that is written.
    ("wide[:, 3] = v10", (("setitem", 0, 0, 0, 80 + 64 * 10),)),
    ("wide[:, ::2] = 0", (("setitem", 0, 0, 0, 16 * 500),)),
    ("stack3[:, 0] = v20", (("setitem", 0, 0, 0, 160 + 3 * 160),)),
    # Other memory, other strides, another type: copied.
    ("a[2:4] = a[4:6]", (("setitem", 0, 0, 0, 2 * 8 * 40),)),
    ("a[2:4] = a[3:5]", (("setitem", 0, 0, 0, 2 * 8 * 40),)),
    ("sq[...] = sq.T", (("setitem", 0, 0, 0, 2 * 8 * 36),)),
    ("sq[::-1] = sq", (("setitem", 0, 0, 0, 2 * 8 * 36),)),
    ("v10[...] = v10.view('i8')", (("setitem", 0, 0, 0, 2 * 8 * 10),)),
    ("a[:, idx] = 0", (("setitem", 0, 0, 0, 2 * 8 * 50 + I8 * 5),)),
    ("a[2:4] = v20", (("setitem", 0, 0, 0, 8 * 20 + 8 * 40),)),
    ("t20[m20] = 0", (("setitem", 0, 0, 0, None),)),
    ("t20[m20] = v10", (("setitem", 0, 0, 0, None),)),
    ("a[m10, 3] = 0", (("setitem", 0, 0, 0, None),)),
    ("t20[[1, 2]] = 0", (("setitem", 0, 0, 0, None),)),
]  # fmt: skip


def variables() -> dict[str, Any]:
    """Return the arrays of the table."""
    rng = np.random.default_rng(0)
    sq = rng.random((6, 6)) + 6 * np.eye(6)
    found = {
        "np": np,
        "rng": rng,
        "sq": sq,
        "sym": sq @ sq.T,
        "csq": sq + 0j,
        "idx": np.array([4, 1, 2, 0, 3]),
    }
    found |= {
        "rows": np.arange(5),
        "objects": np.array([1, "a"], object)[:1],
        "f4": np.ones(200, "f4"),
    }
    found |= {"a": rng.random((10, 20)), "a2": rng.random((10, 20)), "b": rng.random((20, 30))}
    found |= {f"v{n}": rng.random(n) for n in (5, 6, 10, 15, 16, 20)}
    found |= {"t20": np.zeros(20), "m20": np.arange(20) % 2 == 0, "m10": np.arange(10) < 4}
    found |= {"wide": rng.random((10, 100)), "stack3": rng.random((3, 10, 20))}
    return found | {"z": rng.random(20) + 1j, "c16": rng.random(16) + 1j}


def figures(core: str, lines: list[str]) -> list[tuple[Figures, ...]]:
    """Return the figures of the innermost ops of each line."""
    found = Recorded(run(core, "\n".join(lines), variables()))
    counts = count_trace(found.trace)
    per_line: list[list[Figures]] = [[] for _ in lines]
    for row in found.leaves():
        at = int(found.trace.spans.signature_id[row])
        c = counts.signatures[at]
        other = (None, None) if c.flops is None else (c.transcendentals, c.comparisons)
        per_line[found.site(row)[1] - 1].append((found.name(row), c.flops, *other, c.bytes))
        each = {"flops": c.flops, "bytes": c.bytes}
        for figure in ("flops", "bytes"):
            per_span = int(counts.per_span(figure)[row])
            assert per_span == (-1 if each[figure] is None else each[figure])
    return [tuple(line) for line in per_line]


def wrong(core: str, cases: list[tuple[str, tuple[Figures, ...]]]) -> dict[str, Any]:
    """Return the lines that are not counted as the table says."""
    found = figures(core, [line for line, _ in cases])
    cases = [
        (line, tuple((OLDER_NAMES.get(f[0], f[0]), f[1], f[2], f[3], f[4]) for f in ops))
        for line, ops in cases
    ]
    if NUMPY < (2, 0):
        found = [tuple(f for f in ops if f[0] != "multiply.reduce") for ops in found]
    pairs = zip(cases, found, strict=True)
    return {line: (got, asked) for (line, asked), got in pairs if got != asked}


@pytest.mark.parametrize("core", CORES)
def test_figures_of_a_program_are_those_worked_out_by_hand(core: str) -> None:
    assert wrong(core, CASES) == {}


@pytest.mark.parametrize("core", CORES)
def test_figures_of_indexing_and_assignment_are_right_or_not_known(core: str) -> None:
    seen = INDEXING
    if core == "python":  # which does not see them, and says so
        names = {"getitem", "setitem"}
        seen = [(line, tuple(f for f in ops if f[0] not in names)) for line, ops in INDEXING]
    assert wrong(core, seen) == {}


@pytest.mark.parametrize("core", CORES)
def test_the_sum_over_a_program_is_that_of_its_innermost_ops(core: str) -> None:
    found = run(core, "np.mean(a, axis=0)\nnp.linalg.solve(sq, v6)\na @ b", variables())
    counts = count_trace(found)
    assert counts.total("flops") == (180 + 20) + (2 * 216 // 3 + 2 * 36) + 12000
    assert counts.total("bytes") == 8 * (220 + 40) + 8 * (36 + 12) + 8 * 1100

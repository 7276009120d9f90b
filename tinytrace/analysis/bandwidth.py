"""The bandwidth of every level of the memory hierarchy, by a sweep over footprints.

Forms that NumPy's own ops have (STREAM's copy, add and sum, and in place) run on footprints from 8 KB to beyond
four times the last cache (STREAM's rule: McCalpin, "Memory Bandwidth and Machine Balance", 1995). Bytes are counted as
those of ops are (docs/counting.md): what is read and what is written, without the line that a store
fetches before it writes (write-allocate). In place there is no such line: so that form is mostly the fastest, and
the roof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.peaks import LEVEL_NAMES, Level, Peak
from tinytrace.analysis.probes import Probe, Timed

Buffer = NDArray[np.float64]
Form = Callable[[Buffer, int], Probe]
Cache = tuple[str, int]  # L1, L2, L3 and bytes

SMALLEST_BYTES = 8 << 10
BEYOND_LAST = 4  # STREAM: each array at least four times the last cache; here all arrays together
UNKNOWN_LARGEST_BYTES = 256 << 20  # where the system tells no cache sizes: four times 64 MB
LINE_ELEMENTS = 8  # of float64 in a cache line
# A call that takes ten times the cost of calling NumPy at all shows the bandwidth to within a tenth.
CLEAR_OF_DISPATCH = 10.0
# Neighbouring plateaus that differ by less are one: rounds of one footprint lie as far apart on a busy machine.
LEAST_STEP = 1.25


def _parts(buffer: Buffer, footprint_bytes: int, count: int) -> list[Buffer]:
    """Operands that together have this footprint, each at the begin of a cache line."""
    length = max(LINE_ELEMENTS, footprint_bytes // 8 // count // LINE_ELEMENTS * LINE_ELEMENTS)
    return [buffer[i * length : (i + 1) * length] for i in range(count)]


def copy(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``b[:] = a``: reads one, writes one."""
    a, b = _parts(buffer, footprint_bytes, 2)
    return Probe("copy", 2 * a.nbytes, partial(np.copyto, b, a), footprint_bytes)


def add(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``c = a + b``: reads two, writes one."""
    a, b, c = _parts(buffer, footprint_bytes, 3)
    return Probe("add", 3 * a.nbytes, partial(np.add, a, b, c), footprint_bytes)


def total(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``a.sum()``: reads one."""
    [a] = _parts(buffer, footprint_bytes, 1)
    return Probe("sum", a.nbytes, partial(np.add.reduce, a), footprint_bytes)


def greatest(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``a.max()``: reads one, with less arithmetic than a sum."""
    [a] = _parts(buffer, footprint_bytes, 1)
    return Probe("max", a.nbytes, partial(np.maximum.reduce, a), footprint_bytes)


def scale(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``a *= 1.0``: reads and writes one."""
    [a] = _parts(buffer, footprint_bytes, 1)
    return Probe("scale in place", 2 * a.nbytes, partial(np.multiply, a, 1.0, a), footprint_bytes)


def increase(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``a += b``: reads two, writes one of them."""
    a, b = _parts(buffer, footprint_bytes, 2)
    return Probe("add in place", 3 * a.nbytes, partial(np.add, a, b, a), footprint_bytes)


def inner_product(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``a @ b`` of vectors, by BLAS: reads two."""
    a, b = _parts(buffer, footprint_bytes, 2)
    return Probe("dot", 2 * a.nbytes, partial(np.dot, a, b), footprint_bytes)


def matrix_vector(buffer: Buffer, footprint_bytes: int) -> Probe:
    """``M @ v``, by BLAS: reads a matrix and a vector, writes a vector."""
    n = max(LINE_ELEMENTS, math.isqrt(footprint_bytes // 8 + 1) - 1)
    matrix = buffer[: n * n].reshape(n, n)
    v, out = np.ones(n), np.empty(n)
    call = partial(np.matmul, matrix, v, out)
    return Probe("matrix-vector", matrix.nbytes + v.nbytes + out.nbytes, call, footprint_bytes)


FORMS: tuple[Form, ...] = (copy, add, total, greatest, scale, increase)
QUICK_FORMS: tuple[Form, ...] = (copy, greatest, scale, increase)
BLAS_FORMS: tuple[Form, ...] = (inner_product, matrix_vector)
BLAS_NAMES = ("dot", "matrix-vector")


def aligned(size_bytes: int) -> Buffer:
    """Return memory, written once, that begins at a page."""
    raw = np.empty(size_bytes + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    buffer = raw[start : start + size_bytes // 8 * 8].view(np.float64)
    buffer.fill(1.0)
    return buffer


def footprints(caches: Sequence[Cache], largest_bytes: int, *, quick: bool) -> list[int]:
    """Return the footprints to look at, in bytes, ascending.

    Args:
        caches: the machine's, from the fastest; empty: not known.
        largest_bytes: the most memory that may be taken.
        quick: few: in every level a half and three quarters of its size, and one beyond the last cache.

    Example:
        >>> footprints([("L1", 32 << 10), ("L2", 1 << 20)], 1 << 30, quick=True)
        [16384, 24576, 524288, 786432, 4194304]
    """
    last = BEYOND_LAST * caches[-1][1] if caches else UNKNOWN_LARGEST_BYTES
    if quick and caches:
        inside = [size * part // 4 for _, size in caches for part in (2, 3)]
        wanted = [*inside, last]
    else:
        step = 2.0 if quick else math.sqrt(2)
        # Powers of the step down from the last one, so that this is among them; and one beyond.
        down = int(math.log(last / SMALLEST_BYTES) / math.log(step))
        wanted = [round(last / step**i / 64) * 64 for i in range(down, -1, -1)]
        wanted += [] if quick else [round(last * step / 64) * 64]
    return sorted({size for size in wanted if SMALLEST_BYTES <= size <= largest_bytes})


def probes(forms: Sequence[Form], sizes: Sequence[int], buffer: Buffer) -> list[Probe]:
    """Return each form at each footprint, all in the same memory."""
    return [form(buffer, size) for size in sizes for form in forms]


def levels(
    timed: Sequence[Timed], caches: Sequence[Cache], dispatch_ns: float
) -> tuple[tuple[Level, ...], list[str]]:
    """Return the bandwidth of each level, and in words what could not be found out.

    A level's figure is the best of all forms and footprints in it. Footprints of less than four times the next
    smaller cache are left out where there are larger ones, as STREAM's rule has it for the memory: a good part
    of them lies in that.

    Args:
        timed: forms at footprints.
        caches: sizes that the system tells, from the fastest; empty: the plateaus of the sweep are the levels.
        dispatch_ns: what calling NumPy takes at least.
    """
    notes: list[str] = []
    if not caches:
        caches = _caches_seen(timed, dispatch_ns)
        notes.append(
            "the system tells no cache sizes: the levels are those that the sweep saw, named from memory up"
        )
    found, below = [], 0
    for name, size in [*caches, ("DRAM", math.inf)]:
        inside = [t for t in timed if below < t.probe.footprint_bytes <= size]
        clear = [t for t in inside if t.probe.footprint_bytes >= BEYOND_LAST * below]
        if name == "DRAM" or clear:
            inside = clear
        found.append(_level(name, None if size == math.inf else int(size), inside, dispatch_ns))
        below = int(size) if size < math.inf else below
    if found[-1].gbps is None:
        notes.append(
            "memory bandwidth was not measured: "
            f"{BEYOND_LAST} times the last cache is more than may be taken of the free memory"
        )
    notes += [
        f"{level.name} is not resolvable: calling NumPy takes longer than what it holds"
        for level in found
        if level.gbps is not None and not level.resolvable
    ]
    return tuple(found), notes


def _level(name: str, size: int | None, inside: Sequence[Timed], dispatch_ns: float) -> Level:
    own = _best([t for t in inside if t.probe.name not in BLAS_NAMES])
    blas = _best([t for t in inside if t.probe.name in BLAS_NAMES])
    forms: dict[str, Peak] = {}
    for form in dict.fromkeys(t.probe.name for t in inside):
        best = _best([t for t in inside if t.probe.name == form])
        if best is not None:
            forms[form] = best.rate()
    resolvable = own is not None and own.best_ns >= CLEAR_OF_DISPATCH * dispatch_ns
    level_name = next(known for known in LEVEL_NAMES if known == name)
    return Level(
        level_name,
        size,
        own.rate() if own else None,
        resolvable,
        blas.rate() if blas else None,
        forms,
    )


def _best(timed: Sequence[Timed]) -> Timed | None:
    return max(timed, key=lambda t: t.rate().value, default=None)


def _caches_seen(timed: Sequence[Timed], dispatch_ns: float) -> list[Cache]:
    """Caches where the sweep saw bandwidth fall; the memory is what comes after the last fall."""
    best: dict[int, Timed] = {}
    for one in timed:
        size = one.probe.footprint_bytes
        known = best.get(size)
        if one.probe.name not in BLAS_NAMES and (
            known is None or one.rate().value > known.rate().value
        ):
            best[size] = one
    clear = {size: t for size, t in best.items() if t.best_ns >= CLEAR_OF_DISPATCH * dispatch_ns}
    sizes = sorted(clear)
    ends = plateaus([clear[size].rate().value for size in sizes])[:-1]
    names = LEVEL_NAMES[:-1][-len(ends) :] if ends else ()
    return [(name, sizes[end - 1]) for name, end in zip(names, ends[-len(names) :], strict=True)]


def plateaus(gbps: Sequence[float]) -> list[int]:
    """Return where the plateaus of a falling curve end: indices one past their last point.

    The curve is taken for a staircase: the steps that fit its logarithm best in the sense of least
    squares, each step at the cost of the square of `LEAST_STEP`, by dynamic programming (Jackson et al.,
    "An algorithm for optimal partitioning of data on an interval", 2005). Steps of one point, which are the
    slope between two plateaus, go to the slower one; what is left of steps smaller than `LEAST_STEP` is joined.

    Example:
        >>> plateaus([200, 205, 195, 100, 101, 99, 40, 20, 20])
        [3, 6, 9]
    """
    if not gbps:
        return []
    logs = np.log(np.asarray(gbps, np.float64))
    ends = _partition(logs, math.log(LEAST_STEP) ** 2)
    bounds = [0, *ends]
    ends = [end for begin, end in pairwise(bounds) if end - begin > 1 or end == len(logs)]
    kept: list[int] = []
    for end in ends:
        begin = kept[-2] if len(kept) > 1 else 0
        if kept and np.median(logs[begin : kept[-1]]) - np.median(logs[kept[-1] : end]) < math.log(
            LEAST_STEP
        ):
            kept[-1] = end
        else:
            kept.append(end)
    return kept


def _partition(values: NDArray[Any], penalty: float) -> list[int]:
    """Ends of the pieces of the piecewise constant that fits best, each piece at a penalty."""
    n = len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    cost, cut = [0.0], [0]
    for end in range(1, n + 1):
        begin = np.arange(end)
        spread = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / (end - begin)
        tried = np.asarray(cost) + spread + penalty
        best = int(np.argmin(tried))
        cost.append(float(tried[best]))
        cut.append(best)
    ends = [n]
    while cut[ends[-1]]:
        ends.append(cut[ends[-1]])
    return ends[::-1]

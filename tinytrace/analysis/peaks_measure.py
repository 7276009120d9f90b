"""Measures the roofs of this machine (docs/peaks.md): matrix products, arithmetic, functions, bandwidths, floors.

Everything is called as a program calls it, through NumPy, so that a roof is what NumPy's own ops can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from tinytrace.analysis import bandwidth
from tinytrace.analysis.peaks import Level, Peak, Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.analysis.probes import Clock, Probe, Progress, Stopwatch, Timed, best_rates
from tinytrace.errors import UsageError
from tinytrace.tracer.session import Session

BLAS_DTYPES = ("float32", "float64", "complex64", "complex128")
LOOP_DTYPES = ("float16", "int32", "int64")  # products of these are loops of NumPy's own
DTYPES = (*BLAS_DTYPES, *LOOP_DTYPES)
# FLOPs of one multiply-add, addition and multiplication: docs/counting.md.
MULTIPLY_ADD = {"complex64": 8, "complex128": 8}
ADD = {"complex64": 2, "complex128": 2}
MULTIPLY = {"complex64": 6, "complex128": 6}
BLAS_SIDES = (128, 256, 512, 1024, 2048, 4096)
LOOP_SIDES = (32, 64, 128)
# In the second-level cache: long enough to be clear of the cost of a call (a reduction's is 0.6 µs, and it reads
# 512 KB in 4), short enough to be fed; of three large operands, the smaller size.
ELEMENTS = (16384, 65536)
FUNCTION_ELEMENTS = (
    32768  # a tenth of a nanosecond each, the fastest of them: still ten times the cost of a call
)
FUNCTIONS = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "sin", "cos", "tan", "arcsin",
    "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arctanh",
)  # fmt: skip
TWO_ARGUMENTS = ("power", "arctan2", "hypot")
COMPLEX_FUNCTIONS = ("exp", "log", "sqrt", "absolute")
SHARE_OF_MEMORY = 0.25  # of what is available may be taken: the rest is for those who run beside


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time is spent.

    Attributes:
        rounds: how often everything is measured.
        block_ns: for how long each time.
        longest_call_ns: larger problems are left out.
    """

    rounds: int
    block_ns: int
    longest_call_ns: int


# The quick one takes about a second in all; a full one well under a minute. A product of 100 ms is larger than any
# cache and its rate does not change any more; a block of 1 ms is 10,000 times the resolution of the clock. Many
# short blocks are better than few long ones where others want the CPU as well.
QUICK = Effort(rounds=6, block_ns=30_000, longest_call_ns=4_000_000)
FULL = Effort(rounds=9, block_ns=1_000_000, longest_call_ns=200_000_000)


def measure(
    threads: int | None = None,
    *,
    quick: bool = False,
    progress: Progress = lambda share: None,
    clock: Clock = time.perf_counter_ns,
) -> Peaks:
    """Measure the roofs of this machine.

    Args:
        threads: of BLAS; None: as many as it has now.
        quick: in about a second.
        progress: is told the share that is done, 0…1.
        clock: tells ns.

    Raises:
        UsageError: this process is being recorded: the measuring would be, too.
    """
    if Session.is_recording():
        raise UsageError("roofs cannot be measured in a process that is being recorded: stop first")
    machine = Machine.here(threads)
    effort = QUICK if quick else FULL
    watch = Stopwatch(effort.rounds, effort.block_ns, clock, blas_limit(), progress)
    with np.errstate(all="ignore"):
        return _measured(machine, watch, effort, quick=quick, available_bytes=available_bytes())


def _measured(
    machine: Machine, watch: Stopwatch, effort: Effort, *, quick: bool, available_bytes: int
) -> Peaks:
    largest = int(available_bytes * SHARE_OF_MEMORY)
    sizes = bandwidth.footprints(machine.caches, largest, quick=quick)
    forms = bandwidth.QUICK_FORMS if quick else bandwidth.FORMS
    buffer = bandwidth.aligned(max(sizes, default=bandwidth.SMALLEST_BYTES))
    with watch.limit(machine.threads):
        products = [*_blas_products(watch, effort, largest)]
    blas = {"gemm": products, "swept": bandwidth.probes(bandwidth.BLAS_FORMS, sizes, buffer)}
    alone = {
        "gemm": [*products, *_loop_products(LOOP_SIDES[:2] if quick else LOOP_SIDES)],
        "vector": [*_vector()],
        "function": [*_functions()],
        "floor": [*_floors()],
        "swept": bandwidth.probes([*forms, *bandwidth.BLAS_FORMS], sizes, buffer),
    }
    timed = _time(watch, machine.threads, blas, alone)
    floors = {t.probe.name: t.duration() for t in timed["floor"]}
    levels, notes = bandwidth.levels(timed["swept"], machine.caches, floors["ufunc"].value)
    functions = best_rates(timed["function"])
    return Peaks(
        fingerprint=machine.fingerprint,
        machine=machine.described(),
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        quick=quick,
        threads=machine.threads,
        gemm_gflops=best_rates(timed["gemm"]),
        vector_gflops=best_rates(timed["vector"]),
        transcendental_gops=_of_function("exp", functions),
        function_gops=functions,
        levels=levels,
        floor_ns=floors,
        notes=(*notes, *_doubts(floors, levels)),
    )


def _time(
    watch: Stopwatch, threads: int, blas: dict[str, list[Probe]], alone: dict[str, list[Probe]]
) -> dict[str, list[Timed]]:
    """Time all of it in the same rounds; what runs in BLAS with one thread as well, when it has more.

    Small products run in one thread anyway, and where other programs take the CPUs, threads that wait for each
    other make large ones many times slower than one thread alone is.
    """
    parts = [(1, name, probes) for name, probes in alone.items()]
    if threads > 1:
        together = [(threads, name, probes) for name, probes in blas.items()]
        # Before and after the rest: all CPUs at once are the rarest to be had where other programs run.
        parts = [*together, *parts, together[0]]
    timed = watch.time([(number, probes) for number, _, probes in parts])
    found: dict[str, list[Timed]] = {}
    for (_, name, _), some in zip(parts, timed, strict=True):
        found.setdefault(name, []).extend(some)
    return found


def _blas_products(watch: Stopwatch, effort: Effort, largest_bytes: int) -> Iterator[Probe]:
    """Square products by BLAS, of each dtype as large as there is time and memory for."""
    for dtype in BLAS_DTYPES:
        before: tuple[int, int] | None = None
        for side in BLAS_SIDES:
            if 3 * side**2 * np.dtype(dtype).itemsize > largest_bytes:
                break
            if before and before[1] * (side / before[0]) ** 3 > effort.longest_call_ns:
                break
            probe = _product(dtype, side)
            before = side, watch.once_ns(probe.call)
            yield probe


def _product(dtype: str, side: int) -> Probe:
    a, b, c = (np.ones((side, side), dtype) for _ in range(3))
    flops = MULTIPLY_ADD.get(dtype, 2) * side**3
    return Probe(dtype, flops, partial(np.matmul, a, b, c))


def _loop_products(sides: Sequence[int]) -> Iterator[Probe]:
    """Products that BLAS does not have: by every function and layout, of which now one and now another is faster."""
    for dtype in LOOP_DTYPES:
        for side in sides:
            a, b, c = (np.ones((side, side), dtype) for _ in range(3))
            flops = 2 * side**3
            yield Probe(dtype, flops, partial(np.matmul, a, b, c))
            yield Probe(dtype, flops, partial(np.matmul, a, b.T, c))
            yield Probe(dtype, flops, partial(np.dot, a, b, c))
            yield Probe(dtype, flops, partial(np.einsum, "ij,jk->ik", a, b, out=c))
            yield Probe(dtype, flops, partial(np.einsum, "ij,kj->ik", a, b, out=c))


def _vector() -> Iterator[Probe]:
    """Arithmetic in cache: the forms with the fewest bytes per FLOP."""
    for dtype in DTYPES:
        for n in ELEMENTS:
            x, y, out = (np.ones(n, dtype) for _ in range(3))
            one, flags = x.dtype.type(1), np.empty(n, bool)
            add, multiply = ADD.get(dtype, 1), MULTIPLY.get(dtype, 1)
            yield Probe(dtype, add * n, partial(np.add, x, y, out))
            yield Probe(dtype, multiply * n, partial(np.multiply, x, y, out))
            yield Probe(dtype, multiply * n, partial(np.multiply, out, one, out))
            yield Probe(dtype, multiply * n, partial(np.square, out, out))
            yield Probe(dtype, add * (n - 1), partial(np.add.reduce, x))
            yield Probe(dtype, add * (n - 1), partial(np.maximum.reduce, x))
            yield Probe(dtype, add * n, partial(np.less, x, one, flags))
            yield Probe(dtype, 2 * add * n, partial(np.clip, x, one, one, out))


def _functions() -> Iterator[Probe]:
    """Functions in cache; names are ``"exp float32"``."""
    for dtype in ("float32", "float64"):
        x = np.linspace(0.1, 0.9, FUNCTION_ELEMENTS).astype(dtype)
        out = np.empty_like(x)
        for name in FUNCTIONS:
            yield Probe(f"{name} {dtype}", x.size, partial(getattr(np, name), x, out))
        for name in TWO_ARGUMENTS:
            yield Probe(f"{name} {dtype}", x.size, partial(getattr(np, name), x, x, out))
    half = np.linspace(0.1, 0.9, 2048).astype("float16")
    for name in ("exp", "log", "sqrt", "tanh"):
        yield Probe(
            f"{name} float16", half.size, partial(getattr(np, name), half, np.empty_like(half))
        )
    for dtype in ("complex64", "complex128"):
        z = np.linspace(0.1, 0.9, 2048).astype(dtype)
        for name in COMPLEX_FUNCTIONS:
            out = np.empty_like(z.real if name == "absolute" else z)
            yield Probe(f"{name} {dtype}", z.size, partial(getattr(np, name), z, out))


def _of_function(name: str, functions: dict[str, Peak]) -> dict[str, Peak]:
    return {
        key.partition(" ")[2]: peak
        for key, peak in functions.items()
        if key.partition(" ")[0] == name
    }


def _floors() -> Iterator[Probe]:
    """Calls on operands so small that calling is all they cost."""
    x, y, out = (np.ones(4) for _ in range(3))
    a, b, c = (np.ones((4, 4)) for _ in range(3))
    yield Probe("ufunc", 1, partial(np.add, x, y, out))
    yield Probe("matmul", 1, partial(np.matmul, a, b, c))
    yield Probe("reduce", 1, partial(np.add.reduce, x))
    yield Probe("copy", 1, x.copy)


def _doubts(floors: dict[str, Peak], levels: Sequence[Level]) -> Iterator[str]:
    """What the spread of the rounds says about the figures."""
    spreads = [peak.high / peak.low for peak in floors.values()]
    spreads += [level.gbps.high / level.gbps.low for level in levels if level.gbps]
    if float(np.median(spreads)) > UNSTEADY:
        yield "the rounds lie far apart: other programs ran beside, and the roofs may be low"


# Half of the figures vary by more than this between their rounds. On a quiet machine they do by a few percent.
UNSTEADY = 1.5


def available_bytes() -> int:
    """Return the memory that can be taken without pushing others out."""
    import psutil

    return int(psutil.virtual_memory().available)


def blas_limit() -> Callable[[int], AbstractContextManager[Any]]:
    """Return what limits BLAS to so many threads while it is entered."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    return lambda threads: controller.limit(limits=threads, user_api="blas")

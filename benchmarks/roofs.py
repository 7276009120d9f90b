"""Whether the roofs of ``python -m tinytrace calibrate`` are those that other programs find.

In turns: our measuring in a fresh process; ``stream.c``, the kernels of STREAM compiled by ``cc``, at footprints in
the middle of each cache and at four times the last one; and products by SciPy's BLAS, which is another library than
NumPy's, called by hand. A pair agrees when the spreads of its two sides overlap: from the least to the
greatest of all rounds. They need not be equal: the loops are different ones. Our "max" stands beside the sum in
C: both only read one array.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from paired import ROOT, Estimate, Figure, exactly, parser, percent_more, publish, rounds_of
from scipy.linalg import blas

from tinytrace.analysis.peaks import Peak, Peaks

SOURCE = Path(__file__).with_name("stream.c")
# The compiler may use what the processor has, as NumPy does, and reorder sums, as NumPy does.
FLAGS = ("-O3", "-march=native", "-ffast-math")
SIDES = (128, 256, 512, 1024)  # small ones end before somebody else gets the CPU
KERNELS = ("copy", "add", "max", "scale in place")
Spread = tuple[float, float]  # least, greatest
Key = tuple[str, str]  # DRAM, copy


def ours(quick: bool) -> Peaks:
    """Measure in a process of its own, with one BLAS thread."""
    command = [
        sys.executable,
        "-m",
        "tinytrace",
        "calibrate",
        "--force",
        "--json",
        "--threads",
        "1",
    ]
    command += ["--quick"] if quick else []
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            ["env", f"XDG_CACHE_HOME={cache}", *command],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
    return Peaks.from_json(json.loads(done.stdout))


def figures_of(peaks: Peaks) -> Iterator[tuple[Key, Peak]]:
    """The figures that somebody else finds as well."""
    for level in peaks.levels:
        for form, peak in level.forms.items():
            if level.resolvable and form in KERNELS:
                yield (level.name, form), peak
    for dtype in ("float32", "float64"):
        yield ("product", dtype), peaks.gemm_gflops[dtype]


def theirs(stream: Path, peaks: Peaks, rounds: int) -> Iterator[tuple[Key, Spread]]:
    """The same by C and by SciPy."""
    below = 0
    for level in peaks.levels:
        # Half of a cache, as the best of our footprints in one mostly is; four times the last one for memory.
        footprint = level.size_bytes // 2 if level.size_bytes else 4 * below
        below = level.size_bytes or below
        if not level.resolvable:
            continue
        done = subprocess.run(
            [stream, str(footprint), str(rounds)], check=True, stdout=subprocess.PIPE, text=True
        )
        for line in done.stdout.splitlines():
            name, best, least = line.split("\t")
            yield (level.name, name), (float(least), float(best))
    for dtype, gemm in (("float32", blas.sgemm), ("float64", blas.dgemm)):
        for side in SIDES:
            a, b, c = (np.ones((side, side), dtype, order="F") for _ in range(3))
            times = []
            for _ in range(rounds + 1):
                begin = time.perf_counter()
                gemm(1.0, a, b, 0.0, c, overwrite_c=True)
                times.append(time.perf_counter() - begin)
            rates = [2 * side**3 / t / 1e9 for t in times[1:]]
            yield ("product", dtype), (min(rates), max(rates))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=3, quick=1)
    own: dict[Key, list[Spread]] = defaultdict(list)
    other: dict[Key, list[Spread]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        stream = Path(name) / "stream"
        subprocess.run(["cc", *FLAGS, "-o", stream, SOURCE], check=True)
        for _ in range(rounds):
            peaks = ours(options.quick)
            for key, peak in figures_of(peaks):
                own[key].append((peak.low, peak.high))
            others: dict[Key, list[Spread]] = {}
            for key, spread in theirs(stream, peaks, rounds=3 if options.quick else 40):
                others.setdefault(key, []).append(spread)
            for key, spreads in others.items():
                other[key].append(_joined(spreads))
    figures, apart = [], 0
    for key in sorted(own.keys() & other.keys()):
        mine, his = _joined(own[key]), _joined(other[key])
        apart += mine[0] > his[1] or his[0] > mine[1]
        unit = "GFLOP/s" if key[0] == "product" else "GB/s"
        what = "SciPy's BLAS" if key[0] == "product" else "C"
        figures += [
            Figure(f"{' '.join(key)}: ours", _spread(mine, rounds), unit),
            Figure(f"  {what}", _spread(his, rounds), unit),
            Figure("  best of ours, more than theirs",
                   percent_more([high for _, high in own[key]], [high for _, high in other[key]]), "%"),
        ]  # fmt: skip
    figures.append(Figure("pairs whose spreads do not overlap", exactly(apart), "", 0.0))
    publish(figures, options.json)


def _joined(spreads: list[Spread]) -> Spread:
    return min(low for low, _ in spreads), max(high for _, high in spreads)


def _spread(spread: Spread, rounds: int) -> Estimate:
    """The best, between the least and the greatest."""
    return Estimate(spread[1], spread[0], spread[1], rounds)


if __name__ == "__main__":
    # One thread, on both sides; SciPy's library has read its variable by now.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        main()

"""Measure what this machine can do at best: the roofs that operations are judged by."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.analysis.figures import clean, format_binary, format_ns, format_rate
from tinytrace.cli.layout import Page, paragraph, table
from tinytrace.cli.messages import say, stderr
from tinytrace.cli.options import Parser
from tinytrace.cli.pictures import check_picture
from tinytrace.errors import UsageError

if TYPE_CHECKING:
    from tinytrace.analysis.peaks import Level, Peak, Peaks

EXAMPLES = """\
examples:
  python -m tinytrace calibrate                  10 to 60 s; kept, and used by every run from then on
  python -m tinytrace calibrate --threads 1      the roofs for a program that runs with OPENBLAS_NUM_THREADS=1
  python -m tinytrace calibrate --plot roofs.png
  python -m tinytrace calibrate --torch          of PyTorch's operations, on the CPU and on every GPU
"""
MOST_THREADS = 4096
Row = tuple[str, str, str, str, str]


def main(argv: list[str]) -> int:
    """Measure, or take what is kept; print a table, and keep the figures for the runs to come.

    Raises:
        UsageError: options that make no sense, or no matplotlib for a picture.
        OutputError: the picture cannot be written.
    """
    parser = Parser("calibrate", "Measure the roofs of this machine, and keep them.", EXAMPLES)
    add = parser.add_argument
    add("--quick", action="store_true", help="in about a second; the roofs may be a little low")
    add(
        "--threads",
        type=_threads,
        metavar="N",
        help="BLAS threads, or PyTorch's (default: as many as it takes here)",
    )
    add("--torch", action="store_true", help="of PyTorch, on the CPU and on every GPU")
    add("--force", action="store_true", help="measure again, even if there are figures already")
    add("--json", action="store_true", help="print the figures as JSON")
    add("--plot", metavar="FILE", help="draw them, too: .png or .svg (needs matplotlib)")
    arguments = parser.parse_args(argv)
    picture = None if arguments.plot is None else Path(arguments.plot)
    if picture is not None:
        check_picture(picture, "--plot")
    if arguments.torch:
        return _torch(arguments, picture)
    peaks = _peaks(arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(peaks.to_json()) + "\n")
    else:
        print_peaks(peaks, Page(sys.stdout))
    if picture is not None:
        from tinytrace.cli.roofs_plot import draw

        draw(peaks, picture)
        say(f"drawn into {picture}")
    return 0


def _threads(text: str) -> int:
    threads = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= threads <= MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be a number of threads, 1 to {MOST_THREADS}"
        )
    return threads


def _peaks(arguments: argparse.Namespace) -> Peaks:
    """What is kept, or measured now and kept."""
    # NumPy first: it brings the BLAS along whose threads are asked for.
    from tinytrace.analysis import peaks_cache
    from tinytrace.analysis.peaks_machine import Machine
    from tinytrace.analysis.peaks_measure import measure
    from tinytrace.cli.saving import progress_bar

    if not arguments.force:
        kept = peaks_cache.load(Machine.here(arguments.threads).fingerprint)
        if kept is not None and (arguments.quick or not kept.quick):
            return kept
    with progress_bar("measuring this machine", stderr()) as progress:
        peaks = measure(
            arguments.threads, quick=arguments.quick, progress=progress or (lambda share: None)
        )
    try:
        peaks_cache.store(peaks)
    except OSError as problem:
        say(f"the figures could not be kept for the next run: {problem.strerror or problem}")
    return peaks


def _torch(arguments: argparse.Namespace, picture: Path | None) -> int:
    """The same of PyTorch: a table per device."""
    if picture is not None:
        raise UsageError("--plot draws the roofs of NumPy: leave --torch or --plot out")
    from tinytrace.cli.torch_roofs import torch_roofs

    found = torch_roofs(arguments.threads, quick=arguments.quick, force=arguments.force)
    if arguments.json:
        roofs = {device: peaks.to_json() for device, peaks in found.items()}
        sys.stdout.write(json.dumps(roofs) + "\n")
        return 0
    page = Page(sys.stdout)
    for number, peaks in enumerate(found.values()):
        page.lines([("", "")] if number else [])
        print_peaks(peaks, page)
    return 0


def print_peaks(peaks: Peaks, page: Page) -> None:
    """Print all roofs with their spread.

    Args:
        peaks: what to print.
        page: where to.

    Raises:
        OSError: it cannot be written.
    """
    how = "in about a second: may be a little low" if peaks.quick else "in full"
    facts = f"{_place(peaks)}; measured {peaks.measured_at}, {how}"
    page.lines([(line, "") for line in paragraph(clean(facts), page.width)] + [("", "")])
    heads = ("roof", "best", "least", "greatest", "of")
    page.lines(table(heads, list(_rows(peaks)), page.width))
    closing = ["T: 10^9 evaluations per second. Spread: the least and greatest of so many rounds."]
    if any(not level.resolvable and level.gbps for level in peaks.levels):
        closing.append(
            f"*: at least so much; the cost of calling {_library(peaks)} hides the rest, so it is no roof."
        )
    page.lines(
        [("", ""), *((line, "dim") for text in closing for line in paragraph(text, page.width))]
    )
    notes = [
        line for note in peaks.notes for line in paragraph(clean(f"Note: {note}."), page.width)
    ]
    page.lines([(line, "warning") for line in notes])


def _library(peaks: Peaks) -> str:
    return "PyTorch" if "torch" in peaks.machine else "NumPy"


def _place(peaks: Peaks) -> str:
    """What the roofs hold for, in words."""
    told = peaks.machine
    name, cpus = told.get("cpu", "unknown CPU"), told.get("cpus", "?")
    if "torch" not in told:
        return (
            f"{name}, {cpus} CPUs; NumPy {told.get('numpy', '?')}, {told.get('blas', '?')}, "
            f"BLAS threads: {peaks.threads}"
        )
    if told.get("device") != "cpu":
        return f"{name} ({told.get('device')}); PyTorch {told['torch']}"
    return f"{name}, {cpus} CPUs; PyTorch {told['torch']}, threads: {peaks.threads}"


def _rows(peaks: Peaks) -> Iterator[Row]:
    for dtype, peak in peaks.gemm_gflops.items():
        yield _row(f"matrix product {dtype}", peak, "GFLOP/s")
    for dtype, peak in peaks.vector_gflops.items():
        yield _row(f"arithmetic in cache {dtype}", peak, "GFLOP/s")
    for dtype, peak in peaks.transcendental_gops.items():
        yield _row(f"exp in cache {dtype}", peak, "T")
    for level in peaks.levels:
        yield from _level_rows(level)
    for call, peak in peaks.floor_ns.items():
        figures = (format_ns(ns) for ns in (peak.value, peak.low, peak.high))
        yield (f"one call of a {call}", *figures, _of(peak))  # type: ignore[misc]


def _level_rows(level: Level) -> Iterator[Row]:
    size = "" if level.size_bytes is None else f" ({format_binary(level.size_bytes)})"
    if level.gbps is None:
        yield (f"{level.name}{size}", "not measured", "", "", "")
        return
    yield _row(f"{level.name}{size}{'' if level.resolvable else '*'}", level.gbps, "GB/s")
    if level.blas_gbps is not None:
        yield _row(
            f"{level.name} by BLAS{'' if level.resolvable else '*'}", level.blas_gbps, "GB/s"
        )


def _row(name: str, peak: Peak, unit: str) -> Row:
    best, low, high = (format_rate(figure) for figure in (peak.value, peak.low, peak.high))
    return clean(name), f"{best} {unit}", low, high, _of(peak)


def _of(peak: Peak) -> str:
    return f"{peak.n} rounds"

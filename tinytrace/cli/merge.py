"""Make one trace of those of a job's ranks, on one clock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.cli.messages import say
from tinytrace.cli.options import Parser, check_writable, size_bytes
from tinytrace.errors import IncompleteError, InputError, TinytraceError

if TYPE_CHECKING:
    from tinytrace.analysis.merge import Part
    from tinytrace.tracer.trace import Trace

EXAMPLES = """\
examples:
  torchrun --nproc-per-node 8 -m tinytrace -o runs/ train.py
  python -m tinytrace merge runs/ -o job.json       all traces in the folder, and ranks that were killed
  python -m tinytrace merge rank0.json rank1.json -o job.json
  python -m tinytrace merge runs/ -o job.json --budget 500MB
exit code 10: the trace was written, but a rank is missing in it, or is there twice.
"""
ENDINGS = (".json", ".json.gz")
STORE = ".tinytrace"


def main(argv: list[str]) -> int:
    """Read the traces, align their clocks, write one.

    Raises:
        InputError: nothing is there.
        TraceFormatError: what is there is no trace.
        OutputError: the result cannot be written.
        IncompleteError: it was written, but something is missing in it.
    """
    parser = Parser("merge", "Make one trace of those of a job's ranks, on one clock.", EXAMPLES)
    parser.add_argument("traces", nargs="+", metavar="TRACE",
                        help="files, folders with traces, run folders of ranks that were killed")  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="FILE",
                        help="where to; its ending is the format")  # fmt: skip
    parser.add_argument("--budget", type=size_bytes, metavar="SIZE",
                        help="largest file; beyond it, repetitions are summed up (default: no limit)")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print only what is missing")
    arguments = parser.parse_args(argv)
    output = Path(arguments.output)
    check_writable(output)
    from tinytrace.exporters.registry import check_suffix

    check_suffix(output)
    problems: list[str] = []
    parts, passed_over = _read(arguments.traces, output, problems)
    from tinytrace.analysis.merge import merge_traces

    trace = merge_traces(parts)
    del parts  # they take as much memory as the result
    if arguments.budget is not None:
        from tinytrace.analysis.budget import fit

        trace = fit(trace, arguments.budget)
    from tinytrace.cli.saving import save

    save(trace, output)
    if not arguments.quiet:
        for line in passed_over:
            say(line)
        _tell(trace, output)
    problems += trace.meta["missing"]
    for problem in problems:
        say(problem)
    if problems:
        raise IncompleteError(f"{output} was written, but it is incomplete: see the lines above")
    return 0


def _tell(trace: Trace, output: Path) -> None:
    """Say what the clocks of the ranks are, and what could not be seen."""
    from tinytrace.analysis.figures import clean
    from tinytrace.cli.merge_text import lines_of

    for line in lines_of(trace):
        say(clean(line))
    say(f"merged into {output}: python -m tinytrace report {output}")


def _read(names: list[str], output: Path, problems: list[str]) -> tuple[list[Part], list[str]]:
    """Read what is given; what cannot be read is a problem, but no reason to stop while there is something else.

    Returns:
        the traces; what is to be said of merged ones that lay in a folder.

    Raises:
        InputError: nothing can be read.
        TraceFormatError: likewise, and it is the only one.
    """
    from tinytrace.analysis.merge import Part

    parts: list[Part] = []
    passed_over: list[str] = []
    errors: list[TinytraceError] = []
    seen: set[Path] = set()
    for path, asked_for in _paths(names, output, problems):
        real = path.resolve()
        if real in seen:
            if asked_for:
                problems.append(f"{path}: given twice; it was read once")
            continue
        seen.add(real)
        try:
            trace = _load(path)
        except TinytraceError as error:
            errors.append(error)
            continue
        if not asked_for and "merged" in trace.meta:
            passed_over.append(f"{path}: a merged trace; left out (name the file to have it in)")
            continue
        twin = next((part.name for part in parts if _is_same(part.trace, trace)), None)
        if twin is None:
            parts.append(Part(str(path), trace))
        else:
            problems.append(f"{path}: the same recording as {twin}; it was read once")
    if not parts:
        if len(errors) == 1:
            raise errors[0]
        raise InputError(
            "; ".join(map(str, errors))
            or f"no trace in {', '.join(names)}: expected .json or .json.gz"
        )
    problems += [f"left out: {error}" for error in errors]
    return parts, passed_over


def _paths(names: list[str], output: Path, problems: list[str]) -> list[tuple[Path, bool]]:
    """Files and run folders to read, and whether they were named themselves."""
    from tinytrace.tracer.store import LOCK_NAME

    paths: list[tuple[Path, bool]] = []
    for name in names:
        path = Path(name)
        if not path.is_dir() or (path / LOCK_NAME).is_file():
            paths.append((path, True))
            continue
        try:
            inside = sorted(path.iterdir())
            runs = sorted((path / STORE).iterdir()) if (path / STORE).is_dir() else []
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror or error}")
            continue
        files = [file for file in inside if file.name.endswith(ENDINGS) and file.is_file()]
        paths += [(file, False) for file in files if not _is_output(file, output)]
        paths += [(run, False) for run in runs if (run / LOCK_NAME).is_file()]
    return paths


def _is_output(file: Path, output: Path) -> bool:
    return file.resolve() == output.resolve()


def _load(path: Path) -> Trace:
    """Read a trace file, or what a rank that was killed has left; that stays where it is.

    Raises:
        InputError: there is nothing, or no trace.
        StoreError: nothing in a run folder can be read, or one of its processes still runs.
    """
    if not path.is_dir():
        from tinytrace.analysis.reader import load

        return load(path)
    from tinytrace.tracer.assemble import read_run
    from tinytrace.tracer.store import claim_run

    claim = claim_run(path)
    try:
        return read_run(path)
    finally:
        if claim >= 0:
            os.close(claim)


def _is_same(one: Trace, other: Trace) -> bool:
    """Whether two traces are the same recording."""
    return one.meta == other.meta and one.spans == other.spans and one.samples == other.samples

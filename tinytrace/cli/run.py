"""Run a program and record it."""

from __future__ import annotations

import argparse
import contextlib
import os
from importlib import import_module
from pathlib import Path

from tinytrace.cli.options import (
    Parser,
    check_writable,
    disk_limit_bytes,
    rate_hz,
    size_bytes,
    step_range,
    version,
)
from tinytrace.errors import ScriptError, UsageError
from tinytrace.tracer import launcher
from tinytrace.tracer.ranks import file_of_rank, rank_of

EXAMPLES = """\
examples:
  python -m tinytrace train.py --epochs 3        the program's own options come after it
  python -m tinytrace -o run.json.gz -m package.module
  python -m tinytrace --rate 200 -q -c "import numpy; numpy.ones(9) @ numpy.ones(9)"
  python -m tinytrace --sampler py-spy --native train.py
  python -m tinytrace -- ./export                a file that has the name of a subcommand

other commands (each has its own -h):
"""
USAGE = "python -m tinytrace [options] (script.py | folder | file.zip | -m module | -c code | -) …"
# The options that are followed by a value; a test holds them together with the parser.
TAKES_VALUE = {
    "-o",
    "--output",
    "--rate",
    "--sampler",
    "--budget",
    "--disk-limit",
    "--hardware-counters",
    "--steps",
}


def main(argv: list[str]) -> int:
    """Check everything that can be checked beforehand, then become the program.

    Raises:
        UsageError: options that make no sense, or nothing to run.
        ScriptError: no such script.
        OutputError: the trace could not be written later.
    """
    own, program = split(argv)
    arguments = _parser().parse_args(own)
    if not program:
        raise UsageError("no program to run: python -m tinytrace script.py (help: -h)")
    if arguments.native and arguments.sampler != "py-spy":
        raise UsageError("--native needs --sampler py-spy")
    _check_program(program)
    rank = rank_of(os.environ)
    output = _output(arguments.output)
    check_writable(output)
    from tinytrace.exporters.registry import check_suffix

    check_suffix(output)
    options = {
        "output": str(output),
        "rate_hz": arguments.rate,
        "sampler": arguments.sampler,
        "native": arguments.native,
        "budget_bytes": arguments.budget,
        "disk_limit_bytes": arguments.disk_limit,
        "ops": arguments.ops,
        "children": arguments.children,
        "hardware_counters": arguments.hardware_counters,
        "steps": arguments.steps,
    }
    given = {
        "options": options,
        "run_folder": None,
        # Of a job, its first rank speaks; and while others still run, what a machine can do cannot be measured.
        "quiet": arguments.quiet or (rank is not None and rank["rank"] != 0),
        "calibrate": arguments.calibrate and rank is None,
    }
    launcher.launch(program, "tinytrace.cli.recording:begin", given)


def _output(asked: str) -> Path:
    """Return where the trace goes: of each rank of a job to a file of its own, in a folder that is made for it."""
    output = Path(os.path.abspath(file_of_rank(asked, os.environ)))  # noqa: PTH100 - a link stays a link
    if asked.endswith(os.sep) and str(output) != os.path.abspath(asked):  # noqa: PTH100
        with contextlib.suppress(OSError):  # `check_writable` says why
            output.parent.mkdir(parents=True, exist_ok=True)
    return output


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split a command line into our own options and the program with all that belongs to it.

    Args:
        argv: everything after ``tinytrace``.

    Returns:
        our options; and the program as Python's own command line has it.

    Example:
        >>> split(["-q", "--rate", "99", "train.py", "-q"])
        (['-q', '--rate', '99'], ['train.py', '-q'])
    """
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            program = argv[at + 1 :]
            return argv[:at], ["--", *program] if program[:1] and program[0][:1] == "-" else program
        if word == "-" or not word.startswith("-") or word[:2] in ("-m", "-c"):
            return argv[:at], argv[at:]
        cluster_takes_value = not word.startswith("--") and word.find("o") == len(word) - 1  # -qo
        at += 2 if word in TAKES_VALUE or cluster_takes_value else 1
    return argv, []


def _check_program(program: list[str]) -> None:
    """Raise `ScriptError` for a script that Python could not open."""
    first = program[1] if program[0] == "--" else program[0]
    if first == "-" or (program[0] != "--" and first[:2] in ("-m", "-c")):
        if first in ("-m", "-c") and len(program) < 2:
            raise UsageError(f"{first} needs {'a module' if first == '-m' else 'code'} after it")
        return
    if not os.path.lexists(first):
        raise ScriptError(f"{first}: no such script")
    try:
        os.stat(first)  # noqa: PTH116 - Python is given the very text
    except OSError as error:
        raise ScriptError(f"{first}: cannot be opened: {error.strerror}") from error
    if not os.access(first, os.R_OK):
        raise ScriptError(f"{first}: cannot be opened: no permission to read it")
    if os.path.isdir(first) and not any(Path(first).glob("__main__.*")):  # noqa: PTH112
        raise ScriptError(f"{first}: is a folder without a __main__.py")


class _RunParser(Parser):
    """Its help lists the other commands, which are imported for that only."""

    def format_help(self) -> str:
        from tinytrace.cli import COMMANDS

        lines = []
        for name, module in COMMANDS.items():
            if name != "run":
                what = (import_module(module).__doc__ or "").partition("\n")[0]
                lines.append(f"  python -m tinytrace {name:<10} {what[:1].lower()}{what[1:-1]}\n")
        self.epilog = EXAMPLES + "".join(lines)
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = _RunParser("", "Run a program exactly as python would, and record it.")
    parser.usage = USAGE
    add = parser.add_argument
    add("-o", "--output", default="trace.json", metavar="FILE",
        help="where the trace goes; its ending is the format (default: trace.json); ranks of a job: "
        "each to a file of its own, trace-rank3.json; of them, also a folder")  # fmt: skip
    add("--rate", type=rate_hz, default=1000.0, metavar="HZ",
        help="stack samples per second, 1 to 10000 (default: 1000)")  # fmt: skip
    add("--sampler", choices=("thread", "py-spy", "none"), default="thread",
        help="who takes them: a thread in the program (default), py-spy from outside, or nobody")  # fmt: skip
    add("--native", action="store_true", help="C functions in the stacks (with --sampler py-spy)")
    add("--budget", type=size_bytes, default=200_000_000, metavar="SIZE",
        help="largest trace file; beyond it, repetitions are summed up (default: 200MB)")  # fmt: skip
    add("--disk-limit", type=disk_limit_bytes, default=2_000_000_000, metavar="SIZE",
        help="most disk space of a process while recording; beyond it, likewise (default: 2GB)")  # fmt: skip
    add("--steps", type=step_range, metavar="A:B",
        help="PyTorch's operations in these steps of the optimizer only: 10:20 is 10 to 19")  # fmt: skip
    add("--no-ops", dest="ops", action="store_false", help="do not record NumPy's operations")
    add("--no-children", dest="children", action="store_false",
        help="do not record the processes that the program starts")  # fmt: skip
    add("--hardware-counters", choices=("auto", "on", "off"), default="auto",
        help="read those of the CPU: instructions, cache misses… (auto: where it is safe and cheap)")  # fmt: skip
    add("--no-calibrate", dest="calibrate", action="store_false",
        help="do not measure the roofs of this machine (once, 1 s) after the program")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="print nothing after the program")
    add("--version", action="version", version=version())
    return parser

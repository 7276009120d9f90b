"""Hold a run against a baseline: does it do more work, or take longer?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.cli.options import Parser
from tinytrace.errors import OutputError

if TYPE_CHECKING:
    from tinytrace.analysis.gate import Figure

EXAMPLES = """\
examples:
  python -m tinytrace check --baseline base.json run.json
  python -m tinytrace check --baseline base.json run.json --allow bytes=1% --allow op_calls=5
  python -m tinytrace check --baseline base.json run.json --timed

exit codes: 0 ok, 1 regression, 2 inconclusive; 3 and more: something could not be read or written. Operations,
FLOPs, bytes and allocations are compared exactly. In a GitHub workflow the table is added to the job's summary
($GITHUB_STEP_SUMMARY).
"""
EXIT = {"ok": 0, "regression": 1, "inconclusive": 2}


def main(argv: list[str]) -> int:
    """Compare, print the table to stdout, and return the exit code.

    Raises:
        InputError: a trace cannot be read.
        OutputError: the summary cannot be written.
        UsageError: options that make no sense.
    """
    parser = Parser("check", "Hold a run against a baseline.", EXAMPLES)
    parser.add_argument("run", help="a trace file")
    parser.add_argument(
        "--baseline", required=True, metavar="TRACE", help="the one to hold it against"
    )
    parser.add_argument(
        "--allow", type=allowance, action="append", default=[], metavar="FIGURE=PERCENT",
        help="an increase that is no regression: op_calls, flops, transcendentals, bytes, allocations",
    )  # fmt: skip
    parser.add_argument(
        "--timed", action="store_true", help="times decide too, not the exact figures alone"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.gate import gate
    from tinytrace.analysis.reader import load
    from tinytrace.cli.check_text import as_json, markdown, print_gate

    found = gate(
        load(arguments.baseline),
        load(arguments.run),
        allowed=dict(arguments.allow),
        timed=arguments.timed,
    )
    if arguments.json:
        sys.stdout.write(json.dumps(as_json(found), indent=1) + "\n")
    else:
        print_gate(found, sys.stdout)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown(found, arguments.baseline, arguments.run))
        except OSError as problem:
            raise OutputError(f"{summary}: cannot be written: {problem.strerror}") from None
    return EXIT[found.outcome]


def allowance(text: str) -> tuple[Figure, float]:
    """Return a figure and the relative increase that is allowed.

    Raises:
        argparse.ArgumentTypeError: not that.

    Example:
        >>> allowance("bytes=1.5%")
        ('bytes', 0.015)
    """
    from tinytrace.analysis.gate import FIGURES

    name, _, percent = text.partition("=")
    figure = next((figure for figure in FIGURES if figure == name), None)
    try:
        share = float(percent.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if figure is None or not 0 <= share < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be one of {', '.join(FIGURES)}, =, and percent"
        )
    return figure, share

"""Hold a run against a baseline: does it do more work, or take longer?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.cli.options import Parser
from tinytrace.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from tinytrace.analysis.gate import Figure

EXAMPLES = """\
examples:
  python -m tinytrace check --baseline base.json run.json
  python -m tinytrace check --baseline base.json run.json --allow bytes=1% --allow op_calls=5
  python -m tinytrace check --baseline base.json run.json --timed
  python -m tinytrace check --baseline suite.json suite-of-today.json

exit codes: 0 ok, 1 regression, 2 inconclusive; 3 and more: something could not be read or written. Operations,
FLOPs, bytes and allocations are compared exactly; of saved suites and benches the times are told, unpaired, and
decide nothing. In a GitHub workflow the table is added to the job's summary
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
    parser.add_argument("run", help="a trace file, or saved results of a suite or a bench")
    parser.add_argument(
        "--baseline", required=True, metavar="TRACE", help="the one to hold it against"
    )
    parser.add_argument(
        "--allow", type=allowance, action="append", default=[], metavar="FIGURE=PERCENT",
        help="an increase that is no regression: op_calls, flops, transcendentals, bytes, allocations; of suites also "
        "peak_bytes, parameters",
    )  # fmt: skip
    parser.add_argument(
        "--timed", action="store_true", help="times decide too, not the exact figures alone"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    arguments = parser.parse_args(argv)
    from tinytrace.toolkit.results import is_results

    results = [is_results(path) for path in (arguments.baseline, arguments.run)]
    if results[0] != results[1]:
        raise InputError(
            f"{arguments.baseline} and {arguments.run}: one is a trace and the other results of a suite or a bench: "
            "give two of the same"
        )
    outcome, text = _results(arguments) if results[0] else _traces(arguments)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as problem:
            raise OutputError(f"{summary}: cannot be written: {problem.strerror}") from None
    return EXIT[outcome]


def _traces(arguments: argparse.Namespace) -> tuple[str, str]:
    """Compare two traces and print; the outcome, and the same as Markdown."""
    from tinytrace.analysis.gate import FIGURES, gate
    from tinytrace.analysis.reader import load
    from tinytrace.cli.check_text import as_json, markdown, print_gate

    for figure, _ in arguments.allow:
        if figure not in FIGURES:
            raise UsageError(f"--allow {figure}: is a figure of results of a suite, not of a trace")
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
    return found.outcome, markdown(found, arguments.baseline, arguments.run)


def _results(arguments: argparse.Namespace) -> tuple[str, str]:
    """Compare two files of results and print; the outcome, and the same as Markdown."""
    from tinytrace.cli.saved_text import print_saved, saved_as_json, saved_markdown
    from tinytrace.toolkit.saved import compare_saved

    if arguments.timed:
        raise UsageError(
            "--timed: saved results are of different moments, and their times decide nothing: "
            "measure both in one suite, or in one bench"
        )
    found = compare_saved(arguments.baseline, arguments.run, allowed=dict(arguments.allow))
    if arguments.json:
        sys.stdout.write(json.dumps(saved_as_json(found), indent=1) + "\n")
    else:
        print_saved(found, sys.stdout)
    return found.outcome, saved_markdown(found, arguments.baseline, arguments.run)


def allowance(text: str) -> tuple[Figure, float]:
    """Return a figure and the relative increase that is allowed.

    Raises:
        argparse.ArgumentTypeError: not that.

    Example:
        >>> allowance("bytes=1.5%")
        ('bytes', 0.015)
    """
    from tinytrace.analysis.gate import FIGURES_OF_MODELS

    name, _, percent = text.partition("=")
    figure = next((figure for figure in FIGURES_OF_MODELS if figure == name), None)
    try:
        share = float(percent.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if figure is None or not 0 <= share < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be one of {', '.join(FIGURES_OF_MODELS)}, =, and percent"
        )
    return figure, share

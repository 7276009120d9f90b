"""Measure what mechanical rewrites of the ops of a saved trace gain, on this machine."""

from __future__ import annotations

import sys

from tinytrace.cli.messages import stderr
from tinytrace.cli.options import Parser, positive

EXAMPLES = """\
examples:
  python -m tinytrace verify trace.json              the rewrites of the ops with most time
  python -m tinytrace verify trace.json products     one kind of rewrite

rewrites: out, float32, contiguous, copy, products, square, sqrt, blas_dtype (docs/verify.md)
"""
TOP = 8


def main(argv: list[str]) -> int:
    """Read a trace, time rewrites, print what they gain to stdout.

    Raises:
        InputError: the trace cannot be read.
        UsageError: a wrong option, or no such rewrite.
    """
    parser = Parser("verify", f"{__doc__}", EXAMPLES)
    parser.add_argument("trace", help="a trace file, of tinytrace")
    parser.add_argument("finding", nargs="?", help="the name of one rewrite (default: all)")
    parser.add_argument(
        "--top", metavar="N", type=positive, default=TOP, help=f"rewrites that are timed ({TOP})"
    )
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.in_turns import Bench
    from tinytrace.analysis.reader import load
    from tinytrace.analysis.verify import check_name, verify
    from tinytrace.cli.saving import progress_bar
    from tinytrace.cli.verify_text import print_verification

    check_name(arguments.finding)
    trace = load(arguments.trace)
    with progress_bar("timing both forms in turns", stderr()) as progress:
        bench = Bench(progress=progress or (lambda share: None))
        verification = verify(trace, arguments.finding, arguments.top, bench)
    print_verification(verification, sys.stdout)
    return 0

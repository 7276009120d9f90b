"""Measure what mechanical rewrites of the ops of a saved trace gain, on this machine."""

from __future__ import annotations

import sys

from tinytrace.cli.messages import stderr
from tinytrace.cli.options import Parser, positive

EXAMPLES = """\
examples:
  python -m tinytrace verify trace.json              which findings can be verified; the ops with most time
  python -m tinytrace verify trace.json F1           one finding of the report
  python -m tinytrace verify trace.json "pow instead of products"    all findings of a rule
  python -m tinytrace verify trace.json products     one kind of rewrite

rewrites: out, float32, contiguous, copy, products, products_signed, square, sqrt, blas_dtype (docs/verify.md)
"""
TOP = 8


def main(argv: list[str]) -> int:
    """Read a trace, time rewrites, print what they gain to stdout.

    Raises:
        InputError: the trace cannot be read.
        UsageError: a wrong option, or a name of nothing.
    """
    parser = Parser("verify", f"{__doc__}", EXAMPLES)
    parser.add_argument("trace", help="a trace file, of tinytrace")
    parser.add_argument("finding", nargs="?", help="its id or rule, or the name of a rewrite")
    parser.add_argument(
        "--top", metavar="N", type=positive, default=TOP, help=f"rewrites that are timed ({TOP})"
    )
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.in_turns import Bench
    from tinytrace.analysis.reader import load
    from tinytrace.analysis.verifiable import asked_for
    from tinytrace.analysis.verify import verify
    from tinytrace.cli.saving import progress_bar
    from tinytrace.cli.verify_text import print_asked, print_verification

    trace = load(arguments.trace)
    asked = asked_for(trace, arguments.finding)
    print_asked(asked, arguments.trace, sys.stdout)
    if not asked.rewrites:
        return 0
    with progress_bar("timing both forms in turns", stderr()) as progress:
        bench = Bench(progress=progress or (lambda share: None))
        verification = verify(trace, asked, arguments.top, bench)
    print_verification(verification, sys.stdout)
    return 0

"""Say where the time of a saved trace went, what bounds it, and what could be won."""

from __future__ import annotations

import json
import sys
from typing import get_args

from tinytrace.cli.options import Parser, positive

EPILOG = """\
examples:
  python -m tinytrace report trace.json
  python -m tinytrace report trace.json --by layer --sort gain --top 20
  python -m tinytrace report trace.json --json | jq '.ops[0]'

docs/report.md explains every word of it.
"""


def main(argv: list[str]) -> int:
    """Read a trace and print its report, to stdout.

    Raises:
        InputError: it cannot be read.
        UsageError: a wrong option.
    """
    from tinytrace.analysis.op_groups import By
    from tinytrace.analysis.reader import load
    from tinytrace.analysis.report import Sort, report_of

    parser = Parser("report", f"{__doc__}", EPILOG)
    parser.add_argument("trace", help="a trace file, of tinytrace or of another tool")
    parser.add_argument(
        "--top", metavar="N", type=positive, default=10, help="rows of each table (10)"
    )
    parser.add_argument(
        "--by", choices=get_args(By), default="op", help="what the table of ops has a row for"
    )
    parser.add_argument(
        "--sort", choices=get_args(Sort), default="self", help="which rows come first"
    )
    parser.add_argument("--json", action="store_true", help="for programs, not for people")
    arguments = parser.parse_args(argv)
    trace = load(arguments.trace)
    report = report_of(trace, by=arguments.by, sort=arguments.sort, top=arguments.top)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=1, allow_nan=False))
        return 0
    from tinytrace.analysis.roofline_points import roofline_of
    from tinytrace.cli.report_text import print_report

    roofline = roofline_of(trace, arguments.top) if sys.stdout.isatty() else None
    print_report(report, sys.stdout, roofline)
    return 0

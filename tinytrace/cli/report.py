"""Say where the time of a saved trace went, what bounds it, and what could be won."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from tinytrace.analysis.figures import clean
from tinytrace.cli.options import Parser, check_writable, positive

TOP, TOP_OF_PAGE = (
    10,
    100,
)  # rows of a table: on a screen of text; on a page that scrolls and filters

EPILOG = """\
examples:
  python -m tinytrace report trace.json
  python -m tinytrace report trace.json --by layer --sort gain --top 20
  python -m tinytrace report trace.json --json | jq '.ops[0]'
  python -m tinytrace report trace.json --html report.html

docs/report.md explains every word of it, docs/html-report.md the page.
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
        "--top",
        metavar="N",
        type=positive,
        help=f"rows of each table ({TOP}; of --html {TOP_OF_PAGE})",
    )
    parser.add_argument(
        "--by", choices=get_args(By), default="op", help="what the table of ops has a row for"
    )
    parser.add_argument(
        "--sort", choices=get_args(Sort), default="self", help="which rows come first"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs, not for people")
    form.add_argument(
        "--html",
        metavar="FILE",
        type=Path,
        help="write a page with charts to a file, instead of text",
    )
    arguments = parser.parse_args(argv)
    if arguments.html is not None:
        return _write_page(arguments.trace, arguments.html, arguments)
    top = arguments.top or TOP
    trace = load(arguments.trace)
    report = report_of(trace, by=arguments.by, sort=arguments.sort, top=top)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=1, allow_nan=False))
        return 0
    from tinytrace.analysis.roofline_points import roofline_of
    from tinytrace.cli.report_text import print_report

    roofline = roofline_of(trace, top) if sys.stdout.isatty() else None
    print_report(report, sys.stdout, arguments.trace, roofline)
    return 0


def _write_page(source: str, target: Path, arguments: argparse.Namespace) -> int:
    from tinytrace.analysis.reader import load
    from tinytrace.exporters.html import content_of, html_page
    from tinytrace.exporters.registry import write_file

    check_writable(target, "--html")
    content = content_of(
        load(source),
        Path(source).name,
        by=arguments.by,
        sort=arguments.sort,
        top=arguments.top or TOP_OF_PAGE,
    )
    write_file(target, lambda out: out.write(html_page(content)))
    print(f"{clean(str(target))} written: it opens in any browser, and asks for nothing else.")
    return 0

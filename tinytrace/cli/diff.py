"""Compare two saved traces: what moved the time, and what work changed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tinytrace.cli.options import Parser, rows

EXAMPLES = """\
examples:
  python -m tinytrace diff before.json after.json
  python -m tinytrace diff before.json after.json --top 30
  python -m tinytrace diff before.json after.json --json | jq .same_work
"""


def main(argv: list[str]) -> int:
    """Read two traces and print what differs, to stdout.

    Raises:
        InputError: one of them cannot be read.
        UsageError: options that make no sense.
    """
    parser = Parser("diff", "Say what moved the end-to-end time between two runs.", EXAMPLES)
    parser.add_argument("before", help="a trace file, of tinytrace or of another tool")
    parser.add_argument("after", help="another one")
    parser.add_argument(
        "--top", type=rows, default=10, metavar="N", help="rows per table (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.diff import diff
    from tinytrace.analysis.reader import load

    found = diff(load(arguments.before), load(arguments.after), arguments.top)
    if arguments.json:
        files = {"before": arguments.before, "after": arguments.after}
        sys.stdout.write(json.dumps({"files": files, **asdict(found)}, indent=1) + "\n")
        return 0
    from tinytrace.cli.diff_text import print_diff

    print_diff(found, Path(arguments.before), Path(arguments.after), file=sys.stdout)
    return 0

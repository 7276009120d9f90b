"""Print the summary of a saved trace."""

from __future__ import annotations

import sys
from pathlib import Path

from tinytrace.cli.options import Parser


def main(argv: list[str]) -> int:
    """Read a trace and print its summary, to stdout.

    Raises:
        InputError: it cannot be read.
    """
    parser = Parser("summary", "Print the summary of a saved trace, as at the end of its run.")
    parser.add_argument("trace", help="a trace file, of tinytrace or of another tool")
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.reader import load
    from tinytrace.cli.render import print_summary

    print_summary(load(arguments.trace), Path(arguments.trace), file=sys.stdout)
    return 0

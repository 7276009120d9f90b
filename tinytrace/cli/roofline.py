"""Show the ops of a saved trace under the roofs of the machine that it was recorded on."""

from __future__ import annotations

import sys
from pathlib import Path

from tinytrace.cli.messages import say
from tinytrace.cli.options import Parser, positive
from tinytrace.cli.pictures import check_picture

EXAMPLES = """\
examples:
  python -m tinytrace roofline trace.json
  python -m tinytrace roofline trace.json -o roofline.svg --top 30

docs/roofline.md explains it.
"""
TOP = 15


def main(argv: list[str]) -> int:
    """Read a trace, print its roofline to stdout, and draw it if asked to.

    Raises:
        InputError: the trace cannot be read.
        UsageError: a wrong option, or no matplotlib for a picture.
        OutputError: the picture cannot be written.
    """
    parser = Parser("roofline", f"{__doc__}", EXAMPLES)
    parser.add_argument("trace", help="a trace file, of tinytrace or of another tool")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="draw it, too: .png or .svg (needs matplotlib)"
    )
    parser.add_argument(
        "--top", metavar="N", type=positive, default=TOP, help=f"ops with most time ({TOP})"
    )
    arguments = parser.parse_args(argv)
    picture = None if arguments.output is None else Path(arguments.output)
    if picture is not None:
        check_picture(picture, "-o")
    from tinytrace.analysis.reader import load
    from tinytrace.analysis.roofline_points import roofline_of
    from tinytrace.cli.roofline_text import print_roofline

    roofline = roofline_of(load(arguments.trace), arguments.top)
    print_roofline(roofline, sys.stdout)
    if picture is not None:
        from tinytrace.cli.roofline_plot import draw

        unlabelled = draw(roofline, picture)
        more = f" ({unlabelled} points without a label: no room)" if unlabelled else ""
        say(f"drawn into {picture}{more}")
    return 0

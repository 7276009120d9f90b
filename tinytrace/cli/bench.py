"""Measure commands or functions in turns, and say which is faster."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tinytrace.cli.options import Parser, positive
from tinytrace.errors import UsageError

EXAMPLES = """\
examples:
  python -m tinytrace bench "python a.py" "python b.py"
  python -m tinytrace bench mymodule:old mymodule:new --rounds 50
  python -m tinytrace bench "python a.py" --save base.json
  python -m tinytrace bench "python a.py" --baseline base.json

The first one is what the others are compared with. Every round runs all of them, and the first one twice, in
random order, each in a fresh process. A function (module:function) is called without arguments, as often as fits
into a tenth of a second; starting Python and importing the module are not timed. When it is interrupted (Ctrl-C), or a
command fails, the rounds that were complete are told and saved.
"""


def main(argv: list[str]) -> int:
    """Run the commands and print the table, to stdout.

    Raises:
        UsageError: options that make no sense, or a command that fails.
        InputError: the baseline cannot be read.
        OutputError: the results cannot be saved.
    """
    parser = Parser("bench", "Measure commands or functions in turns.", EXAMPLES)
    parser.add_argument("what", nargs="+", help='"a command" or module:function')
    parser.add_argument(
        "--rounds", type=positive, default=20, metavar="N", help="how many (default: 20)"
    )
    parser.add_argument(
        "--budget", type=positive, default=600, metavar="SECONDS",
        help="what would take longer is refused after the first round (default: 600)",
    )  # fmt: skip
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="saved results to stand beside these"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    arguments = parser.parse_args(argv)
    from tinytrace.cli.bench_text import print_bench
    from tinytrace.cli.messages import say, stderr
    from tinytrace.cli.saving import progress_bar
    from tinytrace.toolkit.commands import bench
    from tinytrace.toolkit.results import bench_document, read_results, write_whole

    saved = None if arguments.baseline is None else read_results(arguments.baseline)
    with progress_bar("measuring", stderr()) as progress:
        try:
            found = bench(
                arguments.what, arguments.rounds, progress or (lambda share: None), arguments.budget
            )
        except KeyboardInterrupt:
            say("interrupted: too few rounds were complete to tell anything, and nothing is saved")
            raise
    if arguments.save is not None:
        write_whole(arguments.save, bench_document(found))
    if arguments.json:
        sys.stdout.write(json.dumps(bench_document(found), indent=1) + "\n")
    else:
        print_bench(found, saved, sys.stdout)
        sys.stdout.flush()
    if found.interrupted:
        raise KeyboardInterrupt
    if found.stopped is not None:
        raise UsageError(found.stopped)
    return 0

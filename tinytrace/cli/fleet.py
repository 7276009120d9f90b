"""Put many traces together: where the time of all runs went, and which ops took it."""

from __future__ import annotations

import json
import sys

from tinytrace.cli.options import Parser, positive

EXAMPLES = """\
examples:
  python -m tinytrace fleet traces/
  python -m tinytrace fleet run-*.json.gz --workers 8 --top 30
  python -m tinytrace fleet traces/ --json | jq '.ops[0]'

docs/fleet.md explains every word of it, and how to use a cluster.
"""


def main(argv: list[str]) -> int:
    """Read traces by several processes and print what they are together, to stdout.

    The exit code is 4 where none of them could be read.

    Raises:
        InputError: there is no such file or folder, or no trace at all.
        UsageError: a wrong option.
    """
    parser = Parser("fleet", f"{__doc__}", EXAMPLES)
    parser.add_argument(
        "places", nargs="+", metavar="DIR-or-file", help="trace files, or folders of them"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes that read (default: one per CPU)"
    )
    parser.add_argument(
        "--top", type=positive, default=20, metavar="N", help="rows of each table (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="for programs, not for people")
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.fleet_map import find_traces, fleet_of
    from tinytrace.errors import InputError, TraceFormatError

    paths = find_traces(arguments.places)
    if not paths:
        raise InputError(f"{arguments.places[0]}: no trace in it (.json, .json.gz)")
    fleet = fleet_of(paths, workers=arguments.workers)
    if arguments.json:
        print(json.dumps(fleet.to_json(arguments.top), indent=1, allow_nan=False))
    else:
        from tinytrace.cli.fleet_text import print_fleet

        print_fleet(fleet, sys.stdout, arguments.top)
    return 0 if fleet.traces else TraceFormatError.exit_code

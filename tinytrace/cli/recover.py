"""Make the trace of a run that never ended: killed, crashed, or out of memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tinytrace.cli.messages import say
from tinytrace.cli.options import Parser, check_writable, size_bytes
from tinytrace.errors import InputError

EXAMPLES = """\
examples:
  python -m tinytrace recover                    the latest unfinished run in this folder
  python -m tinytrace recover .tinytrace/RUN -o crash.json
"""


def main(argv: list[str]) -> int:
    """Write the trace of an unfinished run, then remove its folder.

    Raises:
        InputError: there is no such run.
        StoreError: nothing in it can be read, or one of its processes still runs.
        OutputError: the trace cannot be written; the run stays.
    """
    parser = Parser("recover", "Make the trace of a run that was killed or has crashed.", EXAMPLES)
    parser.add_argument(
        "run_folder", nargs="?", metavar="RUN_FOLDER", help="default: the latest one in .tinytrace"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: trace-RUN.json in this folder"
    )
    parser.add_argument("--budget", type=size_bytes, default=200_000_000, metavar="SIZE",
                        help="largest trace file (default: 200MB)")  # fmt: skip
    parser.add_argument("--no-calibrate", dest="calibrate", action="store_false",
                        help="do not measure the roofs of this machine where none are kept")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print no summary")
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.torch_merge import with_torch
    from tinytrace.cli.elsewhere import Elsewhere
    from tinytrace.cli.saving import mention_unfinished, save_run, summarise
    from tinytrace.tracer.assemble import read_run, span_limit_for
    from tinytrace.tracer.store import claim_run, remove_run

    run = _latest_run() if arguments.run_folder is None else Path(arguments.run_folder)
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    output = Path(arguments.output or f"trace-{run.name}.json")
    check_writable(output)
    claim = claim_run(run)
    elsewhere = Elsewhere(sys.executable, dict(os.environ)) if arguments.calibrate else None
    found = with_torch(read_run(run, span_limit_for(arguments.budget)), run)
    trace = save_run(found, output, arguments.budget, elsewhere, arguments.quiet)
    if claim >= 0:  # else it may be a folder of somebody's, with something of ours in it
        remove_run(run)
        os.close(claim)
    if arguments.quiet:
        return 0
    summarise(trace, output)
    say(f"recovered into {output}")
    mention_unfinished(Path.cwd())
    return 0


def _latest_run() -> Path:
    from tinytrace.tracer.store import unfinished_runs

    runs = unfinished_runs(Path.cwd())
    if not runs:
        raise InputError(f"no unfinished run in {Path.cwd()}: give the RUN_FOLDER")
    return runs[-1]

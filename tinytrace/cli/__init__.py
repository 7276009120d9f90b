"""The command line: one file per subcommand. This is the only place that prints."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from types import FrameType
from typing import NoReturn

from tinytrace.cli.messages import say
from tinytrace.errors import TinytraceError
from tinytrace.tracer import signals

# name → module with ``main(argv) -> int``; the first line of its docstring is its help.
COMMANDS = {
    "run": "tinytrace.cli.run",
    "bench": "tinytrace.cli.bench",
    "calibrate": "tinytrace.cli.calibrate",
    "check": "tinytrace.cli.check",
    "diff": "tinytrace.cli.diff",
    "export": "tinytrace.cli.export",
    "merge": "tinytrace.cli.merge",
    "fleet": "tinytrace.cli.fleet",
    "query": "tinytrace.cli.query",
    "recover": "tinytrace.cli.recover",
    "report": "tinytrace.cli.report",
    "roofline": "tinytrace.cli.roofline",
    "summary": "tinytrace.cli.summary",
    "verify": "tinytrace.cli.verify",
    "view": "tinytrace.cli.view",
}


def main(argv: list[str]) -> int:
    """Do what a command line asks for and return the exit code.

    A first word that is no subcommand is the program to run; so is ``./report`` where there is a
    subcommand of that name.

    Args:
        argv: without the program name.
    """
    command = argv[0] if argv and argv[0] in COMMANDS else ""
    if command in ("", "run"):
        return _guarded("run", argv[1:] if command else argv)
    with _terminable():
        return _guarded(command, argv[1:])


def _guarded(command: str, argv: list[str]) -> int:
    try:
        return int(import_module(COMMANDS[command]).main(argv))
    except TinytraceError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130
    except signals.Terminated:
        signals.die()
        return 143
    except BrokenPipeError:  # `… | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        say(f"defect: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        return TinytraceError.exit_code


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM clean up, as an interrupt does: no half-written file stays."""

    def terminate(signum: int, frame: FrameType | None) -> NoReturn:
        raise signals.Terminated

    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def script() -> NoReturn:
    """Run as the program ``tinytrace``."""
    sys.exit(main(sys.argv[1:]))

"""The command line: one file per subcommand. This is the only place that prints."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib import import_module
from typing import NoReturn

from tinytrace.cli.messages import say
from tinytrace.errors import TinytraceError

# name → module with ``main(argv) -> int``; the first line of its docstring is its help.
COMMANDS = {
    "run": "tinytrace.cli.run",
    "export": "tinytrace.cli.export",
    "recover": "tinytrace.cli.recover",
    "summary": "tinytrace.cli.summary",
}


def main(argv: list[str]) -> int:
    """Do what a command line asks for and return the exit code.

    A first word that is no subcommand is the program to run; so is ``./report`` where there is a
    subcommand of that name.

    Args:
        argv: without the program name.
    """
    command = argv[0] if argv and argv[0] in COMMANDS else ""
    try:
        return int(import_module(COMMANDS[command or "run"]).main(argv[1:] if command else argv))
    except TinytraceError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130
    except BrokenPipeError:  # `… | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        say(f"defect: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        return TinytraceError.exit_code


def script() -> NoReturn:
    """Run as the program ``tinytrace``."""
    sys.exit(main(sys.argv[1:]))

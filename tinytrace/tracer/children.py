"""The processes that a recorded program starts, in the run of the program.

Each process has a store of its own in the run folder of the first one. A child that is a new
interpreter (spawn, forkserver, ``subprocess``) finds the run through the environment
(`tinytrace.tracer.launcher`); a forked one starts over in `os.register_at_fork`. No start method is
set, nothing of ``multiprocessing`` or ``subprocess`` is changed, and nobody waits for a child.

A child writes no trace, prints nothing and handles no signal: when it ends, in whatever way, its
store is in the run folder.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tinytrace.errors import UsageError
from tinytrace.tracer import launcher
from tinytrace.tracer.observers import at_exit_unobserved

if TYPE_CHECKING:
    from tinytrace.tracer.options import Options
    from tinytrace.tracer.session import Session

Given = dict[str, Any]
_followed: list[Session] = []  # the session whose forks are followed: one at most
_at_fork: list[bool] = []
_awaited: list[Session] = []  # the one that ``multiprocessing`` tells of names; forks inherit that


def can_follow() -> bool:
    """Whether new interpreters that this one starts can be recorded; forks always can."""
    return launcher.can_begin()


def follow(session: Session, given: Given, begin: str = launcher.CHILD_BEGIN) -> None:
    """Record the processes that this one starts from now on, until `unfollow`.

    Args:
        session: a started one. Its ``restart_in_child()`` is called in every forked child.
        given: what `begin_child` needs, by `describe`; it may hold more.
        begin: what a program that replaces this process (``os.exec…``) begins with.
    """
    _followed[:] = [session]
    if not _at_fork:
        os.register_at_fork(after_in_child=_after_fork)
        _at_fork.append(True)
    try:
        launcher.set_environment(os.environ, begin, given)
    except UsageError:
        launcher.clear_environment(os.environ)


def unfollow() -> None:
    """Undo `follow`: the environment is as it was, forks are left alone."""
    _followed.clear()
    launcher.clear_environment(os.environ)


def describe(options: Options, run_folder: Path | None) -> Given:
    """Return the part of ``given`` that a process needs to take part in a run; JSON-ready."""
    return {
        "options": {**asdict(options), "output": str(options.output)},
        "run_folder": None if run_folder is None else str(run_folder),
    }


def options_of(given: Given) -> Options:
    """Return the options in what `describe` made."""
    from tinytrace.tracer.options import Options

    return Options(**{**given["options"], "output": Path(given["options"]["output"])})


def begin_child(given: Given) -> None:
    """Record this process into the run that it was started from, if that still exists."""
    if given.get("run_folder") is None:
        return  # the first process of the run never got to start one
    run_folder = Path(given["run_folder"])
    if not run_folder.is_dir():
        launcher.clear_environment(os.environ)  # the run has ended
        return
    from tinytrace.tracer.session import Session

    session = Session.join(run_folder, options_of(given))
    session.start()
    at_exit_unobserved(session.stop)
    follow(session, given)
    session.after_import.add("multiprocessing.util", _await_names)


def _after_fork() -> None:
    if _followed:
        _followed[0].restart_in_child()
        if util := sys.modules.get("multiprocessing.util"):
            _await_names(util)


def _await_names(util: ModuleType) -> None:
    """Forked processes write down the names that ``multiprocessing`` gives them, before they work."""
    if _followed and _awaited != _followed:
        _awaited[:] = _followed
        util.register_after_fork(_followed[0], type(_followed[0]).name_again)

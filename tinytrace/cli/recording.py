"""What happens in the process of a recorded program before and after the program."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytrace.cli.elsewhere import Elsewhere
from tinytrace.cli.messages import say
from tinytrace.errors import TinytraceError
from tinytrace.tracer import children, launcher, modules, signals
from tinytrace.tracer.observers import at_exit_unobserved

if TYPE_CHECKING:
    from tinytrace.tracer.session import Session


def begin(given: dict[str, Any]) -> None:
    """Start recording this process; where that fails, say so and let the program run.

    Args:
        given: the options; and the run folder, when the program replaced itself by ``os.exec…``.
    """
    try:
        session = _session(given)
        session.start()
    except Exception as error:  # whatever it is, it is our problem and not the program's
        launcher.clear_environment(os.environ)
        say(f"nothing is recorded: {_reason(error)}")
        return
    ending = Ending(session, given)
    at_exit_unobserved(ending.at_exit)  # the first one registered is the last one called
    signals.install(ending.save)
    if session.options.children:
        described = {**given, **children.describe(session.options, session.run_folder)}
        children.follow(session, described, "tinytrace.cli.recording:begin")
    else:
        launcher.clear_environment(os.environ)


class Ending:
    """What is done when the program has ended, or is about to die of SIGTERM."""

    def __init__(self, session: Session, given: dict[str, Any]) -> None:
        self._session = session
        self._quiet: bool = given["quiet"]
        self._pid = os.getpid()
        self._path = list(sys.path)
        self._saved = self._ended = False
        self._calibrate: bool = given["calibrate"]
        environment = dict(os.environ)
        launcher.clear_environment(environment)
        self._elsewhere = Elsewhere(sys.executable, environment)

    def at_exit(self) -> None:
        """End the recording; in the first process of a run, write the trace and print the summary."""
        if os.getpid() != self._pid:
            self._session.stop()
            return  # a forked child: its store is all it leaves
        with signals.interrupt_kept():
            self._end()

    def _end(self) -> None:
        signals.begin_saving()
        # Who interrupts a program wants it to end.
        self._ended = getattr(sys, "last_type", None) is not KeyboardInterrupt
        if not self._quiet and sys.stdout is not None:
            with contextlib.suppress(Exception):  # the interpreter tries again, and complains
                sys.stdout.flush()
        try:
            self.save()
        except signals.Terminated:
            say(f"terminated while saving; {self._kept()}")
            signals.die()
        signals.uninstall()

    def save(self) -> None:
        """Stop, and write the trace; what goes wrong is said and nothing else happens.

        Raises:
            signals.Terminated: a SIGTERM while saving.
        """
        if self._saved:
            return
        self._saved = True
        self._session.stop()
        children.unfollow()
        try:
            with modules.as_before(self._path), _undisturbed():
                self._write()
        except signals.Terminated:
            raise
        except KeyboardInterrupt:
            say(f"interrupted while saving; {self._kept()}")
        except BaseException as error:
            if isinstance(error, TinytraceError) or not self._save_elsewhere():
                say(f"the trace could not be written: {_reason(error)}; {self._kept()}")

    def _write(self) -> None:
        from tinytrace.cli import saving

        options = self._session.options
        measuring = self._elsewhere if self._calibrate and self._ended else None
        trace = saving.save_run(
            self._session.trace(), options.output, options.budget_bytes, measuring, self._quiet
        )
        self._session.discard()
        if not self._quiet:
            saving.summarise(trace, options.output)
            if not saving.mention_merging(trace, options.output):
                saving.mention_unfinished(options.output.parent)

    def _save_elsewhere(self) -> bool:
        """Have a new interpreter save; in this one the program has changed something that we need."""
        self._session.release()
        options = self._session.options
        command = ["recover", "-q", str(self._session.run_folder), "-o", str(options.output),
                   "--budget", str(options.budget_bytes)]  # fmt: skip
        if not (self._calibrate and self._ended):
            command.append("--no-calibrate")
        try:
            saved = self._elsewhere.run(command)[0] == 0
        except OSError:
            return False
        if saved and not self._quiet:
            say(f"saved: python -m tinytrace summary {options.output}")
        return saved

    def _kept(self) -> str:
        return f"it is kept: python -m tinytrace recover {self._session.run_folder}"


ROOM_FOR_CALLS = (
    1000  # Python's own limit; a compiled module may crash when it cannot import what it needs
)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what the program has set from getting in the way of what we do when it has ended.

    The collector would look through its objects again and again for what we make; a low limit of recursion would
    break imports half-way.
    """
    collects, calls = gc.isenabled(), sys.getrecursionlimit()
    gc.disable()
    sys.setrecursionlimit(max(calls, ROOM_FOR_CALLS))
    try:
        yield
    finally:
        sys.setrecursionlimit(calls)
        if collects:
            gc.enable()


def _session(given: dict[str, Any]) -> Session:
    from tinytrace.tracer.session import Session

    options = children.options_of(given)
    run_folder = given.get("run_folder")
    if run_folder is not None and Path(run_folder).is_dir():
        return Session.resume(Path(run_folder), options)
    return Session(options, sys.orig_argv)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, TinytraceError) else f"{type(error).__name__}: {error}"

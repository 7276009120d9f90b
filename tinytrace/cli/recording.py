"""What happens in the process of a recorded program before and after the program."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinytrace.cli.messages import say
from tinytrace.tracer import children, launcher, signals

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
    atexit.register(ending)  # the first one registered is the last one called
    signals.install(ending)
    if session.options.children:
        described = {**given, **children.describe(session.options, session.run_folder)}
        children.follow(session, described, "tinytrace.cli.recording:begin")
    else:
        launcher.clear_environment(os.environ)


class Ending:
    """What is done when the program has ended, or is about to die of SIGTERM: called once or twice."""

    def __init__(self, session: Session, given: dict[str, Any]) -> None:
        self._session = session
        self._quiet: bool = given["quiet"]
        self._pid = os.getpid()
        self._path = list(sys.path)
        self._done = False

    def __call__(self) -> None:
        """Close the store; in the first process of a run, write the trace and print the summary."""
        if self._done:
            return
        self._done = True
        self._session.stop()
        if os.getpid() != self._pid:
            return  # a forked child: its store is all it leaves
        signals.begin_saving()
        children.unfollow()
        try:
            with self._import_path():
                self._save()
        except signals.Terminated:
            say(f"terminated while saving; {self._kept()}")
            signals.die()
        except KeyboardInterrupt:
            say(f"interrupted while saving; {self._kept()}")
        except BaseException as error:
            say(f"the trace could not be written: {_reason(error)}; {self._kept()}")
        finally:
            signals.uninstall()

    def _save(self) -> None:
        from tinytrace.cli.saving import save

        options = self._session.options
        trace = save(self._session.trace(), options.output, options.budget_bytes)
        self._session.discard()
        if self._quiet:
            return
        self._summary(trace)

    def _kept(self) -> str:
        return (
            f"what was recorded is kept: python -m tinytrace recover {self._session.run_folder}"
        )

"""SIGTERM: save, then die of it. SIGINT: let Python die of it after we have saved.

A signal that kills leaves the store whole anyway (``recover`` makes the trace); this is a courtesy for
the one that polite programs send. Installed only over the default disposition; a handler that the
program installs later simply replaces it.

Python dies of SIGINT after a ``KeyboardInterrupt`` that nobody caught, by a note that it makes when the
program ends and that any later ``exec`` of a text strikes out (`namedtuple` and dataclasses do that): what
we do between the two must put it back.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

_masks: dict[int, set[signal.Signals]] = {}  # by thread that is forking
_at_fork: list[bool] = []


class Terminated(BaseException):
    """A second SIGTERM while saving: give up saving, clean up, and die."""


class _Handler:
    def __init__(self, save: Callable[[], None]) -> None:
        self.save = save
        self.pid = os.getpid()
        self.saving = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.saving and os.getpid() == self.pid:
            raise Terminated
        self.saving = True
        sys.settrace(None)
        sys.setprofile(None)
        try:
            if os.getpid() == self.pid:
                self.save()
        except Terminated:
            pass
        finally:
            die()


def install(save: Callable[[], None]) -> None:
    """Call ``save`` when SIGTERM arrives, then die of it, if it would have killed this process."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _Handler(save))
        if not _at_fork:
            os.register_at_fork(
                before=_before_fork, after_in_parent=_let_through, after_in_child=_in_child
            )
            _at_fork.append(True)


def _before_fork() -> None:
    """Hold SIGTERM up: a child forgets what reaches its handler before it has ours off, and lives on."""
    if isinstance(signal.getsignal(signal.SIGTERM), _Handler):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _masks[_thread.get_ident()] = mask  # type: ignore[assignment]


def _let_through() -> None:
    mask = _masks.pop(_thread.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    uninstall()
    _let_through()


def begin_saving() -> None:
    """From now on a SIGTERM raises `Terminated`: the program has ended and is being saved."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _Handler):
        handler.saving = True


def uninstall() -> None:
    """Put the default disposition back, unless the program has installed its own handler."""
    if isinstance(signal.getsignal(signal.SIGTERM), _Handler):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def interrupt_kept() -> Iterator[None]:
    """Whatever is done meanwhile, Python still dies of SIGINT if the program has ended by one."""
    interrupted = _ended_by_interrupt()
    try:
        yield
    finally:
        if interrupted:
            with contextlib.suppress(KeyboardInterrupt):
                exec("raise KeyboardInterrupt")


def _ended_by_interrupt() -> bool:
    """Whether the error that Python has reported last is a ``KeyboardInterrupt`` through ``__main__``."""
    kind, at = getattr(sys, "last_type", None), getattr(sys, "last_traceback", None)
    main = getattr(sys.modules.get("__main__"), "__dict__", None)
    if not (isinstance(kind, type) and issubclass(kind, KeyboardInterrupt)):
        return False
    while at is not None:
        if at.tb_frame.f_globals is main and at.tb_frame.f_code.co_name == "<module>":
            return True
        at = at.tb_next
    return False


def die() -> None:
    """Die of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)

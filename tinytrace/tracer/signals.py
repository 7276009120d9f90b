"""SIGTERM: save, then die of it.

A signal that kills leaves the store whole anyway (``recover`` makes the trace); this is a courtesy for
the one that polite programs send. Installed only over the default disposition; a handler that the
program installs later simply replaces it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType


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


def begin_saving() -> None:
    """From now on a SIGTERM raises `Terminated`: the program has ended and is being saved."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _Handler):
        handler.saving = True


def uninstall() -> None:
    """Put the default disposition back, unless the program has installed its own handler."""
    if isinstance(signal.getsignal(signal.SIGTERM), _Handler):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def die() -> None:
    """Die of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)

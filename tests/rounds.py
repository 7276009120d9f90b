"""Waiting for the sampling thread, by its own count of rounds and never for a time."""

from __future__ import annotations

import time

from tinytrace.tracer.session import Session


def rounds() -> int:
    session = Session._current
    assert session is not None and session.sampling is not None
    return session.sampling.stats()["rounds"]


def wait_for_rounds(n: int) -> None:
    """Return when the sampler has looked at all threads so many times more."""
    end = rounds() + n
    while rounds() < end:
        time.sleep(0.001)

"""Keeping what tinytrace itself computes out of a recording that goes on: `muted`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def muted(recorder: Any) -> Iterator[None]:
    """Record no operation of this thread meanwhile: as inside an op that is opaque (`records.Policy.OPAQUE`).

    Args:
        recorder: either core, while it records.
    """
    if recorder.core == "c":
        before = recorder.opaque(1)
        try:
            yield
        finally:
            recorder.opaque(before)
        return
    writer = recorder.writer()
    if writer is None:
        yield
        return
    before, writer.opaque = writer.opaque, 1
    try:
        yield
    finally:
        writer.opaque = before

"""Where our own words go: to the stderr that we were started with, or nowhere.

Not through ``sys.stderr``, which belongs to the program: it may have replaced or closed it, and a line
that cannot be delivered would stay in its buffer and turn the program's exit code into 120.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

FD = 2


def _identity() -> tuple[int, int] | None:
    """What file is open as stderr; None: nothing."""
    try:
        status = os.fstat(FD)
    except OSError:
        return None
    return status.st_dev, status.st_ino


_at_start = _identity()


def stderr() -> TextIO | None:
    """Return a stream of our own to stderr, without a buffer; None where there is no stderr any more.

    A file that the program has opened since as number 2 is not ours to write to.
    """
    if _at_start is None or _identity() != _at_start:
        return None
    encoding = getattr(sys.__stderr__, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.FileIO(FD, "w", closefd=False),
        encoding=encoding,
        errors="backslashreplace",
        write_through=True,
    )


def say(line: str) -> None:
    """Print one line that begins with ``tinytrace:``; where it cannot be printed, nothing happens."""
    with contextlib.suppress(OSError, ValueError):
        if (stream := stderr()) is not None:
            stream.write(f"tinytrace: {line}\n")

"""What a recorder does: the compiled one and the one in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Recorder(Protocol):
    """What both recorders do. Ids count from 1, 0 is none; times are CLOCK_MONOTONIC, in ns."""

    core: str  # "c" or "python"

    def open(self, folder: str, disk_limit_bytes: int, /) -> None:
        """Begin recording into an existing, empty folder.

        Raises OSError when that cannot be, ValueError for a limit below `MIN_DISK_LIMIT_BYTES`.
        """

    def close(self) -> None:
        """End recording. Nothing is recorded afterwards; closing twice is fine."""

    def stats(self) -> dict[str, int]:
        """Return what was recorded and what was not; ``errno``: why recording ended early."""

    def put(self, entry: int, payload: bytes, /) -> None:
        """Append one entry to ``tables.tt``."""

    def label(self, name: str, args_json: str, /) -> int:
        """Return the id of a name with arguments (JSON, or "")."""

    def op(self, name: str, /) -> int:
        """Return the id of an operation's name."""

    def series(self, name: str, unit: str, /) -> int:
        """Return the id of a counter."""

    def begin(self, kind: int, label: int, /) -> int:
        """Begin a span at the caller's call site; returns its token, 0 = not recorded."""

    def end(self, token: int, flags: int, /) -> None:
        """End a span, from whichever thread."""

    def instant(self, label: int, /) -> None:
        """Record a moment."""

    def counter(self, series: int, value: float, t_ns: int = 0, /) -> None:
        """Record a counter's value; time 0 = now."""

    def flow(self, source: int, target: int, label: int, /) -> None:
        """Record an arrow between two spans, given by their tokens; 0 for one of them: nothing."""

    def on_new_place(self, call: Callable[[], None] | None, /) -> None:
        """Call it when an op comes from code that was not met before; None: nothing."""

    def internal(self, prefixes: tuple[str, ...], ours: tuple[str, ...], /) -> None:
        """Name the files, by prefix, that are no call sites: libraries', and tinytrace's own."""

    def caps(self, *numbers: int) -> None:
        """Set how much the next recordings may intern (`tracer.caps`)."""

    def reset_after_fork(self) -> None:
        """Forget the parent's recording, in the child of a fork."""

"""Python 3.12 and later warn of ``os.fork`` in a process with several threads: not when they are only ours.

Ours hold no lock over a fork that the child could wait for. The warning is taken back by a filter that is
there during the fork alone, and only where nobody else has a thread, for then Python is silent without us.
"""

from __future__ import annotations

import os
import sys
from typing import Any

FIRST_TO_WARN = (3, 12)
THREAD_NAMES = b"tinytrace"  # what the names of all threads of ours begin with
MOST_OF_OURS = 3
_watching: list[bool] = []


class _Once:
    """The message of the filter: matches the warning, once, and is gone."""

    def __init__(self, filters: list[Any]) -> None:
        self._filters = filters
        self._item = ("ignore", self, DeprecationWarning, None, 0)
        filters.insert(0, self._item)

    def match(self, text: str) -> bool:
        """As of a compiled pattern."""
        if " is multi-threaded, use of fork" not in text:
            return False
        self.remove()
        return True

    def remove(self) -> None:
        """Take the filter back; more than once is fine."""
        self._filters[:] = [item for item in self._filters if item is not self._item]


_waiting: list[_Once] = []


def watch() -> None:
    """Have no warning of forks on account of our threads, in this process and those that it forks."""
    if sys.version_info >= FIRST_TO_WARN and not _watching:
        os.register_at_fork(before=_before, after_in_child=_after)
        _watching.append(True)


def _before() -> None:
    _after()  # of a fork that has failed
    if _only_ours():
        warnings = sys.modules.get("warnings") or sys.modules["_warnings"]
        _waiting.append(_Once(warnings.filters))


def _after() -> None:
    while _waiting:
        _waiting.pop().remove()


def _only_ours() -> bool:
    """Whether all threads but one are ours, and there are some."""
    try:
        tasks = os.listdir("/proc/self/task")  # noqa: PTH208 - pathlib may not be loaded
        return 1 < len(tasks) <= 1 + MOST_OF_OURS and _others(tasks) == 1
    except OSError:
        return False


def other_threads() -> int | None:
    """Return how many threads there are beside the calling one and ours; None: not known."""
    try:
        return _others(os.listdir("/proc/self/task")) - 1  # noqa: PTH208 - pathlib may not be loaded
    except OSError:
        return None


def _others(tasks: list[str]) -> int:
    """How many of them are not ours."""
    names = [_read(f"/proc/self/task/{task}/comm") for task in tasks]
    return sum(not name.startswith(THREAD_NAMES) for name in names)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

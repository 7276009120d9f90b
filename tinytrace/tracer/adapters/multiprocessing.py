"""The name of a spawned process, at once: pools kill their workers, perhaps before anybody looks again.

Forked processes are told by a list of `multiprocessing` itself (`tinytrace.tracer.children`), which spawned
ones do not look at.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.records import Entry


def install(adapting: Adapting, spawn: ModuleType) -> None:
    """Learn the name that this process is given, where it is a spawned one.

    Args:
        adapting: of this recording.
        spawn: ``multiprocessing.spawn``, whose ``prepare(data)`` brings it and then runs the program's module:
            in pure Python a frame of ours would be in tracebacks of that, so nothing is done there.
    """
    if sys.orig_argv[-1:] != ["--multiprocessing-fork"] or adapting.recorder.core != "c":
        return

    def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = args[0].get("name")
        if isinstance(name, str):
            adapting.recorder.put(Entry.META, json.dumps({"name": name}).encode())

    adapting.wrap(spawn, "prepare", before, _nothing)


def _nothing(token: Any, result: Any, raised: bool) -> None:
    """After the call: nothing."""

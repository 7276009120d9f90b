"""Results of suites in files: JSON, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytrace.errors import InputError
from tinytrace.exporters.registry import write_file
from tinytrace.tracer.machine import machine, numerics

if TYPE_CHECKING:
    from tinytrace.toolkit.commands import Bench
    from tinytrace.toolkit.suite import Suite

FORMAT = "tinytrace-suite"
VERSION = 1
AGAIN = "\0again"  # the baseline once more; no name of a model
LARGEST_BYTES = 100_000_000
# What times depend on, of a machine and its libraries. Not the release of the kernel: that changes every week.
FINGERPRINT = (
    "architecture",
    "cpu",
    "cpu_count",
    "usable_cpus",
    "implementation",
    "python",
    "numpy",
    "blas",
    "threads",
)


def save_times(path: str | Path, times: Mapping[str, Sequence[float]], *, fresh: bool) -> None:
    """Write the times of rounds, and where they were measured.

    Args:
        path: where to.
        times: ms per round of each model and of `AGAIN`.
        fresh: in fresh processes, or in this one.

    Raises:
        OutputError: it cannot be written.
    """
    document = _document(times, machine() | numerics())
    write_whole(path, document | {"fresh_process": fresh, "finished": False})


def save_suite(suite: Suite, path: str | Path) -> None:
    """Write a suite: the times of its rounds, and what they show.

    Args:
        suite: what was measured.
        path: where to.

    Raises:
        OutputError: it cannot be written.
    """
    document = _document(suite.times, suite.machine) | {
        "baseline": suite.baseline,
        "seed": suite.seed,
        "fresh_process": suite.fresh_process,
        "why_here": suite.why_here,
        "finished": suite.finished,
        "incomplete_ms": {name: list(column) for name, column in suite.incomplete.items()},
        "rows": [_plain(row) for row in suite.rows],
    }
    write_whole(path, document)


def bench_document(found: Bench) -> dict[str, Any]:
    """Return what a bench measured, JSON-ready: times of rounds, and what they show.

    Args:
        found: any.
    """
    rows = [_plain(row) for row in found.rows]
    more = {"rows": rows, "fresh_process": True, "finished": found.stopped is None}
    return _document(found.times_ms, found.machine) | more


def kept_times(path: str | Path, names: Sequence[str], fresh: bool) -> dict[str, list[float]]:
    """Return the times in a file, if it has those of the same models; else none.

    Args:
        path: of a file that may not be there.
        names: of the models and `AGAIN`.
        fresh: in fresh processes, or in this one: where they are measured now.

    Raises:
        InputError: it is there and no file of results, or it was measured on another machine.
    """
    if not Path(path).exists():
        return {}
    document = read_results(path)
    times = document["times_ms"]
    if set(times) != set(names):
        have = ", ".join(name for name in times if name != AGAIN)
        raise InputError(f"{path}: has results of other models ({have}): give another file")
    apart = differences(document["machine"], machine() | numerics())
    if apart:
        raise InputError(
            f"{path}: was measured on another machine ({', '.join(apart)}): give another file"
        )
    if document.get("fresh_process") is not fresh:
        where = "fresh processes" if not fresh else "one process"
        raise InputError(f"{path}: was measured in {where}, which this is not: give another file")
    return {name: [float(t) for t in times[name]] for name in names}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return in what two machines differ of which times depend.

    Args:
        one: as saved.
        other: likewise.

    Example:
        >>> differences({"cpu": "a", "python": "3.12.1"}, {"cpu": "a", "python": "3.13.0"})
        ['python: 3.12.1 and 3.13.0']
    """
    return [
        f"{key}: {one.get(key)} and {other.get(key)}"
        for key in FINGERPRINT
        if one.get(key) != other.get(key)
    ]


def is_results(path: str | Path) -> bool:
    """Tell a file of results from other files, by how it begins.

    Args:
        path: of the file; one that cannot be read is none.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return f'"format": "{FORMAT}"'.encode() in head


def read_results(path: str | Path) -> dict[str, Any]:
    """Read a file of results.

    Args:
        path: of the file.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_BYTES + 1)
        document = json.loads(text)
        times = document["times_ms"]
        fits = (
            len(text) <= LARGEST_BYTES
            and document["format"] == FORMAT
            and document["version"] <= VERSION
            and isinstance(document["machine"], dict)
            and len({len(column) for column in times.values()}) == 1
            and all(t > 0 and math.isfinite(t) for column in times.values() for t in column)
        )
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits, document = False, {}
    if not fits:
        raise InputError(f"{path}: is no file of results that tinytrace wrote")
    found: dict[str, Any] = document
    return found


def _document(times: Mapping[str, Sequence[float]], where: dict[str, Any]) -> dict[str, Any]:
    columns = {name: list(column) for name, column in times.items()}
    return {"format": FORMAT, "version": VERSION, "machine": where, "times_ms": columns}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what is no number is null."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {
            key: _plain(getattr(value, key))
            for key in value.__dataclass_fields__
            if key not in {"model", "data", "correct", "times_ms", "output"}
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def write_whole(path: str | Path, document: dict[str, Any]) -> None:
    """Write JSON; an earlier file there is replaced by a complete one or stays.

    Args:
        path: where to.
        document: JSON-ready.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(document, indent=1).encode("ascii") + b"\n"
    write_file(path, lambda out: out.write(text))

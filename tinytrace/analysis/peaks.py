"""What a machine can do at best: the roofs that operations are measured against (docs/peaks.md).

These are the values alone, and their form in a trace. They are measured by `peaks_measure`, kept from one
run to the next by `peaks_cache`, and travel in ``Trace.meta["peaks"]``: a trace is judged by the roofs of the
machine that it was recorded on, never by those of the one that reads it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from tinytrace.tracer.trace import Trace

FORM = 1  # of the JSON; figures of another one are not read
META_KEY = "peaks"
LevelName = Literal["L1", "L2", "L3", "DRAM"]
LEVEL_NAMES: tuple[LevelName, ...] = ("L1", "L2", "L3", "DRAM")


@dataclass(frozen=True, slots=True)
class Peak:
    """One roof, and how well it is known.

    Attributes:
        value: the best that was seen: the highest rate, the shortest time.
        low, high: the spread, the worst and the best of the rounds that it was measured in. On a quiet
            machine they are close.
        n: how many rounds.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the memory hierarchy.

    Attributes:
        name: ``L1``, ``L2``, ``L3``, ``DRAM``.
        size_bytes: footprints up to this size fit; None for memory.
        gbps: 10⁹ bytes per second, counted as in docs/counting.md; None: not measured.
        resolvable: False: the cost of calling NumPy hides the level; ``gbps`` is then a lower bound, no roof.
    """

    name: LevelName
    size_bytes: int | None
    gbps: Peak | None
    resolvable: bool


@dataclass(frozen=True, slots=True)
class Peaks:
    """The roofs of one machine, for one number of BLAS threads.

    Attributes:
        fingerprint: what the figures hold for, see `peaks_machine.Machine.fingerprint`.
        machine: the same for people: CPU, cores, BLAS, versions.
        measured_at: date and time, UTC, ISO 8601.
        quick: measured in about a second, so that the roofs may be a little low.
        threads: BLAS threads.
        gemm_gflops: per dtype, matrix products, 10⁹ FLOPs per second.
        vector_gflops: per dtype, additions or multiplications of arrays in cache, 10⁹ per second.
        transcendental_gops: per dtype, ``np.exp`` in cache, 10⁹ evaluations per second.
        levels: bandwidths, from the fastest level to memory.
        floor_ns: the time of a call on tiny operands, ns: of a ``ufunc``, ``matmul``, ``reduce``, ``copy``.
        notes: what could not be found out here, in words.
    """

    fingerprint: str
    machine: dict[str, Any]
    measured_at: str
    quick: bool
    threads: int
    gemm_gflops: dict[str, Peak] = field(default_factory=dict)
    vector_gflops: dict[str, Peak] = field(default_factory=dict)
    transcendental_gops: dict[str, Peak] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    floor_ns: dict[str, Peak] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, for a file or for ``Trace.meta``."""
        values = asdict(self)
        values["levels"] = [asdict(level) for level in self.levels]
        return {"form": FORM, **values, "notes": list(self.notes)}

    @staticmethod
    def from_json(values: object) -> Peaks:
        """Return what `to_json` was made from.

        Raises:
            ValueError: it is not that, or holds figures that none can have.

        Example:
            >>> peaks = Peaks("abc", {"cpu": "any"}, "2026-01-01T00:00:00Z", True, 2)
            >>> Peaks.from_json(peaks.to_json()) == peaks
            True
        """
        told = _object(values)
        if told.get("form") != FORM:
            raise ValueError("peaks of another form")
        return Peaks(
            fingerprint=_text(told, "fingerprint"),
            machine=_object(told.get("machine")),
            measured_at=_text(told, "measured_at"),
            quick=told.get("quick") is not False,
            threads=_count(told.get("threads")),
            gemm_gflops=_peaks(told.get("gemm_gflops")),
            vector_gflops=_peaks(told.get("vector_gflops")),
            transcendental_gops=_peaks(told.get("transcendental_gops")),
            levels=_levels(told.get("levels")),
            floor_ns=_peaks(told.get("floor_ns")),
            notes=tuple(str(note) for note in _list(told.get("notes"))),
        )

    @staticmethod
    def of(trace: Trace) -> Peaks | None:
        """Return the roofs that a trace brings along; None where it has none that can be read.

        Example:
            >>> Peaks.of(Trace()) is None
            True
        """
        try:
            return Peaks.from_json(trace.meta.get(META_KEY))
        except ValueError:
            return None

    def level_of(self, footprint_bytes: float) -> Level | None:
        """Return the fastest level that a footprint fits; None where no level is known."""
        for level in self.levels:
            if level.size_bytes is None or footprint_bytes <= level.size_bytes:
                return level
        return None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("no object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise ValueError("no count")
    return value


def _figure(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("no number")
    if not 0 < value < 1e300 or not math.isfinite(value):
        raise ValueError("no figure that can be")
    return float(value)


def _peak(value: object) -> Peak:
    told = _object(value)
    figures = [_figure(told.get(key)) for key in ("value", "low", "high")]
    return Peak(*figures, n=_count(told.get("n")))


def _peaks(value: object) -> dict[str, Peak]:
    return {key: _peak(peak) for key, peak in _object(value).items()}


def _levels(value: object) -> tuple[Level, ...]:
    """Levels from the fastest to memory, each at most once, their sizes growing."""
    found: list[Level] = []
    for item in _list(value):
        told = _object(item)
        name, size, gbps = _text(told, "name"), told.get("size_bytes"), told.get("gbps")
        if name not in LEVEL_NAMES or any(name == level.name for level in found):
            raise ValueError("no such level, or twice")
        level = Level(
            cast(LevelName, name),
            None if size is None else _count(size),
            None if gbps is None else _peak(gbps),
            told.get("resolvable") is True,
        )
        if found and not (found[-1].size_bytes or math.inf) < (level.size_bytes or math.inf):
            raise ValueError("levels out of order")
        found.append(level)
    return tuple(found)

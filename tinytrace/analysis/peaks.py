"""What a machine can do at best: the roofs that operations are measured against (docs/peaks.md).

These are the values alone, and their form in a trace. They are measured by `peaks_measure`, kept from one
run to the next by `peaks_cache`, and travel in ``Trace.meta["peaks"]``: a trace is judged by the roofs of the
machine that it was recorded on, never by those of the one that reads it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Trace

FORM = 1  # of the JSON; figures of another one are not read
META_KEY = "peaks"
ATEN = "aten::"  # begins the names of PyTorch's operations
LAUNCHES = ("ac2g", "async_cpu_to_gpu")  # kinds of arrows from a launch to its kernel
LevelName = Literal["L1", "L2", "L3", "DRAM"]
LEVEL_NAMES: tuple[LevelName, ...] = ("L1", "L2", "L3", "DRAM")


@dataclass(frozen=True, slots=True)
class Peak:
    """One roof, and how well it is known.

    Attributes:
        value: the best that was seen: the highest rate, the shortest time.
        low, high: the spread: the least and the greatest of the rounds that it was measured in. On a quiet
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
        gbps: 10⁹ bytes per second, counted as in docs/counting.md: the best of all forms that run in one
            thread, which NumPy's own ops do; None: not measured.
        resolvable: False: the cost of calling NumPy hides the level; ``gbps`` is then a lower bound, no roof.
        blas_gbps: likewise for products of matrices and vectors, which BLAS spreads over its threads.
        forms: the same by form (``copy``, ``add``, ``sum``…): what each of them reaches.
    """

    name: LevelName
    size_bytes: int | None
    gbps: Peak | None
    resolvable: bool
    blas_gbps: Peak | None = None
    forms: dict[str, Peak] = field(default_factory=dict)


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
        vector_gflops: per dtype, additions, multiplications, comparisons of arrays in cache, 10⁹ per second.
        transcendental_gops: per dtype, ``np.exp`` in cache, 10⁹ evaluations per second.
        function_gops: likewise per function and dtype (``"sqrt float32"``): some are much faster than exp.
        levels: bandwidths, from the fastest level to memory.
        floor_ns: the time of a call on tiny operands, ns: of a ``ufunc``, ``matmul``, ``reduce``, ``copy``.
        notes: what could not be found out here, in words.
        torch: what PyTorch reaches, per device (``cpu``, ``cuda:0``), where its operations ran.
    """

    fingerprint: str
    machine: dict[str, Any]
    measured_at: str
    quick: bool
    threads: int
    gemm_gflops: dict[str, Peak] = field(default_factory=dict)
    vector_gflops: dict[str, Peak] = field(default_factory=dict)
    transcendental_gops: dict[str, Peak] = field(default_factory=dict)
    function_gops: dict[str, Peak] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    floor_ns: dict[str, Peak] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    torch: dict[str, Peaks] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, for a file or for ``Trace.meta``."""
        values = asdict(self)
        values["levels"] = [asdict(level) for level in self.levels]
        torch = {device: peaks.to_json() for device, peaks in self.torch.items()}
        return {"form": FORM, **values, "notes": list(self.notes), "torch": torch}

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
            function_gops=_peaks(told.get("function_gops", {})),
            levels=_levels(told.get("levels")),
            floor_ns=_peaks(told.get("floor_ns")),
            notes=tuple(str(note) for note in _list(told.get("notes"))),
            torch={
                device: Peaks.from_json(peaks)
                for device, peaks in _object(told.get("torch", {})).items()
            },
        )

    @staticmethod
    def of(trace: Trace) -> Peaks | None:
        """Return the roofs that a trace brings along; None where it has none that can be read.

        Example:
            >>> Peaks.of(Trace()) is None
            True
        """
        try:
            peaks = Peaks.from_json(trace.meta.get(META_KEY))
        except ValueError:
            return None
        if peaks.torch and _used_a_gpu(trace):
            # A call on the CPU is then no more than a launch: what it launched is what has a roof.
            return replace(peaks, torch={k: v for k, v in peaks.torch.items() if k != "cpu"})
        return peaks

    def of_op(self, op: str) -> Peaks | None:
        """Return the roofs that hold for an operation: PyTorch's own for one of PyTorch; None: not known."""
        return self.torch.get("cpu") if op.startswith(ATEN) else self

    def level_of(self, footprint_bytes: float, *, blas: bool = False) -> Level | None:
        """Return the fastest level that a footprint fits, with the roof that holds at this footprint.

        Bandwidth falls in slopes, not in steps: of a footprint twice as large as a cache, one half may still
        lie there from the last pass. No footprint F can do better than to have as much of itself in every
        cache as that can hold, so that with sizes S₁ < S₂ < … and bandwidths B₁, B₂, …

            F / roof = S₁/B₁ + (S₂ − S₁)/B₂ + … + (F − S_last)/B_last

        That is B of the level where F is within one, and nears it from above beyond one. ``gbps`` of the answer
        is this roof, ``name`` is where the footprint fits. A level that was not resolved costs no time; one
        that was measured slower than the next, which noise can do, has the bandwidth of the next.

        Args:
            footprint_bytes: of one op: the distinct bytes that it reads and writes.
            blas: the op runs in BLAS, on all of its threads.

        Returns:
            None where no level is known.

        Example:
            >>> def level(name, size, gbps):
            ...     return Level(name, size, Peak(gbps, gbps, gbps, 1), True)
            >>> peaks = Peaks("", {}, "", True, 1, levels=(level("L3", 1000, 200), level("DRAM", None, 50)))
            >>> [peaks.level_of(n).gbps.value for n in (1000, 2000, 4000, 10**9)]
            [200.0, 80.0, 61.53846153846154, 50.00003750002813]
        """
        for place, level in enumerate(self.levels):
            if level.size_bytes is None or footprint_bytes <= level.size_bytes:
                return self._bounded(place, max(footprint_bytes, 1.0), blas)
        return None

    def _bounded(self, place: int, footprint_bytes: float, blas: bool) -> Level:
        level = self.levels[place]
        own = _roof(level, blas)
        if own is None:
            return level
        slower = [peak.value for after in self.levels[place:] if (peak := _roof(after, blas))]
        best, held, ns = max(slower), footprint_bytes, 0.0
        for inner in reversed(self.levels[:place]):
            size = float(inner.size_bytes or 0)
            ns += (held - size) / best
            held, peak = size, _roof(inner, blas)
            best = math.inf if peak is None else max(best, peak.value)
        ns += held / best
        more = footprint_bytes / ns / own.value
        peak = Peak(own.value * more, own.low * more, own.high * more, own.n)
        return replace(level, gbps=peak)

    def function_roof(self, name: str, dtype: str) -> Peak | None:
        """Return the roof of a transcendental function, 10⁹ evaluations per second.

        That of the function itself; of the fastest known one for a function that was not measured.

        Args:
            name: as the op is called: ``exp``, ``sqrt``.
            dtype: of its operand.

        Example:
            >>> roofs = {"exp float32": Peak(3.0, 2.8, 3.0, 5), "sqrt float32": Peak(9.0, 8.0, 9.0, 5)}
            >>> peaks = Peaks("", {}, "", True, 1, function_gops=roofs)
            >>> [peaks.function_roof(name, "float32").value for name in ("exp", "erf")]
            [3.0, 9.0]
        """
        own = self.function_gops.get(f"{name} {dtype}")
        if own is not None:
            return own
        known = [peak for key, peak in self.function_gops.items() if key.endswith(f" {dtype}")]
        return max(known, key=lambda peak: peak.value, default=self.transcendental_gops.get(dtype))


def _used_a_gpu(trace: Trace) -> bool:
    """Whether kernels were launched: arrows lead from launches to them."""
    kinds = {trace.strings[i] for i in distinct(trace.flows.kind_id).tolist() if i >= 0}
    return not kinds.isdisjoint(LAUNCHES)


def _roof(level: Level, blas: bool) -> Peak | None:
    """The bandwidth that nothing exceeds; None: not known."""
    if not level.resolvable or level.gbps is None:
        return None
    if blas and level.blas_gbps is not None and level.blas_gbps.value > level.gbps.value:
        return level.blas_gbps
    return level.gbps


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
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
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
    value, low, high = (_figure(told.get(key)) for key in ("value", "low", "high"))
    if not low <= value <= high:
        raise ValueError("a best that is not within its spread")
    return Peak(value, low, high, _count(told.get("n")))


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
            name,
            None if size is None else _count(size),
            None if gbps is None else _peak(gbps),
            told.get("resolvable") is True,
            None if told.get("blas_gbps") is None else _peak(told.get("blas_gbps")),
            _peaks(told.get("forms", {})),
        )
        if found and not (found[-1].size_bytes or math.inf) < (level.size_bytes or math.inf):
            raise ValueError("levels out of order")
        found.append(level)
    return tuple(found)

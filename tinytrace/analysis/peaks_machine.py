"""What roofs hold for: this CPU with these caches, this NumPy with this BLAS, so many threads."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinytrace.tracer.machine import machine, numerics
from tinytrace.tracer.trace import Trace

CPU_FOLDER = Path("/sys/devices/system/cpu")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
# Of the names in sysctl, those of the fast cores (macOS 12 and later, Apple silicon) come first.
SYSCTL = {
    "L1": ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
    "L2": ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
    "L3": ("hw.perflevel0.l3cachesize", "hw.l3cachesize"),
}
SYSCTL_LIMIT_S = 5.0
NAMES = ("L1", "L2", "L3")
SAME = ("system", "architecture", "cpu", "cpu_count")  # on a machine that a trace may be of


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides how fast NumPy can be.

    Attributes:
        cpu: model, as the system calls it.
        architecture: ``x86_64``, ``arm64``.
        cpus: that may be used at once, by affinity and control group.
        caches: names and sizes in bytes, of one core, from the fastest; empty: not told by the system.
        numpy: version.
        blas: library, version, kernels; ``none`` where threadpoolctl knows none.
        threads: of BLAS.
    """

    cpu: str
    architecture: str
    cpus: int
    caches: tuple[tuple[str, int], ...]
    numpy: str
    blas: str
    threads: int

    @property
    def fingerprint(self) -> str:
        """The same for the same machine, another for any other: 16 hexadecimal digits."""
        text = json.dumps(self.described(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "caches": [list(cache) for cache in self.caches]}

    @staticmethod
    def here(threads: int | None = None) -> Machine:
        """Return this machine, with the NumPy and BLAS of this process.

        Args:
            threads: of BLAS; None: as many as it has now.

        Example:
            >>> Machine.here(threads=1).threads
            1
        """
        return _machine(machine(), numerics(), threads)

    @staticmethod
    def of(trace: Trace) -> Machine | None:
        """Return the machine that a trace was recorded on, if that is this one and the program used NumPy.

        Only then can its roofs be found out here. The number of BLAS threads is what the program had.

        Example:
            >>> Machine.of(Trace()) is None
            True
        """
        told, found, here = trace.meta.get("machine"), trace.meta.get("numerics"), machine()
        if not isinstance(told, dict) or not isinstance(found, dict):
            return None
        if any(told.get(key) != here[key] for key in SAME):
            return None
        counts = told.get("usable_cpus"), found.get("threads")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in counts):
            return None
        return _machine({**here, "usable_cpus": counts[0]}, found, None)


def _machine(facts: dict[str, Any], found: dict[str, Any], threads: int | None) -> Machine:
    return Machine(
        cpu=str(facts.get("cpu") or "unknown"),
        architecture=str(facts.get("architecture")),
        cpus=int(facts.get("usable_cpus") or 1),
        caches=cache_sizes(),
        numpy=str(found.get("numpy")),
        blas=str(found.get("blas") or "none"),
        threads=threads or int(found["threads"]),
    )


def cache_sizes() -> tuple[tuple[str, int], ...]:
    """Return the data caches of one core and their sizes in bytes, from the fastest; empty: not known.

    A cache that several cores share counts whole: one core alone can fill it.
    """
    if sys.platform == "darwin":
        return caches_by_sysctl(_sysctl)
    return caches_in(CPU_FOLDER)


def caches_in(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return the caches of the first CPU that Linux describes in a folder such as /sys/devices/system/cpu.

    See Documentation/ABI/testing/sysfs-devices-system-cpu in the kernel's source.
    """
    found: dict[str, int] = {}
    for cpu in sorted(folder.glob("cpu[0-9]*")):
        for index in sorted((cpu / "cache").glob("index[0-9]*")):
            try:
                told = [(index / name).read_text().strip() for name in ("level", "type", "size")]
            except (OSError, ValueError):
                continue
            size = _size(told[2])
            if told[1] != "Instruction" and f"L{told[0]}" in NAMES and size:
                found[f"L{told[0]}"] = size
        if found:
            break
    return _ordered(found)


def caches_by_sysctl(ask: Callable[[str], str]) -> tuple[tuple[str, int], ...]:
    """Return the caches that macOS tells.

    Args:
        ask: returns the value of a name as text; "" where there is none.
    """
    found: dict[str, int] = {}
    for name, keys in SYSCTL.items():
        size = next((size for key in keys if (size := _size(ask(key)))), 0)
        if size:
            found[name] = size
    return _ordered(found)


def _ordered(found: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """From the fastest, and only as long as they grow: what does not is no size of a cache."""
    caches: list[tuple[str, int]] = []
    for name in NAMES:
        if name in found and (not caches or caches[-1][1] < found[name]):
            caches.append((name, found[name]))
    return tuple(caches)


def _size(text: str) -> int:
    text = text.strip()
    unit = UNITS.get(text[-1:], 1)
    digits = text[:-1] if unit > 1 else text
    return int(digits) * unit if digits.isascii() and digits.isdigit() and len(digits) < 13 else 0


def _sysctl(name: str) -> str:
    import subprocess  # for macOS alone

    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True,
            timeout=SYSCTL_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout

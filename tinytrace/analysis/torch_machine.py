"""What the roofs of PyTorch hold for: a device, this machine, this PyTorch, so many threads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from tinytrace.analysis.peaks_machine import SAME, cache_sizes
from tinytrace.tracer.machine import machine
from tinytrace.tracer.trace import Trace

CPU = "cpu"


@dataclass(frozen=True, slots=True)
class TorchMachine:
    """What decides how fast PyTorch can be.

    Attributes:
        device: ``cpu``, ``cuda:0``.
        name: of the device: the model of the CPU or GPU.
        architecture: of the CPU: ``x86_64``, ``arm64``.
        cpus: that may be used at once.
        caches: names and sizes in bytes, of one core, from the fastest (of a GPU: not from here).
        torch: version of PyTorch.
        threads: of its operations on a CPU.
    """

    device: str
    name: str
    architecture: str
    cpus: int
    caches: tuple[tuple[str, int], ...]
    torch: str
    threads: int

    @property
    def fingerprint(self) -> str:
        """The same for the same machine, another for any other: 16 hexadecimal digits."""
        text = json.dumps(self.described(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **asdict(self),
            "caches": [list(cache) for cache in self.caches],
            "cpu": self.name,  # what is printed of any machine
        }

    @staticmethod
    def of(trace: Trace) -> tuple[TorchMachine, ...]:
        """Return the devices that a program computed on, if it was recorded on this machine; () where not known.

        Example:
            >>> TorchMachine.of(Trace())
            ()
        """
        told, facts, here = trace.meta.get("machine"), trace.meta.get("torch"), machine()
        if not isinstance(told, dict) or not isinstance(facts, dict):
            return ()
        if any(told.get(key) != here[key] for key in SAME):
            return ()
        return machines({**here, "usable_cpus": told.get("usable_cpus")}, facts)


def machines(here: dict[str, Any], facts: dict[str, Any]) -> tuple[TorchMachine, ...]:
    """Return a machine per device.

    Args:
        here: what `tinytrace.tracer.machine.machine` returns.
        facts: what `tinytrace.tracer.machine.torch_facts` returns.
    """
    threads, cpus = facts.get("threads"), here.get("usable_cpus")
    if type(threads) is not int or threads < 1:
        return ()
    gpus = facts.get("devices")
    names = [str(name) for name in gpus] if isinstance(gpus, list) else []
    devices = [(CPU, str(here.get("cpu") or "unknown"))]
    devices += [(f"cuda:{number}", name) for number, name in enumerate(names)]
    return tuple(
        TorchMachine(
            device=device,
            name=name,
            architecture=str(here.get("architecture")),
            cpus=cpus if type(cpus) is int else 1,
            caches=cache_sizes() if device == CPU else (),
            torch=str(facts.get("torch")),
            threads=threads,
        )
        for device, name in devices
    )

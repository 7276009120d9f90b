"""The roofs of this machine, measured quickly after a program has ended, by a fresh interpreter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.analysis.torch_machine import TorchMachine
from tinytrace.cli.elsewhere import Elsewhere

Answer = TypeVar("Answer")
LIMIT_S = 30.0  # thirty times what it takes on a quiet machine
TORCH_LIMIT_S = 90.0  # likewise: importing PyTorch alone takes two seconds


def quick_peaks(machine: Machine, elsewhere: Elsewhere) -> Peaks:
    """Measure the roofs of this machine in about a second, and keep them for the next run.

    Args:
        machine: what they are to hold for.
        elsewhere: who measures: nothing that the program has left in this process disturbs it.

    Raises:
        OSError: the interpreter cannot be started.
        RuntimeError: it has not measured them, or those of another NumPy; in words for people.
    """
    peaks = _answer(elsewhere, ["--threads", str(machine.threads)], LIMIT_S, Peaks.from_json)
    if peaks.fingerprint != machine.fingerprint:
        raise RuntimeError("a fresh interpreter has another NumPy, BLAS or number of CPUs here")
    return peaks


def quick_torch_peaks(places: Sequence[TorchMachine], elsewhere: Elsewhere) -> dict[str, Peaks]:
    """Likewise the roofs of PyTorch, per device.

    Args:
        places: the devices that the program computed on.
        elsewhere: who measures.

    Raises:
        OSError: the interpreter cannot be started.
        RuntimeError: it has not measured them, or those of another PyTorch; in words for people.
    """
    if not places:
        raise RuntimeError("which PyTorch the program had is not known")
    arguments = ["--torch", "--threads", str(places[0].threads)]
    found = _answer(elsewhere, arguments, TORCH_LIMIT_S, _per_device)
    wanted = {place.device: place.fingerprint for place in places}
    kept = {d: peaks for d, peaks in found.items() if peaks.fingerprint == wanted.get(d)}
    if not kept:
        raise RuntimeError("a fresh interpreter has another PyTorch here")
    return kept


def _per_device(values: Any) -> dict[str, Peaks]:
    if not isinstance(values, dict):
        raise ValueError("no roofs per device")
    return {str(device): Peaks.from_json(one) for device, one in values.items()}


def _answer(
    elsewhere: Elsewhere, arguments: list[str], limit_s: float, read: Callable[[Any], Answer]
) -> Answer:
    """Return what a fresh interpreter measured."""
    code, printed = elsewhere.run(["calibrate", "--quick", "--json", *arguments], limit_s)
    lines = printed.strip().splitlines()
    try:
        return read(json.loads(lines[-1]))
    except (IndexError, ValueError, RecursionError):
        said = (
            lines[-1][:200] if lines else f"exit code {code}" if code is not None else "no answer"
        )
        raise RuntimeError(f"measuring them failed: {said}") from None

"""The roofs of this machine, measured quickly after a program has ended, by a fresh interpreter."""

from __future__ import annotations

import json

from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.cli.elsewhere import Elsewhere

LIMIT_S = 30.0  # thirty times what it takes on a quiet machine


def quick_peaks(machine: Machine, elsewhere: Elsewhere) -> Peaks:
    """Measure the roofs of this machine in about a second, and keep them for the next run.

    Args:
        machine: what they are to hold for.
        elsewhere: who measures: nothing that the program has left in this process disturbs it.

    Raises:
        OSError: the interpreter cannot be started.
        RuntimeError: it has not measured them, or those of another NumPy; in words for people.
    """
    command = ["calibrate", "--quick", "--json", "--threads", str(machine.threads)]
    code, printed = elsewhere.run(command, LIMIT_S)
    lines = printed.strip().splitlines()
    try:
        peaks = Peaks.from_json(json.loads(lines[-1]))
    except (IndexError, ValueError, RecursionError):
        said = (
            lines[-1][:200] if lines else f"exit code {code}" if code is not None else "no answer"
        )
        raise RuntimeError(f"measuring them failed: {said}") from None
    if peaks.fingerprint != machine.fingerprint:
        raise RuntimeError("a fresh interpreter has another NumPy, BLAS or number of CPUs here")
    return peaks

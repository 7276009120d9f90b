"""The roofs of the machine that a trace was recorded on, into the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tinytrace.analysis import peaks_cache
from tinytrace.analysis.aten_names import ran_torch
from tinytrace.analysis.peaks import META_KEY, Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.analysis.torch_machine import TorchMachine
from tinytrace.tracer.machine import numerics
from tinytrace.tracer.trace import Trace

NOT_KNOWN = "the roofs of the machine are not known"
ADVICE = "python -m tinytrace calibrate measures them, for the runs to come"


TORCH_ADVICE = "python -m tinytrace calibrate --torch measures them, for the runs to come"
MeasureTorch = Callable[[Sequence[TorchMachine]], dict[str, Peaks]]


def with_peaks(
    trace: Trace,
    measure: Callable[[Machine], Peaks] | None = None,
    measure_torch: MeasureTorch | None = None,
) -> Trace:
    """Return the trace of a run that has just ended with the roofs of this machine in ``meta["peaks"]``.

    Those that are kept for it, else new ones. Where there are none in the end, a warning on the trace says why; a
    program that did not use NumPy needs none. Where operations of PyTorch were recorded, with its roofs as well.

    Args:
        trace: of a run on this machine, or of one that was recovered.
        measure: measures them; whatever it raises becomes the warning. None: only kept ones are taken.
        measure_torch: likewise, those of PyTorch, per device.

    Example:
        >>> with_peaks(Trace()) == Trace()
        True
    """
    if not trace.signatures and "numerics" not in trace.meta:
        return trace
    try:
        trace = _with_peaks(trace, measure)
        return _with_torch(trace, measure_torch)
    except Exception as problem:  # the trace matters more than its roofs
        return _warned(trace, f"{NOT_KNOWN}: {problem or type(problem).__name__}")


def _with_peaks(trace: Trace, measure: Callable[[Machine], Peaks] | None) -> Trace:
    if "numerics" not in trace.meta:  # it was killed, or has left no way to ask
        found = numerics()
        trace = _warned(
            replace(trace, meta={**trace.meta, "numerics": {**found, "assumed": True}}),
            f"the NumPy and BLAS of the program are not known: taken for those found later, "
            f"BLAS threads: {found['threads']}",
        )
    machine = Machine.of(trace)
    if machine is None:
        return _warned(trace, f"{NOT_KNOWN}: it is another one than this")
    peaks = peaks_cache.load(machine.fingerprint)
    if peaks is None and measure is not None:
        peaks = measure(machine)
    if peaks is None:
        return _warned(trace, f"{NOT_KNOWN}: {ADVICE}")
    return replace(trace, meta={**trace.meta, META_KEY: peaks.to_json()})


def _with_torch(trace: Trace, measure: MeasureTorch | None) -> Trace:
    """Add the roofs of PyTorch, where its operations ran."""
    peaks = Peaks.of(trace)
    if peaks is None or not ran_torch(trace):
        return trace
    places = TorchMachine.of(trace)
    kept = {place.device: peaks_cache.load(place.fingerprint) for place in places}
    found = {device: one for device, one in kept.items() if one is not None}
    why = TORCH_ADVICE
    if measure is not None and len(found) < len(places):
        try:
            found = measure(places)
        except Exception as problem:  # those of NumPy are there all the same
            why = str(problem) or type(problem).__name__
    if not found:
        return _warned(trace, f"the roofs of PyTorch on this machine are not known: {why}")
    return replace(trace, meta={**trace.meta, META_KEY: replace(peaks, torch=found).to_json()})


def _warned(trace: Trace, text: str) -> Trace:
    return replace(trace, warnings=(*trace.warnings, text))

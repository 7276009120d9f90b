"""The roofs of the machine that a trace was recorded on, into the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tinytrace.analysis import peaks_cache
from tinytrace.analysis.peaks import META_KEY, Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.tracer.trace import Trace

NOT_KNOWN = "the roofs of the machine are not known"
ADVICE = "python -m tinytrace calibrate measures them, for the runs to come"


def with_peaks(trace: Trace, measure: Callable[[Machine], Peaks] | None = None) -> Trace:
    """Return the trace of a run that has just ended with the roofs of this machine in ``meta["peaks"]``.

    Those that are kept for it, else new ones. Where there are none in the end, a warning on the trace says why; a
    program that did not use NumPy needs none.

    Args:
        trace: of a run on this machine, or of one that was recovered.
        measure: measures them; whatever it raises becomes the warning. None: only kept ones are taken.

    Example:
        >>> with_peaks(Trace()) == Trace()
        True
    """
    if not trace.signatures and "numerics" not in trace.meta:
        return trace
    try:
        return _with_peaks(trace, measure)
    except Exception as problem:  # the trace matters more than its roofs
        return _warned(trace, f"{NOT_KNOWN}: {problem or type(problem).__name__}")


def _with_peaks(trace: Trace, measure: Callable[[Machine], Peaks] | None) -> Trace:
    machine = Machine.of(trace)
    if machine is None:
        return _warned(
            trace,
            f"{NOT_KNOWN}: the run did not end by itself, so that nobody knows how many threads its BLAS had"
            if "numerics" not in trace.meta
            else f"{NOT_KNOWN}: it is another one than this",
        )
    peaks = peaks_cache.load(machine.fingerprint)
    if peaks is None and measure is not None:
        peaks = measure(machine)
    if peaks is None:
        return _warned(trace, f"{NOT_KNOWN}: {ADVICE}")
    return replace(trace, meta={**trace.meta, META_KEY: peaks.to_json()})


def _warned(trace: Trace, text: str) -> Trace:
    return replace(trace, warnings=(*trace.warnings, text))

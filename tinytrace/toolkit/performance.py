"""One model measured: `measure_performance`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import CONFIDENCE
from tinytrace.analysis.paired import Interval, signed_rank_interval
from tinytrace.errors import UsageError
from tinytrace.toolkit.accuracy import Accuracy, accuracy_of
from tinytrace.toolkit.calling import batch_of, call_of, name_of
from tinytrace.toolkit.flops import FlopCount, flops_of_call
from tinytrace.toolkit.memory import MemoryTracker
from tinytrace.toolkit.parameters import parameters_of
from tinytrace.toolkit.rounds import ROUNDS, Clock, check_rounds, in_turns
from tinytrace.tracer.counters import BYTES_PER_MB

PEAKS = 3  # calls whose memory is measured: the first may fill caches


@dataclass(frozen=True)
class Performance:
    """What was measured of one model.

    Attributes:
        name: of the model.
        time: median time of one call, ms.
        time_interval: of the centre of the times of the rounds, 95 %, ms.
        times_ms: of one call, per round; every one that was measured.
        memory: MB (10⁶ bytes): parameters, and the highest rise of the memory of arrays (and PyTorch's tensors) during
            one call.
        parameter_mb: the parameters alone.
        peaks_mb: the highest rise, of three calls.
        parameters: how many numbers.
        flops: of one call; None: nothing that is counted ran.
        judged: how often it was right.
        batch: samples per call; None: not known.
        inputs: what the model was called with, in words.
        model: what was measured; None when it was read from a file.
        data: what it was called with.
    """

    name: str
    time: float
    time_interval: Interval
    times_ms: tuple[float, ...]
    memory: float
    parameter_mb: float
    peaks_mb: tuple[float, ...]
    parameters: int
    flops: FlopCount | None
    judged: Accuracy
    batch: int | None
    inputs: str
    model: Any = field(default=None, repr=False, compare=False)
    data: Any = field(default=None, repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """Share of answers that were right, 0…1; NaN: not measured."""
        return self.judged.share

    @property
    def bytes(self) -> int | None:
        """Compulsory traffic of one call, in bytes; None: not known."""
        return None if self.flops is None else self.flops.bytes

    @property
    def throughput(self) -> float:
        """Samples per second; NaN: how many a call has is not known."""
        return math.nan if self.batch is None else self.batch / (self.time / 1e3)

    def __str__(self) -> str:
        """One line for people."""
        low, high = self.time_interval.low, self.time_interval.high
        parts = [
            f"{self.name}: {self.time:.4g} ms [{low:.4g}, {high:.4g}]",
            f"{self.memory:.4g} MB",
        ]
        if self.flops is not None:
            parts.append(str(self.flops))
        if not math.isnan(self.accuracy):
            parts.append(f"accuracy {self.accuracy:.1%}")
        return ", ".join(parts)


def measure_performance(
    model: Any,
    data: Any = None,
    *,
    accuracy: Any = None,
    rounds: int = ROUNDS,
    name: str | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Performance:
    """Measure one model: time, memory, FLOPs, bytes, accuracy.

    Two of them measured one after the other are not a comparison: that is what `compare` is for.

    Args:
        model: is called as ``model(data)``, or ``model(*data)`` where data is a tuple; where it is no callable, its
            ``forward`` is.
        data: what it is called with; None: nothing where it takes nothing, else an input of standard normal numbers
            made up from the shape of its first weight, which ``inputs`` says.
        accuracy: ``accuracy(model)`` → share 0…1, or per sample whether it was right; or ``(inputs, labels)``, and the
            largest output is the answer; None: not measured.
        rounds: how many; at least 6.
        name: for tables; None: that of its class.
        clock: tells ns.

    Raises:
        UsageError: it cannot be called, or too few rounds.
        Exception: whatever the model raises.

    Example:
        >>> w = np.ones((8, 4))
        >>> measured = measure_performance(lambda x: x @ w, np.ones((2, 8)), rounds=6)
        >>> int(measured.flops), measured.batch, measured.time > 0
        (128, 2, True)
    """
    check_rounds(rounds)
    call, _ = call_of(model, data)
    [times_ms] = in_turns([call], rounds, clock)
    judged = accuracy_of(model, accuracy)
    return performance_of(model, data, times_ms, judged, name)


def performance_of(
    model: Any, data: Any, times_ms: Sequence[float], judged: Accuracy, name: str | None
) -> Performance:
    """Measure all but time and accuracy, which are known already.

    Args:
        model: as for `measure_performance`.
        data: likewise.
        times_ms: per round.
        judged: how often it was right.
        name: as for `measure_performance`.

    Raises:
        UsageError: it cannot be called.
        Exception: whatever the model raises.
    """
    call, inputs = call_of(model, data)
    peaks_mb = []
    for _ in range(PEAKS):
        with MemoryTracker() as tracker:
            tensors_mb = _tensor_rise_mb(call)
        peaks_mb.append(tracker.peak_usage + tensors_mb)
    try:
        flops = flops_of_call(model, call)
    except UsageError:  # nothing that can be counted ran
        flops = None
    parameters = parameters_of(model)
    parameter_mb = sum(p.bytes for p in parameters) / BYTES_PER_MB
    return Performance(
        name=name or name_of(model),
        time=float(np.median(times_ms)),
        time_interval=signed_rank_interval(list(times_ms), 1 - CONFIDENCE),
        times_ms=tuple(times_ms),
        memory=parameter_mb + float(np.median(peaks_mb)),
        parameter_mb=parameter_mb,
        peaks_mb=tuple(peaks_mb),
        parameters=sum(p.size for p in parameters),
        flops=flops,
        judged=judged,
        batch=batch_of(data),
        inputs=inputs,
        model=model,
        data=data,
    )


def _tensor_rise_mb(call: Callable[[], Any]) -> float:
    """Call once; return the highest rise of the memory of PyTorch's tensors; 0 where it was not imported."""
    if "torch" not in sys.modules:
        call()
        return 0.0
    from tinytrace.toolkit.torch_memory import tensor_rise_bytes

    return tensor_rise_bytes(call) / BYTES_PER_MB

"""Events as torch.profiler writes them, by hand: what the host did, launches, and what they started on a device."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from tinytrace.analysis.foreign import load_foreign
from tinytrace.tracer.trace import Trace

NUMBERS = itertools.count(1)
Event = dict[str, Any]
H100 = "NVIDIA H100 80GB HBM3"


def x(name: str, cat: str, ts: float, dur: float, *, tid: int = 1, **args: Any) -> Event:
    """An event on the host; times in us."""
    times = {"ts": ts, "dur": dur, "pid": 100, "tid": tid}
    return {"ph": "X", "name": name, "cat": cat, **times, "args": args}


def launched(
    name: str,
    at: float,
    begin: float,
    dur: float,
    *,
    cat: str = "kernel",
    stream: int = 7,
    **args: Any,
) -> list[Event]:
    """A launch of 2 us at a time, and what it started."""
    number = {"correlation": next(NUMBERS)}
    times = {"ts": begin, "dur": dur, "pid": 0, "tid": stream}
    work = {"ph": "X", "name": name, "cat": cat, **times, "args": {**number, **args}}
    return [x("cudaLaunchKernel", "cuda_runtime", at, 2, **number), work]


def op(
    name: str, ts: float, dur: float, *shapes: list[int], dtype: str = "float", **args: Any
) -> Event:
    """An op of torch with operands of these shapes."""
    told: dict[str, Any] = {}
    if shapes:
        told = {"Input Dims": list(shapes), "Input type": [dtype] * len(shapes)}
    return x(name, "cpu_op", ts, dur, **told, **args)


def trace_of_events(*events: Event | Iterable[Event], model: str | None = None) -> Trace:
    """The trace of these events, on a device of this model."""
    flat = [e for part in events for e in ([part] if isinstance(part, dict) else part)]
    header = {} if model is None else {"deviceProperties": [{"id": 0, "name": model}]}
    return load_foreign({**header, "traceEvents": flat}, "")

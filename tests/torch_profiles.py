"""Operations of PyTorch as torch.profiler records them, read by our reader."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from tinytrace.analysis.counting import Counts, count_trace
from tinytrace.analysis.reader import load
from tinytrace.tracer.trace import Trace

torch.set_num_threads(1)  # what others keep from running together waits for each other, for long
with profile(activities=[ProfilerActivity.CPU]):
    pass  # the first time, PyTorch sets an environment variable: now, and not in a test


def profiled(run: Callable[[], object], shapes: bool = True) -> Trace:
    """Run under torch.profiler and read what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "torch.json"
        with profile(activities=[ProfilerActivity.CPU], record_shapes=shapes) as recorded:
            run()
        recorded.export_chrome_trace(str(path))
        return load(path)


def counted(run: Callable[[], object]) -> dict[str, Counts]:
    """Return what the operations cost whose figures count, by name; of several of a name the last one."""
    trace = profiled(run)
    counts = count_trace(trace)
    spans = trace.spans
    rows = np.flatnonzero(counts.leaf & (spans.signature_id >= 0)).tolist()
    return {
        trace.strings[spans.name_id[row]]: counts.signatures[spans.signature_id[row]]
        for row in rows
    }


def total(run: Callable[[], object]) -> int:
    """Return the FLOPs of all that ran."""
    return count_trace(profiled(run)).total("flops")


def seeded(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> torch.Tensor:
    """Return numbers between 0 and 1 that are the same each time."""
    n = int(np.prod(shape, dtype=int))
    values = (torch.arange(n, dtype=torch.float64) * 0.37 + 0.11).remainder(1.0)
    return values.reshape(shape).to(dtype).requires_grad_(grad)

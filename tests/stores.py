"""Run folders for tests: recorded by either core, and read back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.cores import core
from tinytrace.tracer.assemble import read_run
from tinytrace.tracer.records import Flag
from tinytrace.tracer.session import load_core
from tinytrace.tracer.trace import Trace

NO_LIMIT = 10**12


def process_folder(run: Path) -> Path:
    """Return the folder that this process records into, made when it is not there."""
    folder = run / f"p{os.getpid()}-0"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def recording(name: str, run: Path, limit_bytes: int = NO_LIMIT) -> Iterator[Any]:
    """Record into a run folder with one of the cores."""
    with core(name):
        recorder = load_core()
    recorder.open(str(process_folder(run)), limit_bytes)
    try:
        yield recorder
    finally:
        recorder.close()


def names(trace: Trace) -> list[str]:
    """Return the names of the spans, in the order of the table."""
    return [trace.strings[i] for i in trace.spans.name_id]


def flags(trace: Trace) -> dict[str, Flag]:
    """Return the flags of each span, by name."""
    return dict(zip(names(trace), map(Flag, trace.spans.flags.tolist()), strict=True))


def parents(trace: Trace) -> dict[str, str | None]:
    """Return the name of each span's parent, by name."""
    found = names(trace)
    return {
        name: found[parent] if parent >= 0 else None
        for name, parent in zip(found, trace.spans.parent.tolist(), strict=True)
    }


def check_valid(trace: Trace) -> None:
    """Assert what every trace promises: ids in range, parents before children and around them, sane times."""
    spans, folded, samples = trace.spans, trace.aggregates, trace.samples
    strings, threads = len(trace.strings), len(trace.threads)
    ids = [
        (spans.name_id, 0, strings), (spans.args_id, -1, strings), (spans.thread, 0, threads),
        (spans.signature_id, -1, len(trace.signatures)), (spans.callsite_id, -1, len(trace.frames)),
        (spans.parent, -1, len(spans)), (spans.kind, 0, 9), (samples.thread, 0, threads),
        (samples.stack_id, -1, len(trace.stacks)), (trace.stacks.frame_id, 0, len(trace.frames)),
        (trace.counters.series_id, 0, len(trace.series)), (folded.name_id, 0, strings),
        (folded.thread, 0, threads), (folded.kind, 0, 9), (folded.args_id, -1, strings),
        (trace.threads.process, 0, len(trace.processes)),
        (trace.processes.parent, -1, len(trace.processes)),
    ]  # fmt: skip
    for column, lowest, count in ids:
        assert ((column >= lowest) & (column < count)).all()
    assert (spans.dur_ns >= 0).all() and (samples.weight_ns >= 0).all()
    assert (np.diff(spans.thread) >= 0).all()
    assert (np.diff(spans.start_ns)[np.diff(spans.thread) == 0] >= 0).all()
    inner = np.flatnonzero(spans.parent >= 0)
    outer = spans.parent[inner]
    assert (outer < inner).all() and (spans.thread[outer] == spans.thread[inner]).all()
    end_ns = spans.start_ns + spans.dur_ns
    assert (end_ns[inner] <= end_ns[outer]).all()
    assert (trace.stacks.parent < np.arange(len(trace.stacks))).all()
    assert (folded.count >= 0).all() and (folded.min_ns <= folded.max_ns).all()


def read(run: Path) -> Trace:
    """Read a run back; the trace is a valid one."""
    trace = read_run(run)
    check_valid(trace)
    return trace

"""Trace files → one summary, by map and merge over any executor of `concurrent.futures`.

A pool of processes by default; ``Client.get_executor()`` of `dask.distributed`, ``MPIPoolExecutor`` of `mpi4py.futures`
and others by the same seam. Only a few tasks are under way at a time, and each result is merged at once, so that memory
grows with neither the number of traces nor their order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from functools import reduce
from itertools import chain, islice
from pathlib import Path

from tinytrace.analysis.fleet import MOST_OPS, Fleet, empty_fleet, skipped_trace, trace_fleet
from tinytrace.analysis.reader import load
from tinytrace.errors import InputError, TinytraceError
from tinytrace.tracer.machine import usable_cpus

SUFFIXES = (".json", ".json.gz")
PER_TASK = 4  # traces: a task of several costs one message; always as many, so that results do not depend on workers
TASKS_PER_WORKER = 2  # under way, so that no worker waits for us
# Where an executor does not tell how many workers it has.
MOST_TASKS = 64


def find_traces(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the trace files in folders, at any depth, and the files that are named; each once, in order.

    Raises:
        InputError: there is no such file or folder.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.name.endswith(SUFFIXES))
            found += [p for p in inside if p.is_file() and ".tinytrace" not in p.parts]
        elif place.exists():
            found.append(place)
        else:
            raise InputError(f"{place}: no such file or folder")
    return list({path.resolve(): path for path in found}.values())


def fleet_of(
    paths: Iterable[str | os.PathLike[str]],
    executor: Executor | None = None,
    workers: int | None = None,
    most_ops: int = MOST_OPS,
) -> Fleet:
    """Return the summary of many trace files. Those that cannot be read are named in it.

    Args:
        paths: of the files, which the workers must be able to open; may be any iterable, also an endless one's part.
        executor: where the traces are read: anything with ``submit``. None: processes of this machine.
        workers: how many of them; 1: none, here. None: one per CPU that this process may use.
        most_ops: how many rows of ops are kept.

    Raises:
        TinytraceError: a worker died.

    Example:
        >>> fleet_of([]).traces
        0
    """
    tasks = _pieces((str(path) for path in paths), PER_TASK)
    if executor is not None:
        return _merged(tasks, executor, MOST_TASKS, most_ops)
    workers = workers or usable_cpus()
    first = list(islice(tasks, 2))
    if workers == 1 or len(first) < 2:  # no process is worth one task
        pieces = (read_traces(task, most_ops) for task in chain(first, tasks))
        return reduce(Fleet.merged, pieces, empty_fleet(most_ops))
    import multiprocessing

    # Not forked: the program that calls this may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return _merged(chain(first, tasks), pool, workers * TASKS_PER_WORKER, most_ops)


def read_traces(paths: tuple[str, ...], most_ops: int) -> Fleet:
    """Return the summary of some files: what a worker does."""
    return reduce(Fleet.merged, (_read(path, most_ops) for path in paths), empty_fleet(most_ops))


def _read(path: str, most_ops: int) -> Fleet:
    try:
        return trace_fleet(load(path), path, most_ops)
    except TinytraceError as problem:
        return skipped_trace(path, str(problem).removeprefix(f"{path}: "), most_ops)
    except MemoryError:
        return skipped_trace(path, "does not fit the memory of a worker", most_ops)


def _merged(
    tasks: Iterator[tuple[str, ...]], executor: Executor, under_way: int, most_ops: int
) -> Fleet:
    """Merge results in the order of the tasks, whichever comes first: so the result is always the same."""
    total = empty_fleet(most_ops)
    waiting = deque(executor.submit(read_traces, t, most_ops) for t in islice(tasks, under_way))
    try:
        while waiting:
            total = total.merged(waiting.popleft().result())
            waiting.extend(executor.submit(read_traces, t, most_ops) for t in islice(tasks, 1))
    except BrokenExecutor as problem:
        raise TinytraceError(
            "a worker died while it read a trace: it may have run out of memory (try fewer --workers)"
        ) from problem
    finally:
        for future in waiting:
            future.cancel()
    return total


def _pieces(paths: Iterator[str], size: int) -> Iterator[tuple[str, ...]]:
    while piece := tuple(islice(paths, size)):
        yield piece

"""Many files to one summary: by this process, a pool, Dask and MPI, with the same result."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.builders import trace_of
from tinytrace.analysis.fleet import Fleet, trace_fleet
from tinytrace.analysis.fleet_map import MOST_TASKS, PER_TASK, find_traces, fleet_of
from tinytrace.analysis.reader import load
from tinytrace.errors import InputError, TinytraceError
from tinytrace.exporters import export

TRACES = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces in folders, and files that are none."""
    path = tmp_path_factory.mktemp("fleet")
    (path / "more").mkdir()
    (path / ".tinytrace").mkdir()
    for i in range(TRACES):
        trace = trace_of(f"matmul[2x3,3x4->2x4]:{i + 1}@train.py:3:main op{i}:2")
        export(trace, path / ("more" if i % 2 else ".") / f"run{i}.json{'.gz' * (i % 3 == 0)}")
    (path / "broken.json").write_text('[{"ph":"X",')
    (path / "notes.txt").write_text("hello")
    (path / ".tinytrace" / "x.json").write_text("")
    return path


@pytest.fixture(scope="module")
def here(folder: Path) -> Fleet:
    return fleet_of(find_traces([folder]), workers=1)


def test_traces_are_found_at_any_depth_and_each_once(folder: Path) -> None:
    found = find_traces([folder, folder / "run0.json.gz", folder / "notes.txt"])
    assert [path.name for path in found][-1] == "notes.txt"
    assert len(found) == TRACES + 2
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        find_traces(["nowhere"])


def test_damaged_traces_are_named_and_skipped(here: Fleet) -> None:
    assert here.traces == TRACES
    [(name, reason)] = here.skipped.items
    assert name.endswith("broken.json")
    assert reason.startswith("not a trace: not JSON")


def test_the_summary_is_that_of_all_traces(folder: Path, here: Fleet) -> None:
    together = trace_fleet(load(folder / "run0.json.gz"), str(folder / "run0.json.gz"))
    for path in find_traces([folder])[::-1]:
        if path.name not in ("run0.json.gz", "broken.json"):
            together = together.merged(trace_fleet(load(path), str(path)))
    assert together.calls == here.calls
    assert (together.runs, together.walls, together.slowest) == (
        here.runs,
        here.walls,
        here.slowest,
    )
    [(key, row)] = [(k, r) for k, r in here.ops.rows.items() if k.op == "matmul"]
    assert (row.traces, row.calls, row.self_ns) == (
        TRACES,
        TRACES,
        1000 * sum(range(1, TRACES + 1)),
    )
    assert key.site == "train.py:3 main"


def test_a_pool_of_processes_gives_the_same(folder: Path, here: Fleet) -> None:
    assert fleet_of(find_traces([folder]), workers=2) == here


class Counting(ThreadPoolExecutor):
    """Counts how many tasks are under way."""

    under_way = most = 0

    def submit(self, *given: Any, **options: Any) -> Future[Any]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        future = super().submit(*given, **options)
        result = future.result

        def counted(timeout: float | None = None) -> Any:
            self.under_way -= 1
            return result(timeout)

        future.result = counted  # type: ignore[method-assign]
        return future


def test_few_tasks_are_under_way_however_many_traces_there_are(folder: Path) -> None:
    with Counting(2) as executor:
        fleet = fleet_of((folder / "notes.txt" for _ in range(PER_TASK * MOST_TASKS * 3)), executor)
    assert fleet.skipped.count == PER_TASK * MOST_TASKS * 3
    assert executor.most == MOST_TASKS


def test_memory_does_not_grow_with_the_number_of_traces(folder: Path) -> None:
    paths = [p for p in find_traces([folder]) if p.name != "broken.json"]

    def peak(times: int) -> int:
        gc.collect()
        tracemalloc.start()
        fleet = fleet_of((path for _ in range(times) for path in paths), workers=1)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert fleet.traces == times * len(paths)
        return largest

    peak(1)  # what is imported and kept at the first time
    few, many = peak(2), peak(12)
    assert many < 1.2 * few


def test_a_worker_that_died_is_one_line(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, initializer=os._exit, initargs=(1,)) as executor,
        pytest.raises(TinytraceError, match="a worker died while it read a trace") as caught,
    ):
        fleet_of(find_traces([folder]), executor)
    assert "\n" not in str(caught.value)


DASK = """
import sys
from tinytrace.analysis.fleet_map import find_traces, fleet_of
if __name__ == "__main__":
    from dask.distributed import Client, LocalCluster
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        paths = find_traces(sys.argv[1:])
        print(fleet_of(paths, client.get_executor()) == fleet_of(paths, workers=1))
"""
MPI = """
import sys
from tinytrace.analysis.fleet_map import find_traces, fleet_of
if __name__ == "__main__":
    from mpi4py.futures import MPIPoolExecutor
    with MPIPoolExecutor() as executor:
        paths = find_traces(sys.argv[1:])
        print(fleet_of(paths, executor) == fleet_of(paths, workers=1), executor.num_workers)
"""


def run(command: list[str], folder: Path) -> str:
    ended = subprocess.run(
        [*command, str(folder)], check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_dask_gives_the_same(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(DASK)
    assert run([sys.executable, str(program)], folder) == "True\n"


def test_mpi_gives_the_same(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(MPI)
    mpiexec = str(Path(sys.executable).parent / "mpiexec")
    command = [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py.futures", str(program)]
    assert run(command, folder) == "True 1\n"

"""Workers of pools and loaders: under their names, on one clock, and nothing of it where none is started."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.launch.both import CORES, Ended, Place, ops, process_names
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def by_name(trace: Trace) -> dict[str, list[str]]:
    """The operations of each process, by its name."""
    names = process_names(trace)
    found: dict[str, list[str]] = {name: [] for name in names}
    s = trace.spans
    for row in np.flatnonzero(s.kind == Kind.OP).tolist():
        name = trace.strings[s.name_id[row]]
        if name not in ("copyto", "array"):
            found[names[trace.threads.process[s.thread[row]]]].append(name)
    return found


NAMED = """
import concurrent.futures, multiprocessing as mp, sys, time
import numpy as np

def work(n):
    return int(np.multiply(n, 2))

def idle(queue):
    np.divide(1.0, 2.0)
    queue.put(1)
    time.sleep(1000)

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    np.add(1, 2)
    with context.Pool(1) as pool:
        print(pool.map(work, [1, 2]))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(list(executor.map(work, [3])))
    queue = context.Queue()
    process = context.Process(target=idle, args=(queue,), name="my daemon", daemon=True)
    process.start()
    print(queue.get())
    np.subtract(3, 1)
"""


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_have_the_names_that_multiprocessing_gives_them(
    tmp_path: Path, method: str, core: str
) -> None:
    place = Place.make(tmp_path, train=NAMED)
    place.core = core
    assert place.record("train.py", method) == Ended(0, b"[2, 4]\n[6]\n1\n", b"")
    trace = place.trace()
    found = by_name(trace)
    kind = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}[method]
    workers = {name: done for name, done in found.items() if done}
    expected = {
        f"train.py {method}": ["add", "subtract"],
        f"{kind}PoolWorker-1": ["multiply"] * 2,
        f"{kind}Process-2": ["multiply"],
        "my daemon": ["divide"],  # which is killed when the program ends
    }
    if (core, method) == (
        "python",
        "spawn",
    ):  # a worker that is killed at once may have no name yet
        assert sorted(workers.values()) == sorted(expected.values())
    else:
        assert workers == expected
    # One clock: the first process did one thing before all others, and one after them.
    s = trace.spans
    order = [
        trace.strings[s.name_id[row]] for row in np.argsort(s.start_ns) if s.kind[row] == Kind.OP
    ]
    assert (order[0], order[-1]) == ("add", "subtract")


LOADER = """
import sys
import numpy as np, torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return torch.tensor(int(np.multiply(i, 2)))

if __name__ == "__main__":
    for method in sys.argv[1:]:
        loader = DataLoader(Numbers(), num_workers=2, multiprocessing_context=method,
                            persistent_workers=True)
        for epoch in range(2):
            print(method, sum(int(batch) for batch in loader))
        del loader
"""


def test_workers_of_a_data_loader_are_in_the_trace_by_their_number(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=LOADER)
    ended = place.record("train.py", "fork", "spawn")
    assert ended == Ended(0, b"fork 12\nfork 12\nspawn 12\nspawn 12\n", b"")
    trace = place.trace()
    named = Counter(name for name in process_names(trace) if "worker" in name)
    assert named == {"DataLoader worker 0": 2, "DataLoader worker 1": 2}
    assert by_name(trace)["DataLoader worker 0"].count("multiply") == 2 * 2 * 2
    assert Counter(ops(trace))["multiply"] == 2 * 2 * 4


FORKED_ESTIMATOR = """
import os
import numpy as np
from sklearn.preprocessing import StandardScaler
X = np.arange(8.0).reshape(4, 2)
StandardScaler().fit(X)
pid = os.fork()
StandardScaler().fit(X)
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("core", CORES)
def test_a_forked_process_records_each_call_once(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=FORKED_ESTIMATOR)
    place.core = core
    assert place.record("train.py") == Ended(0, b"", b"")
    trace = place.trace()
    s, process = trace.spans, trace.threads.process
    fits = [
        int(process[s.thread[row]])
        for row in range(len(s))
        if trace.strings[s.name_id[row]] == "StandardScaler.fit"
    ]
    assert sorted(Counter(fits).values()) == [1, 2]


ALONE = """
import os, sys, threading
print(sorted(name for name in ("multiprocessing", "subprocess", "concurrent.futures") if name in sys.modules))
import multiprocessing.process, multiprocessing.util, subprocess, _posixsubprocess
print(os.fork, subprocess.Popen.__init__.__code__.co_filename == subprocess.__file__,
      multiprocessing.process.BaseProcess.start.__code__.co_filename == multiprocessing.process.__file__,
      subprocess._fork_exec is _posixsubprocess.fork_exec if hasattr(subprocess, "_fork_exec") else True,
      len(multiprocessing.util._afterfork_registry), threading.active_count())
"""


@pytest.mark.parametrize("own", [("-q",), ("-q", "--no-children")])
def test_where_no_process_is_started_nothing_is_imported_replaced_or_running_for_them(
    tmp_path: Path, own: tuple[str, ...]
) -> None:
    place = Place.make(tmp_path, train=ALONE)
    ended = place.same("train.py", own=own)
    assert ended.stdout == b"[]\n<built-in function fork> True True True 0 1\n"

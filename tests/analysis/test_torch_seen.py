"""When operations of torch were not recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytrace.analysis.account import Where, account_of
from tinytrace.analysis.torch_seen import torch_unseen
from tinytrace.tracer.trace import Frames, Processes, Samples, Stacks, Threads, Trace

MS = 1_000_000


def trace_with(windows: Any) -> Trace:
    """Ten samples of 1 ms, on the CPU, of process 7."""
    t_ns = np.arange(1, 11) * MS
    each = np.full(10, MS)
    return Trace(
        strings=("main", "train.py"),
        frames=Frames(np.array([0]), np.array([1]), np.array([3])),
        stacks=Stacks(np.array([0]), np.array([-1])),
        samples=Samples(t_ns, each, each, np.zeros(10), np.zeros(10)),
        processes=Processes(*(np.array([v]) for v in (7, 0, 0, 10 * MS, -1))),
        threads=Threads(np.array([0]), np.array([7]), np.array([0])),
        meta={"torch_profiler": {"windows_ns": windows}},
    )


def test_samples_outside_of_the_stretches_are_those_from_when_torch_was_there() -> None:
    trace = trace_with([[7, 3 * MS, 5 * MS + 1], [7, 8 * MS, 9 * MS]])
    assert torch_unseen(trace).tolist() == [False] * 5 + [True, True, False, True, True]


def test_the_account_has_a_line_for_them() -> None:
    account = account_of(trace_with([[7, 3 * MS, 5 * MS + 1], [7, 8 * MS, 9 * MS]]))
    assert account is not None
    assert account.spent_ns(Where.TORCH_UNSEEN) == 4 * MS
    assert account.spent_ns(Where.PYTHON) == 6 * MS


@pytest.mark.parametrize("windows", [None, [], [[8, 0, MS]], "nonsense", [[1, 2]], [[7, "x", 1]]])
def test_without_stretches_of_this_process_nothing_is_unseen(windows: Any) -> None:
    assert not torch_unseen(trace_with(windows)).any()

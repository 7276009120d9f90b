"""What a thread of the host did outside of its ops: by hand, and as shares of real traces."""

from __future__ import annotations

import numpy as np
import pytest

from tests.device_events import launched, op, trace_of_events, x
from tests.kineto_files import ALL, loaded
from tinytrace.analysis.account import Account, Where, account_of
from tinytrace.analysis.host_time import HostTime, host_time
from tinytrace.tracer.trace import Trace


def whole(trace: Trace) -> HostTime | None:
    return host_time(trace, 0, (np.array([0]), np.array([2**62])), 5)


def spent_us(trace: Trace) -> dict[Where, float]:
    account = account_of(trace)
    assert account is not None
    return {entry.where: entry.spent_ns / 1000 for entry in account.entries if entry.spent_ns}


def step() -> Trace:
    """100 us of a function: an op of 20 that launches for 2, a synchronisation of 30, a loader of 10."""
    return trace_of_events(
        x("train.py(4): step", "python_function", 0, 100),
        op("aten::mul", 10, 20),
        launched("k", 15, 40, 5),
        x("enumerate(DataLoader)#_Iter.__next__", "user_annotation", 35, 10),
        x("cudaStreamSynchronize", "cuda_runtime", 50, 30, correlation=-1),
    )


def test_time_is_that_of_the_innermost_span() -> None:
    found = whole(step())
    assert found is not None
    assert (found.python_ns, found.call_ns, found.wait_ns) == (40_000, 2_000, 30_000)
    [function] = found.functions
    assert (function.place, function.function, function.spent_ns) == ("train.py:4", "step", 40_000)


def test_the_account_of_the_host_has_dispatch_waits_and_python_and_adds_up() -> None:
    assert spent_us(step()) == {
        Where.DISPATCH: 20, Where.PYTHON: 40, Where.DATA_WAIT: 10, Where.DEVICE_WAIT: 30,
    }  # fmt: skip


def test_what_runs_in_a_data_loader_is_waiting_for_data() -> None:
    trace = trace_of_events(
        x("enumerate(DataLoader)#_Iter.__next__", "user_annotation", 0, 100),
        x("loader.py(4): fetch", "python_function", 10, 80),
        x("cudaStreamSynchronize", "cuda_runtime", 20, 30, correlation=-1),
    )
    assert spent_us(trace) == {Where.DATA_WAIT: 100}


def test_only_time_in_the_windows_counts() -> None:
    found = host_time(step(), 0, (np.array([5_000]), np.array([60_000])), 5)
    assert found is not None
    assert (found.python_ns, found.wait_ns) == (5_000 + 5_000 + 5_000, 10_000)


def test_a_trace_without_such_events_tells_nothing() -> None:
    assert whole(trace_of_events(op("aten::mul", 0, 10))) is None


@pytest.mark.parametrize("name", ALL)
def test_accounts_of_the_host_in_real_traces_add_up(name: str) -> None:
    account = account_of(loaded(name))
    assert isinstance(account, Account)
    assert sum(entry.spent_ns for entry in account.entries) == account.wall_ns
    assert not account.scaled


def test_with_stacks_next_to_nothing_of_a_real_run_is_unexplained() -> None:
    account = account_of(loaded("tracelens_b200_eager"))
    assert account is not None
    assert account.percent(Where.UNATTRIBUTED) < 1

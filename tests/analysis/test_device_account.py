"""The account of a device: on real traces against plain loops over their events, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.device_events import launched, trace_of_events, x
from tests.kineto_files import (
    WITH_DEVICES,
    Event,
    device_events,
    launches,
    loaded,
    slack_ns,
    union_ns,
)
from tinytrace.analysis.device_account import (
    HOST_WAIT,
    IDLE,
    KERNEL_WAIT_NS,
    KERNELS,
    DeviceAccount,
    DeviceAccounts,
    Spent,
    device_windows,
)
from tinytrace.analysis.device_work import Sort, device_work
from tinytrace.tracer.trace import Trace


def accounts(trace: Trace) -> list[DeviceAccount]:
    work = device_work(trace)
    assert work is not None
    windows = device_windows(trace, work)
    made = DeviceAccounts(trace, work)
    return [made.of(device, windows) for device in range(len(work.devices))]


def whole_account(name: str) -> DeviceAccount:
    """The account from the first to the last piece of work, whatever steps there are."""
    work = device_work(loaded(name))
    assert work is not None
    windows = np.array([work.start_ns.min()]), np.array([work.end_ns.max()])
    return DeviceAccounts(loaded(name), work).of(0, windows)


def spent(account: DeviceAccount) -> dict[Spent, int]:
    return {entry.spent: entry.spent_ns for entry in account.entries if entry.spent_ns}


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_accounts_of_real_devices_add_up_to_their_time_exactly(name: str) -> None:
    for account in [*accounts(loaded(name)), whole_account(name)]:
        assert sum(entry.spent_ns for entry in account.entries) == account.wall_ns > 0
        assert all(entry.spent_ns >= 0 for entry in account.entries)


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_busy_and_exposed_time_are_those_of_a_sweep_over_the_events(name: str) -> None:
    events = device_events(name)
    account = whole_account(name)

    def union(wanted: list[Event]) -> int:
        return union_ns([(e.start_ns, e.end_ns) for e in wanted])

    computing = [e for e in events if e.category == "kernel" and not e.is_communication]
    talking = [e for e in events if e.category == "kernel" and e.is_communication]
    moving = [e for e in events if e.category != "kernel"]
    found_and_expected = (
        (account.spent_ns(*KERNELS), union(computing)),
        (account.communication_ns, union(talking)),
        (account.copies_ns, union(moving)),
        (account.spent_ns(Spent.COMMUNICATION), union(computing + talking) - union(computing)),
        (account.spent_ns(Spent.COPIES), union(events) - union(computing + talking)),
        (account.spent_ns(*IDLE), account.wall_ns - union(events)),
        (account.wall_ns, max(e.end_ns for e in events) - events[0].start_ns),
    )
    for found, expected in found_and_expected:
        assert abs(found - expected) <= slack_ns(name)


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_idle_time_is_split_as_a_loop_over_the_gaps_splits_it(name: str) -> None:
    started_by = launches(name)
    expected = {"host": 0, "kernel": 0, "other": 0, "not known": 0}
    events = device_events(name)
    until = events[0].end_ns
    for event in events:
        gap = event.start_ns - until
        if gap > 0:
            launch = started_by.get(event.args["correlation"])
            if launch is None:
                expected["not known"] += gap
            elif launch.start_ns > until:
                expected["host"] += gap
            else:
                expected["kernel" if gap <= KERNEL_WAIT_NS else "other"] += gap
        until = max(until, event.end_ns)
    account = whole_account(name)
    found = {
        "host": account.spent_ns(*HOST_WAIT), "kernel": account.spent_ns(Spent.KERNEL_WAIT),
        "other": account.spent_ns(Spent.OTHER_WAIT), "not known": account.spent_ns(Spent.NOT_KNOWN),
    }  # fmt: skip
    assert all(abs(found[what] - expected[what]) <= slack_ns(name) for what in expected)


def test_most_real_traces_are_compared_exactly() -> None:
    assert [name for name in WITH_DEVICES if slack_ns(name)] == [
        "hta_diff_test", "hta_ns_resolution_rank-0",
    ]  # fmt: skip


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_work_of_real_devices_has_the_times_and_the_launch_of_its_event(name: str) -> None:
    trace, work = loaded(name), device_work(loaded(name))
    assert work is not None
    events = device_events(name)
    assert len(work) == len(events)
    assert abs(int(work.dur_ns.sum()) - sum(e.dur_ns for e in events)) <= slack_ns(name)
    copied_ns = sum(e.dur_ns for e in events if e.category == "gpu_memcpy")
    assert abs(int(work.dur_ns[work.sort == Sort.COPY].sum()) - copied_ns) <= slack_ns(name)
    started_by = launches(name)
    expected = sorted(
        started_by[e.args["correlation"]].start_ns
        for e in events
        if e.args["correlation"] in started_by
    )
    known = work.launch[work.launch >= 0]
    assert sorted(trace.spans.start_ns[known].tolist()) == expected


# By hand ------------------------------------------------------------------------------------------


def account_of_events(*events: Any) -> DeviceAccount:
    [account] = accounts(trace_of_events(*events))
    return account


def test_a_gap_before_a_late_launch_is_divided_by_what_the_host_did() -> None:
    account = account_of_events(
        launched("a", 0, 10, 10),  # until 20
        x("enumerate(DataLoader)#_Iter.__next__", "user_annotation", 15, 10),  # 5 us of the gap
        x("aten::mul", "cpu_op", 40, 20),  # 10 us of the gap before the launch, and the launch
        launched("b", 50, 58, 2),  # launched 30 us after the device ran dry, begins 8 us later
    )
    us = {spent: ns / 1000 for spent, ns in spent(account).items()}
    assert us == {
        Spent.NOT_JUDGED: 12, Spent.DATA: 5, Spent.DISPATCH: 10 + 8, Spent.HOST: 15,
    }  # fmt: skip


def test_waiting_for_the_device_is_no_dispatch() -> None:
    account = account_of_events(
        launched("a", 0, 10, 10),
        x("cudaStreamSynchronize", "cuda_runtime", 12, 18, correlation=9),  # returns at 30
        launched("b", 40, 45, 1),
    )
    assert spent(account)[Spent.HOST] == 20_000
    assert spent(account)[Spent.DISPATCH] == 5_000


def test_gaps_before_queued_work_are_kernel_wait_or_wait_for_something_else() -> None:
    account = account_of_events(
        launched("a", 0, 10, 10), launched("b", 2, 22, 8), launched("c", 4, 100, 5)
    )
    assert spent(account) == {
        Spent.NOT_JUDGED: 23_000, Spent.KERNEL_WAIT: 2_000, Spent.OTHER_WAIT: 70_000,
    }  # fmt: skip


def test_a_gap_before_work_whose_launch_is_not_recorded_is_not_known() -> None:
    account = account_of_events(launched("a", 0, 10, 10), launched("b", 2, 50, 8)[1:])
    assert spent(account)[Spent.NOT_KNOWN] == 30_000


def test_communication_is_exposed_where_nothing_computes() -> None:
    account = account_of_events(
        launched("a", 0, 10, 10),
        launched("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 1, 15, 25, stream=20),
        launched("Memcpy HtoD (Pinned -> Device)", 2, 35, 10, cat="gpu_memcpy", stream=21),
    )
    assert spent(account) == {
        Spent.NOT_JUDGED: 10_000, Spent.COMMUNICATION: 20_000, Spent.COPIES: 5_000,
    }  # fmt: skip
    assert account.communication_ns == 25_000
    assert account.copies_ns == 10_000


def test_each_device_has_an_account_of_its_own() -> None:
    other = launched("b", 20, 25, 5)
    other[1]["pid"] = 1
    found = accounts(trace_of_events(launched("a", 0, 10, 10), other))
    assert [a.device.label for a in found] == ["GPU 0", "GPU 1"]
    assert [a.spent_ns(*KERNELS) for a in found] == [10_000, 5_000]


def test_the_last_step_lasts_until_its_work_has_ended_and_other_work_is_outside() -> None:
    account = account_of_events(
        launched("early", 0, 10, 10),
        x("ProfilerStep#3", "user_annotation", 50, 50),
        launched("late", 60, 90, 40),
    )
    assert account.wall_ns == 80_000
    assert account.outside_ns == 10_000
    assert account.spent_ns(*KERNELS) == 40_000
    assert spent(account)[Spent.HOST] == 10_000  # from the step's beginning to the launch


def test_the_mean_of_windows_adds_up_too() -> None:
    trace = trace_of_events(launched("a", 0, 10, 10), launched("b", 2, 22, 9))
    work = device_work(trace)
    assert work is not None
    windows = np.array([10_000, 21_000, 25_000]), np.array([15_000, 24_000, 31_000])
    account = DeviceAccounts(trace, work).of(0, windows, mean=True)
    assert account.wall_ns == 14_000 // 3
    assert sum(entry.spent_ns for entry in account.entries) == account.wall_ns

"""Counters of GPUs. There is no GPU here: the library is a stand-in of the four functions that are called."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tinytrace.tracer.gpu_counters import EVERY, GpuCounters, counters_for


class Recorder:
    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.values: list[tuple[int, float]] = []

    def series(self, name: str, unit: str) -> int:
        self.names.append((name, unit))
        return len(self.names)

    def counter(self, series: int, value: float) -> None:
        self.values.append((series, value))


def nvml(**more: Any) -> ModuleType:
    library = ModuleType("pynvml")
    functions = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetMemoryInfo": lambda h: SimpleNamespace(used=5_000_000 + len(h)),
        "nvmlDeviceGetUtilizationRates": lambda h: SimpleNamespace(gpu=87, memory=3),
        **more,
    }
    for name, function in functions.items():
        setattr(library, name, function)
    return library


def torch_with(uuids: list[str]) -> Any:
    properties = [SimpleNamespace(uuid=uuid) for uuid in uuids]
    return SimpleNamespace(
        cuda=SimpleNamespace(
            device_count=lambda: len(uuids), get_device_properties=properties.__getitem__
        )
    )


def test_memory_and_utilisation_are_written_for_each_gpu() -> None:
    recorder = Recorder()
    counters = GpuCounters(recorder, nvml(), ["GPU-a", "GPU-bc"])
    counters.tick()
    assert recorder.names == [
        ("gpu0_memory_mb", "MB"), ("gpu0_busy_percent", "%"),
        ("gpu1_memory_mb", "MB"), ("gpu1_busy_percent", "%"),
    ]  # fmt: skip
    assert recorder.values == [(1, 5.000005), (2, 87.0), (3, 5.000006), (4, 87.0)]


def test_they_are_read_every_few_ticks() -> None:
    recorder = Recorder()
    counters = GpuCounters(recorder, nvml(), ["GPU-a"])
    for _ in range(2 * EVERY):
        counters.tick()
    assert len(recorder.values) == 2 * 2


def test_gpus_are_those_of_torch_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    library = nvml(nvmlDeviceGetHandleByUUID=asked.append)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert isinstance(counters_for(Recorder(), torch_with(["b-1", "a-2"])), GpuCounters)
    assert asked == ["GPU-b-1", "GPU-a-2"]


def test_a_library_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError("Driver Not Loaded")

    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=fails))
    said = counters_for(Recorder(), torch_with(["a"]))
    assert said == "memory and utilisation of the GPU are not recorded: Driver Not Loaded"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in str(counters_for(Recorder(), torch_with([])))

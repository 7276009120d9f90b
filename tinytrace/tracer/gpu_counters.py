"""What the GPUs of a program do, beside its kernels: memory and utilisation, by NVIDIA's management library."""

from __future__ import annotations

from types import ModuleType
from typing import Any

EVERY = 4  # ticks: five times a second; the library averages utilisation over up to a second itself


class GpuCounters:
    """Counters of the GPUs that torch uses.

    Args:
        recorder: where they are written.
        nvml: the module ``pynvml`` (of the package ``nvidia-ml-py``).
        uuids: of the GPUs, in torch's order, which an environment variable may have changed.

    Raises:
        Exception: whatever the library raises where it cannot be used.
    """

    def __init__(self, recorder: Any, nvml: ModuleType, uuids: list[str]) -> None:
        """Take hold of the GPUs."""
        self._recorder, self._nvml = recorder, nvml
        self._ticks = 0
        nvml.nvmlInit()
        self._series = [
            (nvml.nvmlDeviceGetHandleByUUID(uuid),
             int(recorder.series(f"gpu{i}_memory_mb", "MB")),
             int(recorder.series(f"gpu{i}_busy_percent", "%")))
            for i, uuid in enumerate(uuids)
        ]  # fmt: skip

    def tick(self) -> None:
        """Write the values of this moment, every few times."""
        self._ticks += 1
        if self._ticks % EVERY != 1:
            return
        for handle, memory, busy in self._series:
            used = self._nvml.nvmlDeviceGetMemoryInfo(handle).used
            self._recorder.counter(memory, used / 1e6)
            self._recorder.counter(
                busy, float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            )


def counters_for(recorder: Any, torch: Any) -> GpuCounters | str:
    """Return the counters of the GPUs that torch sees, or why there are none.

    Args:
        recorder: where they are written.
        torch: in which CUDA is initialized.
    """
    try:
        import pynvml
    except ImportError:
        return "memory and utilisation of the GPU are not recorded: pip install nvidia-ml-py"
    try:
        count = torch.cuda.device_count()
        uuids = [f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in range(count)]
        return GpuCounters(recorder, pynvml, uuids)
    except Exception as problem:  # another vendor's GPU, no driver, an older torch
        return f"memory and utilisation of the GPU are not recorded: {problem}"

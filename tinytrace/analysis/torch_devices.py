"""Devices of PyTorch, as far as measuring on them differs. Loaded only where torch is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from tinytrace.analysis.bandwidth import Cache
from tinytrace.analysis.probes import Clock

# What each of them multiplies by hardware of its own, at least somewhere.
CPU_DTYPES = ("float32", "float64", "bfloat16")
CUDA_DTYPES = ("float32", "float64", "bfloat16", "float16")
TF32 = "tf32"  # float32 whose products are of TensorFloat-32: a roof of its own


class Device(Protocol):
    """Something that PyTorch computes on.

    Attributes:
        where: what tensors are told: ``cpu``, ``cuda:0``.
        dtypes: of matrix products.
        sides: of square matrices, ascending.
        clock: tells ns, when all that was started before has ended.
    """

    where: str
    dtypes: tuple[str, ...]
    sides: tuple[int, ...]
    clock: Clock

    def caches(self, threads: int, of_core: tuple[Cache, ...]) -> tuple[Cache, ...]:
        """Return the caches that an operation has for itself."""

    def available_bytes(self) -> int:
        """Return the memory that may be taken."""


class CpuDevice:
    """The CPU, by the threads of PyTorch."""

    where = "cpu"
    dtypes: tuple[str, ...] = CPU_DTYPES
    sides: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self.clock = clock

    def caches(self, threads: int, of_core: tuple[Cache, ...]) -> tuple[Cache, ...]:
        """Return those of the cores together; the last one is shared as it is."""
        last = of_core[-1:]
        return (*((name, size * threads) for name, size in of_core[:-1]), *last)

    def available_bytes(self) -> int:
        """Return the memory that can be taken without pushing others out."""
        import psutil

        return int(psutil.virtual_memory().available)


class CudaDevice:
    """A GPU: its events are the clock, so that launching kernels costs what it costs, and waiting nothing.

    Args:
        number: of the device.
        cuda: ``torch.cuda``, or what stands for it in a test.
    """

    dtypes: tuple[str, ...] = (*CUDA_DTYPES, TF32)
    sides: tuple[int, ...] = (1024, 2048, 4096, 8192)

    def __init__(self, number: int, cuda: Any = torch.cuda) -> None:
        self.where = f"cuda:{number}"
        self._cuda, self._number = cuda, number
        self.clock = event_clock(self._event, lambda: cuda.synchronize(number))

    def _event(self) -> Any:
        with self._cuda.device(self._number):
            event = self._cuda.Event(enable_timing=True)
            event.record()
        return event

    def caches(self, threads: int, of_core: tuple[Cache, ...]) -> tuple[Cache, ...]:
        """Return the second-level cache, which all multiprocessors share, where PyTorch tells it."""
        size = getattr(self._cuda.get_device_properties(self._number), "L2_cache_size", 0)
        return (("L2", int(size)),) if size else ()

    def available_bytes(self) -> int:
        """Return the free memory of the device."""
        return int(self._cuda.mem_get_info(self._number)[0])


def event_clock(record: Callable[[], Any], wait: Callable[[], object]) -> Clock:
    """Return a clock that reads the time at which a GPU gets as far as was asked of it, in ns.

    Args:
        record: puts an event into the stream and returns it; its ``elapsed_time(other)`` is ms.
        wait: returns when everything in the stream is done.
    """
    first: list[Any] = []

    def clock() -> int:
        event = record()
        wait()
        if not first:
            first.append(event)
            return 0
        return int(first[0].elapsed_time(event) * 1e6)

    return clock


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let PyTorch's operations run in so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def devices(count: int | None = None) -> list[Device]:
    """Return the CPU and so many GPUs; None: all that there are."""
    gpus = range(torch.cuda.device_count() if count is None else count)
    found: list[Device] = [CpuDevice()]
    return found + [CudaDevice(number) for number in gpus]

"""Measures what PyTorch reaches on a device (docs/peaks.md), by its own operations. Loaded only where torch is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial

import torch

from tinytrace.analysis import bandwidth
from tinytrace.analysis.peaks import Level, Peak, Peaks
from tinytrace.analysis.peaks_measure import FULL, QUICK, SHARE_OF_MEMORY, UNSTEADY, Effort
from tinytrace.analysis.probes import Probe, Progress, Stopwatch, Timed, best_rates
from tinytrace.analysis.torch_devices import TF32, Device, devices, torch_threads
from tinytrace.analysis.torch_machine import CPU, TorchMachine, machines
from tinytrace.errors import UsageError
from tinytrace.tracer.machine import machine, torch_facts
from tinytrace.tracer.session import Session

ARITHMETIC = ("float32", "float64", "bfloat16")
# As for NumPy; and more, since PyTorch divides among its threads what has 32,768 elements or more.
ELEMENTS = (16384, 65536, 262144)
FUNCTION_ELEMENTS = 131072
FUNCTIONS = ("exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf")
FUNCTION_DTYPES = ("float32", "float64", "bfloat16")
BEYOND_CACHE_BYTES = 1 << 28  # on a device that tells no caches


def machines_here() -> list[TorchMachine]:
    """Return the devices that PyTorch has here, with its number of threads as it is now."""
    facts = torch_facts() or {}
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return list(machines(machine(), {**facts, "devices": gpus}))


def measure_all(
    threads: int | None = None, *, quick: bool = False, progress: Progress = lambda share: None
) -> dict[str, Peaks]:
    """Measure all devices, one after the other.

    Args:
        threads: of PyTorch on the CPU; None: as many as it has now.
        quick: a second or so for each.
        progress: is told the share that is done, 0…1.

    Raises:
        UsageError: this process is being recorded: the measuring would be, too.
    """
    found: dict[str, Peaks] = {}
    with torch_threads(threads or torch.get_num_threads()):
        all_devices = devices()
        for number, (device, place) in enumerate(zip(all_devices, machines_here(), strict=True)):
            share = partial(_part, progress, number, len(all_devices))
            found[device.where] = measure(device, place, quick=quick, progress=share)
    return found


def _part(progress: Progress, number: int, count: int, share: float) -> None:
    progress((number + share) / count)


def measure(
    device: Device,
    place: TorchMachine,
    *,
    quick: bool = False,
    progress: Progress = lambda share: None,
) -> Peaks:
    """Measure one device.

    Args:
        device: what is measured, and the clock.
        place: what the figures hold for.
        quick: a second or so.
        progress: is told the share that is done, 0…1.

    Raises:
        UsageError: this process is being recorded: the measuring would be, too.
    """
    if Session.is_recording():
        raise UsageError("roofs cannot be measured in a process that is being recorded: stop first")
    effort = QUICK if quick else FULL
    watch = Stopwatch(effort.rounds, effort.block_ns, device.clock, torch_threads, progress)
    caches = device.caches(place.threads, place.caches)
    largest = int(device.available_bytes() * SHARE_OF_MEMORY)
    with torch.no_grad(), torch_threads(place.threads):
        sizes = bandwidth.footprints(caches, largest, quick=True) if caches else []
        probes = {
            "gemm": [*_products(device, watch, effort, largest)],
            "vector": [*_arithmetic(device)],
            "function": [*_functions(device)],
            "floor": [*_floors(device)],
            "swept": [*_sweep(device, sizes or [min(largest, BEYOND_CACHE_BYTES)])],
        }
        timed = _time(watch, place, probes)
    floors = {t.probe.name: t.duration() for t in timed["floor"]}
    levels, notes = bandwidth.levels(timed["swept"], caches, floors["ufunc"].value)
    functions = best_rates(timed["function"])
    return Peaks(
        fingerprint=place.fingerprint,
        machine=place.described(),
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        quick=quick,
        threads=place.threads,
        gemm_gflops=best_rates(timed["gemm"]),
        vector_gflops=best_rates(timed["vector"]),
        transcendental_gops={
            dtype: functions[f"exp {dtype}"]
            for dtype in FUNCTION_DTYPES
            if f"exp {dtype}" in functions
        },
        function_gops=functions,
        levels=levels,
        floor_ns=floors,
        notes=(*(note.replace("NumPy", "PyTorch") for note in notes), *_doubts(floors, levels)),
    )


def _time(
    watch: Stopwatch, place: TorchMachine, probes: dict[str, list[Probe]]
) -> dict[str, list[Timed]]:
    """Time all of it in turns; with several threads by one as well: on a busy machine they wait for each other."""
    groups = [(place.threads, name, some) for name, some in probes.items()]
    if place.device == CPU and place.threads > 1:
        groups += [(1, name, some) for name, some in probes.items() if name != "floor"]
    timed = watch.time([(threads, some) for threads, _, some in groups])
    found: dict[str, list[Timed]] = {}
    for (_, name, _), some in zip(groups, timed, strict=True):
        found.setdefault(name, []).extend(some)
    return found


def _products(
    device: Device, watch: Stopwatch, effort: Effort, largest_bytes: int
) -> Iterator[Probe]:
    """Square products of each dtype, as large as there is time and memory for."""
    for name in device.dtypes:
        dtype = _dtype("float32" if name == TF32 else name)
        before: tuple[int, int] | None = None
        for side in device.sides:
            if 3 * side**2 * dtype.itemsize > largest_bytes:
                break
            if before and before[1] * (side / before[0]) ** 3 > effort.longest_call_ns:
                break
            a, b, c = (torch.ones(side, side, dtype=dtype, device=device.where) for _ in range(3))
            call: Callable[[], object] = partial(torch.mm, a, b, out=c)
            if name == TF32:
                call = partial(_with_tf32, call)
            before = side, watch.once_ns(call)
            yield Probe(name, 2 * side**3, call)


def _with_tf32(call: Callable[[], object]) -> None:
    """Call with products of float32 in TensorFloat-32; off again, as PyTorch has it by default."""
    setting = torch.backends.cuda.matmul
    before = setting.allow_tf32
    setting.allow_tf32 = True
    try:
        call()
    finally:
        setting.allow_tf32 = before


def _arithmetic(device: Device) -> Iterator[Probe]:
    """Arithmetic in cache: the forms with the fewest bytes per FLOP."""
    for name in ARITHMETIC:
        for n in ELEMENTS:
            x, y, out = (torch.ones(n, dtype=_dtype(name), device=device.where) for _ in range(3))
            yield Probe(name, n, partial(torch.add, x, y, out=out))
            yield Probe(name, n, partial(torch.mul, x, y, out=out))
            yield Probe(name, n, partial(out.mul_, 1.0))
            yield Probe(name, n - 1, x.sum)
            yield Probe(name, n - 1, x.amax)
            yield Probe(name, 2 * n, partial(torch.clamp, x, 0.0, 2.0, out=out))
            yield Probe(name, 3 * n, partial(torch.addcmul, x, x, y, out=out))


def _functions(device: Device) -> Iterator[Probe]:
    """Functions in cache; names are ``"exp float32"``."""
    for name in FUNCTION_DTYPES:
        x = torch.linspace(0.1, 0.9, FUNCTION_ELEMENTS, device=device.where).to(_dtype(name))
        out = torch.empty_like(x)
        for function in FUNCTIONS:
            yield Probe(
                f"{function} {name}", x.numel(), partial(getattr(torch, function), x, out=out)
            )


def _floors(device: Device) -> Iterator[Probe]:
    """Calls on operands so small that calling (on a GPU: launching) is all they cost."""
    x, y, out = (torch.ones(4, device=device.where) for _ in range(3))
    a, b, c = (torch.ones(4, 4, device=device.where) for _ in range(3))
    yield Probe("ufunc", 1, partial(torch.add, x, y, out=out))
    yield Probe("matmul", 1, partial(torch.mm, a, b, out=c))
    yield Probe("reduce", 1, x.sum)
    yield Probe("copy", 1, x.clone)


def _sweep(device: Device, sizes: Sequence[int]) -> Iterator[Probe]:
    """Copies, sums and arithmetic in place on footprints from the caches to memory."""
    whole = torch.ones(max(sizes) // 4, device=device.where)
    for size in sizes:
        half = size // 8
        a, b, all_of_it = whole[:half], whole[half : 2 * half], whole[: size // 4]
        yield Probe("copy", 8 * half, partial(b.copy_, a), size)
        yield Probe("add in place", 12 * half, partial(a.add_, b, alpha=0), size)
        yield Probe("scale in place", 2 * size, partial(all_of_it.mul_, 1.0), size)
        yield Probe("max", size, all_of_it.amax, size)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _doubts(floors: dict[str, Peak], levels: Sequence[Level]) -> Iterator[str]:
    """What the spread of the rounds says about the figures."""
    spreads = [peak.high / peak.low for peak in floors.values()]
    spreads += [level.gbps.high / level.gbps.low for level in levels if level.gbps]
    if sorted(spreads)[len(spreads) // 2] > UNSTEADY:
        yield "the rounds lie far apart: other programs ran beside, and the roofs may be low"

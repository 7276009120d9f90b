"""What ran on devices: kernels, copies and fills, each with its launch and the op that launched it.

A trace has work of devices where torch.profiler recorded it (``kernel``, ``gpu_memcpy``, ``gpu_memset``). A device is
a process of the trace, its streams are threads; an arrow leads from the call that started a piece of work to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis.aten_names import carriers_of
from tinytrace.analysis.kineto import LAUNCH_FLOWS
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace
from tinytrace.tracer.trees import inherited

Ints = NDArray[np.int64]
NONE = -1


class Sort(IntEnum):
    """What a piece of work is."""

    COMPUTE = 0
    COMMUNICATION = 1
    COPY = 2
    FILL = 3


_SORTS = {"kernel": Sort.COMPUTE, "gpu_memcpy": Sort.COPY, "gpu_memset": Sort.FILL}
# Kernels that move data between devices: NCCL (AMD's RCCL has the same names; HTA goes by "nccl" alone), MSCCL,
# NVSHMEM, torch's symmetric memory, and vLLM's own all-reduce.
COMMUNICATION = re.compile(
    r"nccl|rccl|msccl|nvshmem|multimem_|(one|two)_shot_all_reduce|cross_device_reduce",
    re.IGNORECASE,
)
_BEFORE_CATEGORY = '{"cat":"'
_NUMBER = re.compile(r"GPU (\d{1,6})$")


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Attributes:
        process: row of ``Trace.processes``.
        label: its name in the trace: ``GPU 0``.
        number: its number among those of the machine; None: not known.
        model: what it is: ``NVIDIA H100 80GB HBM3``; None: the trace does not say.
    """

    process: int
    label: str
    number: int | None
    model: str | None


@dataclass(frozen=True, eq=False)
class DeviceWork:
    """Work of all devices, by device, then start. All columns have one entry per piece.

    Attributes:
        devices: those that did something.
        row: of ``Trace.spans``.
        device: index into ``devices``.
        sort: a `Sort`.
        start_ns, end_ns: when it ran.
        launch: the row of the call that started it; −1: not in the trace.
        op: the row of the op whose work it does: the innermost one around the launch, or the primitive of ATen
            that this is a part of (``addmm`` copies its bias); −1: none, or not known.
    """

    devices: tuple[Device, ...]
    row: Ints
    device: Ints
    sort: Ints
    start_ns: Ints
    end_ns: Ints
    launch: Ints
    op: Ints

    def __len__(self) -> int:
        return len(self.row)

    @property
    def dur_ns(self) -> Ints:
        """How long it ran."""
        return self.end_ns - self.start_ns


def device_work(trace: Trace) -> DeviceWork | None:
    """Return the work of the devices of a trace; None: there is none.

    Args:
        trace: any trace.

    Example:
        >>> device_work(Trace()) is None
        True
    """
    return trace.spans.derived("device_work", lambda: _device_work(trace))


def _device_work(trace: Trace) -> DeviceWork | None:
    spans = trace.spans
    sort = of_categories(trace, _SORTS)
    if sort is None:
        return None
    sort[spans.kind != Kind.OP.value] = NONE
    rows = np.flatnonzero(sort >= 0)
    if not len(rows):
        return None
    process = trace.threads.process[spans.thread[rows]].astype("i8")
    order = np.lexsort((rows, spans.start_ns[rows], process))
    rows, process = rows[order], process[order]
    sort = sort[rows]
    found, device = np.unique(process, return_inverse=True)
    names = [
        bool(COMMUNICATION.search(trace.strings[i]))
        for i in np.unique(spans.name_id[rows]).tolist()
    ]
    talks = np.array(names)[np.searchsorted(np.unique(spans.name_id[rows]), spans.name_id[rows])]
    sort[talks & (sort == Sort.COMPUTE)] = Sort.COMMUNICATION
    launch = _launches(trace)[rows]
    is_op = np.where(spans.kind == Kind.OP.value, np.arange(len(spans)), NONE)
    op = np.append(inherited(is_op, spans.parent), NONE)[launch]
    op = np.append(carriers_of(trace), NONE)[op]
    start_ns = spans.start_ns[rows]
    return DeviceWork(
        devices=_devices(trace, found.tolist()),
        row=rows,
        device=device.astype("i8"),
        sort=sort,
        start_ns=start_ns,
        end_ns=start_ns + spans.dur_ns[rows],
        launch=launch,
        op=op.astype("i8"),
    )


def on_device(trace: Trace) -> NDArray[np.bool_]:
    """Return per span whether it is work of a device.

    Example:
        >>> on_device(Trace()).tolist()
        []
    """
    found = np.zeros(len(trace.spans), "?")
    work = device_work(trace)
    if work is not None:
        found[work.row] = True
    return found


def launching(trace: Trace) -> NDArray[np.bool_]:
    """Return per span whether it is an op that launched work of a device itself.

    Example:
        >>> launching(Trace()).tolist()
        []
    """
    found = np.zeros(len(trace.spans), "?")
    work = device_work(trace)
    if work is not None:
        found[work.op[work.op >= 0]] = True
    return found


def of_categories(trace: Trace, numbers: Mapping[str, int]) -> Ints | None:
    """Return per span the number of its category; −1: none of these; None: no span is of one.

    Args:
        trace: any; other tools' categories stand in the arguments of its spans.
        numbers: of the categories that are asked for.

    Example:
        >>> of_categories(Trace(), {"kernel": 0}) is None
        True
    """
    codes, names = trace.spans.derived("categories", lambda: _categories(trace.strings))
    wanted = np.array([numbers.get(name, NONE) for name in names] + [NONE], "i8")
    if (wanted == NONE).all():
        return None
    return np.append(wanted[codes], NONE)[trace.spans.args_id]


def _categories(strings: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    """Per text the number of the category that it gives as arguments of a span (−1: none), and their names."""
    names: dict[str, int] = {}
    found = np.full(len(strings), NONE, "i8")
    for i, text in enumerate(strings):
        if text.startswith(_BEFORE_CATEGORY):
            end = text.find('"', len(_BEFORE_CATEGORY))
            found[i] = names.setdefault(text[len(_BEFORE_CATEGORY) : end], len(names))
    return found, tuple(names)


def _launches(trace: Trace) -> Ints:
    """Per span the row that an arrow of a launch comes from; −1: none."""
    kinds = [i for i, text in enumerate(trace.strings) if text in LAUNCH_FLOWS]
    flows = trace.flows
    some = np.isin(flows.kind_id, kinds)
    found = np.full(len(trace.spans), NONE, "i8")
    found[flows.to_span[some]] = flows.from_span[some]
    return found


def _devices(trace: Trace, processes: list[int]) -> tuple[Device, ...]:
    models = _models(trace)
    kinds = set(models.values())
    only = kinds.pop() if len(kinds) == 1 else None  # ROCm's numbers count processors, too
    found = []
    for process in processes:
        label = trace.strings[trace.processes.name_id[process]]
        match = _NUMBER.search(label)
        number = None if match is None else int(match[1])
        model = only if number is None else models.get(number, only)
        found.append(Device(process, label, number, model))
    return tuple(found)


def _models(trace: Trace) -> dict[int, str]:
    """The names in the header that torch.profiler writes, by number of the device."""
    header = foreign_header(trace)
    properties = header.get("deviceProperties")
    found = {}
    for told in properties if isinstance(properties, list) else []:
        if isinstance(told, dict) and isinstance(told.get("name"), str):
            number = told.get("id")
            if type(number) is int:
                found[number] = told["name"]
    return found


def foreign_header(trace: Trace) -> dict[str, Any]:
    """Return what another tool wrote beside the events of a trace; {}: nothing.

    Example:
        >>> foreign_header(Trace())
        {}
    """
    foreign = trace.meta.get("foreign")
    header = foreign.get("header") if isinstance(foreign, dict) else None
    return header if isinstance(header, dict) else {}


def arguments(trace: Trace, rows: Ints) -> list[dict[str, Any]]:
    """Return the arguments of some spans; {} for those without any, or whose are no JSON object."""
    found = []
    for args_id in trace.spans.args_id[rows].tolist():
        try:
            told = orjson.loads(trace.strings[args_id]) if args_id >= 0 else {}
        except orjson.JSONDecodeError:
            told = {}
        found.append(told if isinstance(told, dict) else {})
    return found

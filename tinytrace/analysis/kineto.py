"""What torch.profiler (Kineto) writes into its events, in our terms."""

from __future__ import annotations

import math
import re
from typing import Any, TypeGuard

import orjson

from tinytrace.analysis.aten_calls import LIST_DTYPE, PLACEHOLDER, kept_attributes
from tinytrace.tracer.records import MAX_NDIM, Kind, Layout
from tinytrace.tracer.trace import Operand, Signature

DEVICE_CATEGORIES = frozenset(
    {"kernel", "gpu_memcpy", "gpu_memset", "gpu_user_annotation", "cuda_sync"}
)
DEVICE_WORK = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
OP_CATEGORIES = DEVICE_WORK | {"cpu_op"}
# Calls of the driver's and the runtime's interface: they start what runs on a device.
RUNTIME_CATEGORIES = frozenset({
    "cuda_runtime", "cuda_driver", "xpu_runtime", "xpu_driver", "mtia_runtime", "privateuse1_runtime",
    "privateuse1_driver",
})  # fmt: skip
# Arrows from a launch to what it started; their id is the "correlation" of both.
LAUNCH_FLOWS = frozenset({"ac2g", "async_cpu_to_gpu"})
CATEGORIES = DEVICE_CATEGORIES | RUNTIME_CATEGORIES | {
    "cpu_op", "python_function", "user_annotation", "cpu_instant_event",
}  # fmt: skip
MODULE = "nn.Module: "
STEP_NAME = re.compile(r"ProfilerStep#(\d+)")

# C++ type name → NumPy's (or, where NumPy has none, the usual) name, bytes per element.
_DTYPES = {
    "float": ("float32", 4), "double": ("float64", 8), "c10::Half": ("float16", 2),
    "c10::BFloat16": ("bfloat16", 2), "bool": ("bool", 1), "int": ("int32", 4),
    "long int": ("int64", 8), "long": ("int64", 8), "short": ("int16", 2), "short int": ("int16",
    2), "signed char": ("int8", 1), "unsigned char": ("uint8", 1), "unsigned short": ("uint16", 2),
    "unsigned int": ("uint32", 4), "unsigned long": ("uint64", 8),
    "c10::complex<float>": ("complex64", 8), "c10::complex<double>": ("complex128", 16),
    "c10::Float8_e4m3fn": ("float8_e4m3fn", 1), "c10::Float8_e5m2": ("float8_e5m2", 1),
    "c10::Float8_e4m3fnuz": ("float8_e4m3fnuz", 1), "c10::Float8_e5m2fnuz": ("float8_e5m2fnuz", 1),
}  # fmt: skip
TENSOR_LIST = "TensorList"


def item_bytes(cpp_type: str) -> int:
    """Return the bytes per element of torch's C++ type; −1 where it is not known.

    >>> item_bytes("c10::Half"), item_bytes("ScalarList")
    (2, -1)
    """
    return _DTYPES.get(cpp_type, ("", -1))[1]


MAX_DIM = 1 << 48  # beyond any memory


def kind_of(category: str, name: str) -> Kind:
    """Return the kind of an ``X`` event of any tool; what is not known is a plain span."""
    if category in OP_CATEGORIES:
        return Kind.OP
    if category == "user_annotation":
        return _kind_of_annotation(name)
    if category == "python_function" and name.startswith(MODULE):
        return Kind.LAYER
    return _OWN_KINDS.get(category, Kind.SPAN)


# The categories that tinytrace itself writes mean the same when others write them.
_OWN_KINDS = {kind.name.lower(): kind for kind in Kind if kind is not Kind.INSTANT}


def _kind_of_annotation(name: str) -> Kind:
    if STEP_NAME.fullmatch(name):
        return Kind.STEP
    if name.startswith("Optimizer.step#"):
        return Kind.OPTIMIZER
    if name.startswith("enumerate(DataLoader)"):
        return Kind.DATA
    bare = name.strip("# ").lower()
    return {"forward": Kind.FORWARD, "backward": Kind.BACKWARD}.get(bare, Kind.SPAN)


class Signatures:
    """Interns the signatures of ops whose shapes were recorded."""

    def __init__(self) -> None:
        self.table: dict[Signature, int] = {}
        self._by_text: dict[bytes, int] = {}

    def of(self, name: str, args: dict[str, Any]) -> int:
        """Return the signature's row, or −1 when shapes and types were not recorded (or are
        nonsense).

        There is an operand per argument (`tinytrace.analysis.aten_calls`). Outputs are not recorded by
        torch.profiler: the attributes begin with ``"+"``, which says that they are left out.
        """
        dims, types = args.get("Input Dims"), args.get("Input type")
        if not isinstance(dims, list) or not isinstance(types, list) or len(dims) != len(types):
            return -1
        strides, values = args.get("Input Strides"), args.get("Concrete Inputs")
        if not isinstance(strides, list) or len(strides) != len(dims):
            strides = [None] * len(dims)
        if not isinstance(values, list) or len(values) != len(dims):
            values = [None] * len(dims)
        texts = [value if isinstance(value, str) else None for value in values]
        from tinytrace.analysis.aten_table import schemas_of  # large: for those who have such ops

        attributes = kept_attributes(schemas_of(name), texts)
        try:
            text = orjson.dumps([name, dims, types, strides, attributes])
        except TypeError:
            return -1
        row = self._by_text.get(text)
        if row is None:
            row = self._by_text[text] = self._intern(name, dims, types, strides, attributes)
        return row

    def _intern(
        self, name: str, dims: list[Any], types: list[Any], strides: list[Any], attributes: str
    ) -> int:
        operands = []
        for shape, dtype, steps in zip(dims, types, strides, strict=True):
            operand = _operand(shape, dtype, steps)
            if operand is None:
                return -1
            operands.append(operand)
        lists = [shape for shape, dtype in zip(dims, types, strict=True) if dtype == TENSOR_LIST]
        if lists:
            attributes = f"{attributes};tensors={len(lists[0])}".lstrip(";")
        signature = Signature(name, tuple(operands), len(operands), f"+;{attributes}".rstrip(";"))
        return self.table.setdefault(signature, len(self.table))


def _operand(shape: Any, dtype: Any, strides: Any) -> Operand | None:
    """Return the operand; None when its type is one whose size is not known here."""
    if dtype == TENSOR_LIST:
        return _list_of_tensors(shape)
    if not isinstance(dtype, str):
        return PLACEHOLDER  # a list of tensors, of older versions
    if dtype not in _DTYPES:
        # "", Scalar, ScalarList, GenericList… have no shape; anything else with one is unknown to
        # us
        return None if shape else PLACEHOLDER
    if not _are_sizes(shape):
        return None
    name, itemsize = _DTYPES[dtype]
    dims = tuple(shape)
    steps = tuple(strides) if _are_sizes(strides) and len(strides) == len(dims) else None
    layout = _layout(dims, steps)
    in_bytes = tuple(s * itemsize for s in steps) if steps and layout is Layout.STRIDED else ()
    return Operand(name, dims, layout, in_bytes, itemsize=itemsize)


def _list_of_tensors(shapes: Any) -> Operand | None:
    """Return all tensors of a list as one operand; of which type they are is not recorded."""
    if not isinstance(shapes, list) or not all(map(_are_sizes, shapes)):
        return None
    n = sum(math.prod(shape) for shape in shapes)
    return Operand(LIST_DTYPE, (n,), Layout.OTHER, itemsize=0) if n < MAX_DIM else None


def _are_sizes(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MAX_NDIM:
        return False
    return all(type(d) is int and 0 <= d < MAX_DIM for d in value)


def _layout(dims: tuple[int, ...], strides: tuple[int, ...] | None) -> Layout:
    """Return the layout; C-contiguous where strides were not recorded (the reader warns)."""
    if strides is None or 0 in dims or _contiguous(dims[::-1], strides[::-1]):
        return Layout.C
    return Layout.F if _contiguous(dims, strides) else Layout.STRIDED


def _contiguous(dims: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the first dimension given is the fastest and there are no gaps."""
    expected = 1
    for d, s in zip(dims, strides, strict=True):
        if d != 1 and s != expected:
            return False
        expected *= d
    return True


# `c10::DeviceType`: what the allocators of torch write into their events.
_CPU, _DEVICES = 0, {1, 6, 12, 20}  # CUDA; HIP, XPU, PrivateUse1
BYTES_PER_MB = 1e6


def memory_readings(args: dict[str, Any]) -> tuple[int | None, list[tuple[str, float]]]:
    """Return what a ``[memory]`` event tells: the device (None: the host), and series with their values in MB.

    The bytes are those after the allocation (or release) that the event stands for.

    Example:
        >>> memory_readings({"Device Type": 1, "Device Id": 0, "Total Allocated": 5e6, "Total Reserved": 8e6})
        (0, [('device_allocated_mb', 5.0), ('device_reserved_mb', 8.0)])
    """
    sort, device = args.get("Device Type"), args.get("Device Id")
    allocated, reserved = args.get("Total Allocated"), args.get("Total Reserved")
    if type(sort) is not int or not _is_size(allocated):
        return None, []
    if sort == _CPU:
        return None, [("torch_allocated_mb", allocated / BYTES_PER_MB)]
    if sort not in _DEVICES or type(device) is not int:
        return None, []
    found = [("device_allocated_mb", allocated / BYTES_PER_MB)]
    if _is_size(reserved):
        found.append(("device_reserved_mb", reserved / BYTES_PER_MB))
    return device, found


def _is_size(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 <= value < MAX_DIM

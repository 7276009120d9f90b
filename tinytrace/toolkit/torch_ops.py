"""PyTorch's operations as they are dispatched: names, arguments, outputs, module. Loaded only where torch is.

torch.profiler records no outputs; here they are seen, and so is which tensors are the same memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from tinytrace.analysis.aten_calls import LIST_DTYPE, PLACEHOLDER, kept_attributes
from tinytrace.analysis.aten_outputs import SCALAR_TYPES
from tinytrace.analysis.aten_table import schemas_of
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

NO_OPERATIONS = ("profiler", "prim")  # namespaces of marks and of questions
NUMBERS_OF_TYPES = {name: number for number, (name, _) in SCALAR_TYPES.items()}


class TorchOp(NamedTuple):
    """One call.

    Attributes:
        signature: arguments in the order of the schema, then outputs, see `tinytrace.analysis.aten_calls`.
        layer: path of the innermost module around, ``blocks.2.attn.q_proj``; ``""``: the model itself, or none.
        dur_ns: how long it took; on a GPU, how long it took to launch it.
    """

    signature: Signature
    layer: str
    dur_ns: int


@dataclass
class Modules:
    """Which module runs: paths of those that were entered and not left."""

    root: Any  # the model whose paths need no name in front
    open: list[str] = field(default_factory=list)
    _paths: dict[int, str] = field(default_factory=dict)

    def enter(self, module: Any, inputs: Any) -> None:
        """Take a module that is about to run."""
        if not self.open:
            above = "" if module is self.root else type(module).__name__
            self._paths = {
                id(one): ".".join(filter(None, (above, path)))
                for path, one in module.named_modules()
            }
        self.open.append(self._paths.get(id(module), type(module).__name__))

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        """Take a module that has run, or raised."""
        if self.open:
            self.open.pop()

    @property
    def current(self) -> str:
        """The innermost one that runs."""
        return self.open[-1] if self.open else ""


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation of this thread; those of its backward passes too."""

    def __init__(self, modules: Modules) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[TorchOp] = []
        self._modules = modules

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note it if it did not raise."""
        kwargs = kwargs or {}
        begin_ns = time.perf_counter_ns()
        result = func(*args, **kwargs)
        dur_ns = time.perf_counter_ns() - begin_ns
        if func.namespace in NO_OPERATIONS:
            return result
        try:
            signature = signature_of(func, args, kwargs, result)
        except Exception:  # tensors that are none inside, such as nested ones: uncounted, never the model's problem
            signature = Signature(func._schema.name, (), 0, "+")
        self.ops.append(TorchOp(signature, self._modules.current, dur_ns))
        return result


@contextmanager
def dispatched_ops(model: Any) -> Iterator[list[TorchOp]]:
    """Note the operations that run in this thread meanwhile; the list is filled as they run."""
    modules = Modules(model)
    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(modules.enter).remove)
        stack.callback(register_module_forward_hook(modules.leave, always_call=True).remove)
        yield stack.enter_context(Dispatched(modules)).ops


def signature_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Signature:
    """Return the signature of a call: an operand per argument of the schema, then the outputs.

    Args:
        func: the overload that was called.
        args: as they were given; the schema's defaults stand for those that were not.
        kwargs: likewise.
        result: what it returned.
    """
    arguments = func._schema.arguments
    given = list(args)
    for argument in arguments[len(given) :]:
        default = argument.default_value if argument.has_default_value() else None
        given.append(kwargs.get(argument.name, default))
    name = func._schema.name
    known = _Known()
    operands = [known.operand(value) for value in given]
    attributes = kept_attributes(schemas_of(name), [_text(value) for value in given])
    lists = [value for value in given if _is_list(value)]
    if lists:
        attributes = f"{attributes};tensors={len(lists[0])}".lstrip(";")
    outputs = [known.operand(one) for one in _outputs(result)]
    return Signature(name, (*operands, *outputs), len(operands), attributes)


class _Known:
    """The operands of one call so far: memory that is seen again is an alias."""

    def __init__(self) -> None:
        self._seen: dict[object, int] = {}
        self._count = 0

    def operand(self, value: Any) -> Operand:
        """Return what stands for an argument or a result."""
        place, self._count = self._count, self._count + 1
        if isinstance(value, torch.Tensor):
            found = _tensor(value)
            alias = self._seen.setdefault(_memory(value), place)
            if alias == place:
                return found
            return Operand(
                found.dtype, found.shape, found.layout, found.strides, alias, found.itemsize
            )
        return _list_of(value) if _is_list(value) else PLACEHOLDER


def _memory(tensor: torch.Tensor) -> object:
    """Return what is equal for tensors of the same memory, shape and strides."""
    try:
        storage = tensor.untyped_storage()._cdata
        return storage, tensor.storage_offset(), tensor.shape, tensor.stride()
    except (RuntimeError, NotImplementedError):  # has no storage: sparse, or wrapped by functorch
        return id(tensor)


def _tensor(tensor: torch.Tensor) -> Operand:
    name, itemsize = str(tensor.dtype).removeprefix("torch."), tensor.element_size()
    shape = tuple(int(size) for size in tensor.shape)
    if tensor.layout is not torch.strided or tensor.is_nested:
        return Operand(name, shape, Layout.OTHER, itemsize=itemsize)
    if tensor.is_contiguous():
        return Operand(name, shape, itemsize=itemsize)
    strides = tuple(int(step) * itemsize for step in tensor.stride())
    return Operand(name, shape, Layout.STRIDED, strides, itemsize=itemsize)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value)


def _list_of(tensors: Sequence[Any]) -> Operand:
    """Return all tensors of a list as one operand, see `tinytrace.analysis.aten_calls`."""
    found = [_tensor(one) for one in tensors if isinstance(one, torch.Tensor)]
    types = {(one.dtype, one.itemsize) for one in found}
    n = sum(one.elements for one in found)
    if len(types) != 1:
        return Operand(LIST_DTYPE, (n,), Layout.OTHER, itemsize=0)
    dtype, itemsize = types.pop()
    return Operand(dtype, (n,), itemsize=itemsize)


def _outputs(result: Any) -> list[Any]:
    """Return the tensors (and lists of them) that were returned."""
    if isinstance(result, torch.Tensor) or _is_list(result):
        if isinstance(result, tuple):  # several results, not one that is a list
            return [one for one in result if isinstance(one, torch.Tensor) or _is_list(one)]
        return [result]
    return []


def _text(value: Any) -> str | None:
    """Return a value as torch.profiler writes it; None: one that decides nothing."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, torch.dtype):
        return NUMBERS_OF_TYPES.get(str(value).removeprefix("torch."))
    if isinstance(value, (list, tuple)) and all(isinstance(v, (bool, int)) for v in value):
        return str(list(value))
    return None


def synchronized(
    call: Callable[[], Any],
    in_use: Callable[[], bool] = torch.cuda.is_initialized,
    wait: Callable[[], object] = torch.cuda.synchronize,
) -> Callable[[], Any]:
    """Return a call that ends when what it started on a GPU has ended; itself where no GPU is used.

    Args:
        call: is called; launching its kernels may be all that it waits for.
        in_use: whether the GPU is used in this process.
        wait: waits for the GPU.
    """

    def waited() -> Any:
        result = call()
        wait()
        return result

    return waited if in_use() else call


def input_like(model: torch.nn.Module, values: NDArray[Any]) -> torch.Tensor:
    """Return an input of these values where the parameters of a model are, in their type."""
    parameter = next(model.parameters())
    return torch.from_numpy(values).to(parameter)

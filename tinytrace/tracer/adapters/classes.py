"""What a class of a NumPy framework is for, told from its own dictionary alone.

Nothing of an object is evaluated here, and nothing of the program's code runs: half-finished classes, properties
with side effects and metaclasses of any sort are only looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from types import FunctionType
from typing import Any, Literal

Role = Literal[
    "op", "walk", "forward", "backward", "layer", "layer backward", "step", "next", "batches"
]
"""What calls of a function are: an op of a tensor; the backward pass; a node's forward or backward; a layer, and
its own backward; an optimizer's step; the next batch, of a loader or of the generator that its ``__iter__`` is."""

TENSORS = frozenset(["Tensor", "Variable"])
FUNCTION = "Function"
_ARITHMETIC = ("add", "sub", "mul", "truediv", "matmul", "pow")
OPERATORS = frozenset(
    [f"__{way}{name}__" for name in _ARITHMETIC for way in ("", "r", "i")]
    + ["__neg__", "__abs__", "__getitem__"]
)
# Methods of tensors that lead out of them, or change no value. Others that return no tensor are told by that.
NO_OPS = frozenset(["numpy", "item", "tolist", "zero_grad", "backward"])
GENERATOR = 0x20  # inspect.CO_GENERATOR, without importing it
NUMPY = "numpy"

_namespace_of = type.__dict__["__dict__"].__get__
_mro_of = type.__dict__["__mro__"].__get__
_module_of = type.__dict__["__module__"].__get__
_name_of = type.__dict__["__name__"].__get__


def namespace(cls: type) -> Mapping[str, Any]:
    """Return the class's own dictionary, whatever its metaclass says."""
    found: Mapping[str, Any] = _namespace_of(cls)
    return found


def mro(cls: type) -> tuple[type, ...]:
    """Return the classes that it inherits from, itself first."""
    found: tuple[type, ...] = _mro_of(cls)
    return found


def name_of(cls: type) -> str:
    """Return its name."""
    return str(_name_of(cls))


def module_of(cls: type) -> str:
    """Return the name of the module that it says it was made in; "": it says nothing."""
    try:
        name = _module_of(cls)
    except AttributeError:
        return ""
    return name if isinstance(name, str) else ""


def is_of(cls: type, modules: Collection[str]) -> bool:
    """Whether it was made in one of these modules, of classes of these, of Python's own or of NumPy's.

    A class that inherits from another library's is that library's business.
    """
    if module_of(cls) not in modules:
        return False
    for base in mro(cls)[1:]:
        name = module_of(base)
        root = name.partition(".")[0]
        if name not in modules and root not in sys.stdlib_module_names and root != NUMPY:
            return False
    return True


def is_tensor(cls: type) -> bool:
    """Whether it, or what it inherits from, is called as tensors are, and has data and a shape or a backward pass.

    Example:
        >>> class Tensor:
        ...     def __init__(self, data): self.data, self.shape = data, data.shape
        >>> class Variable: "No data."
        >>> is_tensor(Tensor), is_tensor(Variable)
        (True, False)
    """
    return any(name_of(base) in TENSORS and _holds_data(base) for base in mro(cls)[:-1])


def _holds_data(cls: type) -> bool:
    own = namespace(cls)
    slots = own.get("__slots__", ())
    made = own.get("__init__")
    told = made.__code__.co_names if isinstance(made, FunctionType) else ()
    names = {*own, *told, *(slots if isinstance(slots, (tuple, list)) else ())}
    return "data" in names and not names.isdisjoint({"shape", "backward"})


def is_function(cls: type) -> bool:
    """Whether it is a node of a graph: there is a class called Function in its MRO."""
    return any(name_of(base) == FUNCTION for base in mro(cls))


def roles(cls: type) -> dict[str, Role]:
    """Return what the functions in a class's own dictionary are, by name.

    Example:
        >>> class Linear:
        ...     def forward(self, x): ...
        ...     def parameters(self): ...
        >>> class SGD:
        ...     def zero_grad(self): ...
        ...     def step(self): ...
        >>> class Function:
        ...     def apply(self, gradient): ...
        >>> class Mul(Function):
        ...     @classmethod
        ...     def apply(cls, a, b): ...
        >>> [roles(cls) for cls in (Linear, SGD, Function, Mul)]
        [{'forward': 'layer'}, {'step': 'step'}, {'apply': 'backward'}, {'apply': 'forward'}]
    """
    own = namespace(cls)
    if is_tensor(cls):
        return {name: role for name in own if (role := _of_tensor(name, own[name]))}
    if is_function(cls):
        return _of_function(cls, own)
    found: dict[str, Role] = {}
    if isinstance(own.get("forward"), FunctionType):
        found["forward"] = "layer"
    if isinstance(own.get("backward"), FunctionType) and _inherits(cls, "forward"):
        found["backward"] = "layer backward"
    if isinstance(own.get("step"), FunctionType) and _inherits(cls, "zero_grad"):
        found["step"] = "step"
    iterates = own.get("__iter__")
    if isinstance(iterates, FunctionType) and _tells(cls, "batch_size"):
        if isinstance(own.get("__next__"), FunctionType):
            found["__next__"] = "next"
        elif iterates.__code__.co_flags & GENERATOR:
            found["__iter__"] = "batches"
    return found


def _of_tensor(name: str, value: Any) -> Role | None:
    if not isinstance(value, FunctionType):
        return None
    if name == "backward":
        return "walk"
    is_op = name in OPERATORS or (not name.startswith("_") and name not in NO_OPS)
    return "op" if is_op else None


def _of_function(cls: type, own: Mapping[str, Any]) -> dict[str, Role]:
    found: dict[str, Role] = {}
    applies = next((space["apply"] for c in mro(cls) if "apply" in (space := namespace(c))), None)
    forward_by_apply = isinstance(applies, (staticmethod, classmethod))
    if "apply" in own:
        if isinstance(own["apply"], (staticmethod, classmethod)):
            found["apply"] = "forward"
        elif isinstance(own["apply"], FunctionType):
            found["apply"] = "backward"
    for name, role in (("backward", "backward"), ("forward", "forward")):
        value = own.get(name)
        if name == "forward" and forward_by_apply:
            continue
        if isinstance(value, (FunctionType, staticmethod, classmethod)):
            found[name] = role  # type: ignore[assignment]
    return found


def _inherits(cls: type, name: str) -> bool:
    return any(name in namespace(base) for base in mro(cls))


def _tells(cls: type, name: str) -> bool:
    """Whether it has an attribute, or its ``__init__`` speaks of one."""
    made = (namespace(base).get("__init__") for base in mro(cls))
    return _inherits(cls, name) or any(
        isinstance(m, FunctionType) and name in m.__code__.co_names for m in made
    )

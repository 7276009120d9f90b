"""Hooks into NumPy from Python alone, for where there is no compiler: a `HookBackend`.

What a hooked call does is in `pycalls`.
"""

from __future__ import annotations

import struct
import sys
import time
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from tinytrace.tracer.pyarrays import ArrayReader
from tinytrace.tracer.pycalls import Calls, Places
from tinytrace.tracer.pyoperands import Hook
from tinytrace.tracer.pysignatures import Signatures
from tinytrace.tracer.pyslots import CallPatch, DictPatch, modified, type_dict
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Policy
from tinytrace.tracer.segments import WORDS_PER_RECORD
from tinytrace.tracer.thread_writer import ThreadWriter

PACKAGES = ("numpy", "scipy")  # whose modules hold the functions that are replaced
# Methods that count the references to their object, which a Python function in between would raise.
COUNTS_REFERENCES = {"resize"}


class _Builtin(staticmethod):  # type: ignore[type-arg]
    """Stands for a builtin function: like one, it does not become a method in a class."""

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)  # pickled by name

    def __getattr__(self, name: str) -> Any:
        hooked: Any = self.__wrapped__
        return getattr(hooked.__wrapped__, name)  # __self__, __text_signature__


class PythonHooks:
    """The hooks of the recorder in Python.

    Args:
        recorder: is given every op.

    Attributes:
        unseen: what is not recorded, as sentences.
    """

    _installed: PythonHooks | None = None

    def __init__(self, recorder: PythonRecorder) -> None:
        """Prepare; nothing is hooked before `attach` and the ``install_…`` methods."""
        self._recorder = recorder
        self._patches: list[CallPatch | DictPatch] = []
        self._types: dict[type, CallPatch] = {}
        self._hooks: dict[int, Hook] = {}  # by id of the object
        self._objects: list[Any] = []  # keeps the ids in _hooks meaningful
        self._places = Places(recorder)
        self._by_name: dict[str, list[tuple[dict[str, Any], str, Any]]] = {}
        self._scanned: set[str] = set()
        self._calls: Calls
        self._ufunc: type
        self.unseen: list[str] = []

    # ---- installing ----

    def attach(self, ufunc_type: type, /) -> None:
        """See `HookBackend.attach`. Hooks of a recorder before us, as after a fork, come off."""
        if PythonHooks._installed not in {None, self}:
            PythonHooks._installed.uninstall()
        PythonHooks._installed = self
        self._ufunc = ufunc_type
        reader = ArrayReader(sys.modules[ufunc_type.__module__])
        signatures = Signatures(reader, self._recorder.tables.signature)
        self._calls = Calls(self._recorder, signatures, ufunc_type)
        self._recorder.op_cost = self.op_cost

    def install_call(self, obj: Any, op: int, n_in: int, policy: int, /) -> None:
        """See `HookBackend.install_call`.

        Raises:
            TypeError: an object whose calls cannot be told from those of unrelated ones.
        """
        cls = type(obj)
        if cls in {BuiltinFunctionType, MethodDescriptorType, FunctionType, MethodType, type}:
            raise TypeError(f"{obj!r} cannot be hooked by its type")
        if cls not in self._types:
            traced = self._traced(cls.__dict__.get("__call__"), None)
            self._types[cls] = CallPatch(cls, traced)
            self._patches.append(self._types[cls])
        call = None
        if n_in in {1, 2} and not policy & ~Policy.ATTRIBUTES:
            call = self._types[cls].original_call.__get__(obj)
        self._objects.append(obj)
        self._hooks[id(obj)] = Hook(op, policy, n_in, self._bare(op), True, call=call)

    def install_method(self, owner: Any, name: str, op: int, policy: int, /) -> None:
        """See `HookBackend.install_method`.

        Raises:
            AttributeError: there is no such method.
            TypeError: it is none of C, or would behave otherwise under a hook.
        """
        if name in COUNTS_REFERENCES:
            raise TypeError(f"{name} counts references, which a hook in Python would change")
        self._scan()
        if isinstance(owner, type):
            self._install_type_method(owner, name, op, policy)
        else:
            self._install_builtin(owner, name, op, policy)

    def _install_type_method(self, owner: type, name: str, op: int, policy: int) -> None:
        entries = type_dict(owner)
        original = entries.get(name)
        if original is None:
            raise AttributeError(f"{owner!r} has no method {name!r} of its own")
        if isinstance(original, FunctionType) or not callable(original):
            raise TypeError(f"{name!r} of {owner!r} is not a C method")
        of_ufunc = name if owner is self._ufunc else ""
        traced = self._traced(original, Hook(op, policy, -1, self._bare(op), True, of_ufunc))
        self._name(traced, original, owner.__module__, f"{owner.__qualname__}.{name}")
        self._patches.append(DictPatch(entries, name, traced, lambda: modified(owner)))
        for namespace, key, obj in self._by_name.get(name, ()):
            if isinstance(getattr(obj, "__self__", None), owner):  # sum = add.reduce
                self._replace(namespace, key, obj, MethodType(traced, obj.__self__))

    def _install_builtin(self, module: Any, name: str, op: int, policy: int) -> None:
        original = getattr(module, name)
        if type(original) is not BuiltinFunctionType:
            raise TypeError(f"{name!r} of {module!r} is not a builtin function")
        traced = self._traced(original, Hook(op, policy, -1, self._bare(op), False))
        self._name(traced, original, original.__module__ or module.__name__, original.__qualname__)
        hooked = _Builtin(traced)
        self._replace(vars(module), name, original, hooked)
        for namespace, key, obj in self._by_name.get(name, ()):
            if obj is original:
                self._replace(namespace, key, obj, hooked)

    def _traced(self, original: Any, fixed: Hook | None) -> FunctionType:
        return self._calls.traced(original, fixed, self._hooks, self._places)

    def _bare(self, op: int) -> int:
        """Return the signature of an op without operands."""
        return self._recorder.tables.signature(struct.pack("<Q", op))

    def _replace(self, namespace: dict[str, Any], name: str, original: Any, value: Any) -> None:
        if namespace.get(name) is original:
            self._patches.append(DictPatch(namespace, name, value, lambda: None))

    @staticmethod
    def _name(traced: FunctionType, original: Any, module: str, qualname: str) -> None:
        traced.__name__ = original.__name__
        traced.__qualname__ = qualname
        traced.__module__ = module
        traced.__doc__ = original.__doc__
        traced.__wrapped__ = original  # type: ignore[attr-defined]  # for inspect.signature
        traced.__text_signature__ = original.__text_signature__  # type: ignore[attr-defined]

    def _scan(self) -> None:
        """Find the C functions that NumPy's modules hold under names of their own."""
        for key, module in list(sys.modules.items()):
            if key in self._scanned or key.partition(".")[0] not in PACKAGES:
                continue
            self._scanned.add(key)
            if isinstance(module, ModuleType):
                for name, obj in list(vars(module).items()):
                    if type(obj) is BuiltinFunctionType:
                        entry = (vars(module), name, obj)
                        self._by_name.setdefault(obj.__name__, []).append(entry)

    def install_indexing(self, array_type: type, get_op: int, set_op: int, /) -> None:
        """See `HookBackend.install_indexing`. Not done: ``a[i]`` would take several times longer."""
        self.unseen.append(
            "fancy indexing and assignment were not recorded: that takes the compiled core"
        )

    def install_memory(self) -> None:
        """See `HookBackend.install_memory`. Not done: NumPy's allocator calls C functions only."""
        self.unseen.append("array memory was not counted: that takes the compiled core")

    def uninstall(self) -> list[str]:
        """See `HookBackend.uninstall`."""
        problems = [patch.undo() for patch in reversed(self._patches)]
        self._patches.clear()
        self._types.clear()
        self._hooks.clear()
        self._objects.clear()
        if PythonHooks._installed is self:
            PythonHooks._installed = None
        return [problem for problem in problems if problem]

    def op_cost(self, ufunc: Any, *operands: Any) -> int:
        """Return what recording a call of a ufunc takes, in ns: the best of five rounds.

        They are recorded into memory of our own; the time of the operation itself is subtracted.
        """
        recorder, calls = self._recorder, 500
        patch = self._types.get(type(ufunc))
        before = getattr(recorder.local, "writer", None)
        if patch is None or before is None or id(ufunc) not in self._hooks:
            return 0
        scratch = ThreadWriter(0, 0, 0, before.generation, 0)
        scratch.words = memoryview(bytearray(calls * 8 * WORDS_PER_RECORD)).cast("Q")
        scratch.end = calls
        unhooked, best = patch.original_call, []
        recorder.local.writer = scratch
        try:
            for _ in range(5):
                scratch.next = 0
                started = time.perf_counter_ns()
                for _ in range(calls):
                    ufunc(*operands)
                hooked = time.perf_counter_ns()
                for _ in range(calls):
                    unhooked(ufunc, *operands)
                best.append((2 * hooked - started - time.perf_counter_ns()) // calls)
        finally:
            recorder.local.writer = before
        return max(0, min(best))

"""Replacing what C types and modules hold, from Python and without a compiler; and putting it back.

CPython 3.10 to 3.13. A C type's ``__dict__`` is read-only for Python, but the dict behind it can be
had from the garbage collector; slots are plain words at known offsets.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

WORD = ctypes.sizeof(ctypes.c_void_p)
# The fields of PyTypeObject behind its PyObject_VAR_HEAD, the same in 3.10 to 3.13.
FIELDS = (
    "tp_name", "tp_basicsize", "tp_itemsize", "tp_dealloc", "tp_vectorcall_offset", "tp_getattr",
    "tp_setattr", "tp_as_async", "tp_repr", "tp_as_number", "tp_as_sequence", "tp_as_mapping",
    "tp_hash", "tp_call", "tp_str", "tp_getattro", "tp_setattro", "tp_as_buffer", "tp_flags",
)  # fmt: skip
HAVE_VECTORCALL = 1 << 11


class _Callable:
    """A class whose ``tp_call`` is the slot that looks ``__call__`` up in the type."""

    def __call__(self) -> None:
        """Do nothing."""


def _field(cls: type, name: str) -> ctypes.c_size_t:
    """Return a field of a type, as a word that can be written.

    Raises:
        TypeError: this interpreter lays types out in another way.
    """

    def at(field: str) -> ctypes.c_size_t:
        offset = object.__basicsize__ + WORD + WORD * FIELDS.index(field)
        return ctypes.c_size_t.from_address(id(cls) + offset)

    # tp_flags holds bits that type.__flags__ shows too, before and behind the field that is wanted
    if at("tp_basicsize").value != cls.__basicsize__ or at("tp_flags").value != cls.__flags__:
        raise TypeError(f"types of this Python are not laid out as expected: {cls!r}")
    return at(name)


def type_dict(cls: type) -> dict[str, Any]:
    """Return the dict behind a type's read-only ``__dict__``."""
    found: dict[str, Any] = gc.get_referents(cls.__dict__)[0]
    return found


class DictPatch:
    """One entry of a dict, replaced. ``changed`` is called after each change."""

    def __init__(
        self, entries: dict[str, Any], name: str, value: Any, changed: Callable[[], object]
    ) -> None:
        """Replace the entry."""
        self._entries, self._name, self._value = entries, name, value
        self._changed = changed
        self._original = entries[name]
        entries[name] = value
        changed()

    def undo(self) -> str | None:
        """Put back what was there; returns why that was not done."""
        if self._entries.get(self._name) is not self._value:
            return f"{self._name!r} was changed by someone else and was left as it is"
        self._entries[self._name] = self._original
        self._changed()
        if self._entries[self._name] is not self._original:
            return f"{self._name!r} could not be put back"
        return None


class CallPatch:
    """All calls of a C type's objects go to a Python function, which gets the object first."""

    def __init__(self, cls: type, function: Callable[..., Any]) -> None:
        """Replace the type's call.

        Raises:
            TypeError: the type is laid out in another way, or inherits its call.
        """
        if "__call__" not in cls.__dict__:
            raise TypeError(f"{cls!r} has no call of its own")
        self.cls = cls
        self.original_call = cls.__dict__["__call__"]
        self._slot, self._flags = _field(cls, "tp_call"), _field(cls, "tp_flags")
        self._original_slot = self._slot.value
        self._vectorcall = self._flags.value & HAVE_VECTORCALL
        self._generic = _field(_Callable, "tp_call").value
        self._entry = DictPatch(type_dict(cls), "__call__", function, lambda: None)
        self._slot.value = self._generic
        self._flags.value &= ~HAVE_VECTORCALL
        modified(cls)

    def undo(self) -> str | None:
        """Put back what was there; returns why that was not done."""
        if self._slot.value != self._generic or self._flags.value & HAVE_VECTORCALL:
            return f"the call of {self.cls!r} was changed by someone else and was left as it is"
        problem = self._entry.undo()
        self._slot.value = self._original_slot
        self._flags.value |= self._vectorcall
        modified(self.cls)
        return problem


def modified(cls: type) -> None:
    """Tell the interpreter that a type has changed: its caches of attributes are void."""
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def set_handled_traceback(problem: BaseException, traceback: Any) -> None:
    """Give the exception that is being handled another traceback, for a bare ``raise``.

    Python 3.10 keeps the traceback beside the exception; later ones take it from there.
    """
    api = ctypes.pythonapi
    values = (type(problem), problem, traceback)
    for value in values:
        if value is not None:
            api.Py_IncRef(ctypes.py_object(value))  # PyErr_SetExcInfo takes over the references
    pointers = [ctypes.c_void_p(None if value is None else id(value)) for value in values]
    api.PyErr_SetExcInfo(*pointers)

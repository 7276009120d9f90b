"""Patches to other people's code: made and undone in one place, last in first out, checked.

A backend knows *how* an object is hooked (compiled: `tinytrace.tracer._native`; in Python:
`tinytrace.tracer.pyhooks`); the adapters know *what* is hooked.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

_IMPORTLIB = "<frozen importlib._bootstrap_external>"


class HookBackend(Protocol):
    """How calls of other people's objects become ops. Policies are `records.Policy` bits."""

    def attach(self, ufunc_type: type, /) -> None:
        """Take hold of NumPy, which the program has just imported."""

    def install_call(self, obj: Any, op: int, n_in: int, policy: int, /) -> None:
        """Record calls of this one object; positional arguments beyond ``n_in`` are outputs (−1: none)."""

    def install_method(self, owner: Any, name: str, op: int, policy: int, /) -> None:
        """Record a C method of a type, or a builtin function of a module."""

    def install_indexing(self, array_type: type, get_op: int, set_op: int, /) -> None:
        """Record indexing and assignment that copies."""

    def install_memory(self) -> None:
        """Count array memory."""

    def uninstall(self) -> list[str]:
        """Undo everything, last in first out; returns what could not be undone, as sentences."""


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function once, right after the program has imported a module; imports nothing itself.

    It stands first in ``sys.meta_path``, lets the other finders find, and wraps the loader of the
    awaited modules only.
    """

    def __init__(self) -> None:
        """Await nothing yet."""
        self._awaited: dict[str, list[Callable[[ModuleType], None]]] = {}

    def add(self, module: str, call: Callable[[ModuleType], None]) -> None:
        """Call ``call(module)`` after ``module`` was imported; at once if it has been already."""
        present = sys.modules.get(module)
        if present is not None:
            call(present)
            return
        self._awaited.setdefault(module, []).append(call)
        if self not in sys.meta_path:
            # A forked process has inherited the one of its parent, which would call us, and we it.
            sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, AfterImport)]
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Await nothing any more."""
        self._awaited.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        """Find awaited modules through the other finders, and have their loading reported."""
        calls = self._awaited.get(fullname)
        if not calls:
            return None
        for finder in [f for f in sys.meta_path if f is not self]:
            find = getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find else None
            if spec is not None:
                break
        else:
            return None
        loader = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        original = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            loader.__dict__.pop("exec_module", None)
            original(module)
            for call in self._awaited.pop(fullname, []):
                call(module)

        # A failing import is reported without frames of importlib: ours passes for one.
        exec_module.__code__ = exec_module.__code__.replace(co_filename=_IMPORTLIB)
        loader.exec_module = exec_module
        return spec

"""Names of torch modules by where they are: ``blocks.2.attn.q_proj``."""

from __future__ import annotations

import json
import threading
import weakref
from typing import Any

from tinytrace.tracer.records import Flag, Kind

# What a wrapper calls the model inside it: it is no part of the path.
WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
MAX_SCANS = 64  # of one root: a model that makes a module per call is not searched for ever

MAX_ROOTS = 4096  # then those that are gone are forgotten: a loss may be made in each step


class _Root:
    """A module that was called from outside of all others, and the labels of those in it."""

    def __init__(self, module: Any) -> None:
        self.module = weakref.ref(module)
        self.names: dict[int, tuple[weakref.ref[Any], str]] = {}
        self.scans = 0

    def scan(self) -> None:
        """Take the names of all modules in it, as they are now."""
        self.scans += 1
        root = self.module()
        if root is None:
            return
        for name, module in root.named_modules():
            if name:
                self.names[id(module)] = weakref.ref(module), _without_wrappers(name)

    def name_of(self, module: Any) -> str | None:
        """Return the path of a module; None: it is none of this one's."""
        found = self.names.get(id(module))
        if found is None or found[0]() is not module:  # an id is used again
            if self.scans >= MAX_SCANS:
                return None
            self.scan()
            found = self.names.get(id(module))
        return found[1] if found is not None and found[0]() is module else None


class Layers:
    """Spans of calls of modules, in whichever thread.

    Args:
        recorder: of this recording.
    """

    def __init__(self, recorder: Any) -> None:
        """Nothing was called yet."""
        self._recorder = recorder
        self._roots: dict[int, _Root] = {}
        self._labels: dict[tuple[str, type], int] = {}
        self._open = _Open()

    @property
    def depth(self) -> int:
        """How many calls of modules are open in this thread."""
        return len(self._open.roots)

    def before(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> int:
        """Begin the span of a call; the first argument is the module."""
        module = args[0]
        roots = self._open.roots
        if roots:
            root = roots[-1]
            name = root.name_of(module)
        else:
            root = self._root(module)
            name = None
        roots.append(root)
        return int(self._recorder.begin(Kind.LAYER, self._label(name, type(module))))

    def after(self, token: int, _result: Any, raised: bool) -> None:
        """End it."""
        roots = self._open.roots
        if roots:
            roots.pop()
        self._recorder.end(token, Flag.RAISED if raised else 0)

    def _root(self, module: Any) -> _Root:
        root = self._roots.get(id(module))
        if root is None or root.module() is not module:
            if len(self._roots) >= MAX_ROOTS:
                self._roots = {i: r for i, r in self._roots.items() if r.module() is not None}
            root = self._roots[id(module)] = _Root(module)
        return root

    def _label(self, name: str | None, cls: type) -> int:
        key = name or "", cls
        label = self._labels.get(key)
        if label is None:
            described = json.dumps({"module": f"{cls.__module__}.{cls.__qualname__}"})
            label = self._labels[key] = int(self._recorder.label(name or cls.__name__, described))
        return label


class _Open(threading.local):
    """Of one thread: the roots of the calls that are open, the outermost first."""

    def __init__(self) -> None:
        self.roots: list[_Root] = []


def _without_wrappers(name: str) -> str:
    """Return a path without the names that wrappers give to what they wrap.

    >>> _without_wrappers("module.blocks.0"), _without_wrappers("_orig_mod.fc"), _without_wrappers("module")
    ('blocks.0', 'fc', 'module')
    """
    while (inner := name.removeprefix(next(filter(name.startswith, WRAPPERS), ""))) != name:
        name = inner
    return name

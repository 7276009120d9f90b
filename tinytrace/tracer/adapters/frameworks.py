"""TinyTorch and its like: any framework of tensors, functions, layers and optimizers on NumPy, seen by protocol.

Classes of the program are looked at when an operation comes from code that was not met before: what was imported since,
the script itself, and what the program has put into classes. No import is hooked, nothing waits, and there is
no patched ``exec`` or ``__build_class__``.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from tinytrace.tracer.adapters.classes import is_of, is_tensor, mro, namespace, roles
from tinytrace.tracer.adapters.framework_calls import Calls
from tinytrace.tracer.adapters.seen import FEW_FROM_C, MAX_NESTED, Seen
from tinytrace.tracer.launcher import PACKAGE_ROOT

if TYPE_CHECKING:
    from tinytrace.tracer.adapters.registry import Adapting

MAIN = "__main__"
# Modules in these folders are no program's own: those of libraries are looked at only where a framework is in them.
LIBRARIES = ("/site-packages/", "/dist-packages/")
# A backward pass may call itself for every tensor; the outermost call is a span. As deep as Python's own limit.
MAX_WALK = 200 if FEW_FROM_C else 1_000
MAX_IN_PYTHON = (
    20  # without the compiled core: there every call has a frame of ours, of a program's 1,000
)
_STANDARD = tuple({f"{p}/lib/python" for p in (sys.base_prefix, sys.prefix)})
_OURS = f"{PACKAGE_ROOT}/tinytrace/"
_subclasses_of = type.__subclasses__

_placed: list[Frameworks] = []  # a forked process has inherited those of its parent


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Have all classes be as the program made them meanwhile, for who puts functions there and takes them back.


    Example:
        >>> with unseen():
        ...     pass
    """
    placed = list(_placed)
    for frameworks in placed:
        frameworks.end()
    try:
        yield
    finally:
        for frameworks in placed:
            frameworks.resume()


class Frameworks:
    """What is seen of the program's classes in one recording.

    Args:
        adapting: where to write, how to see calls.
    """

    def __init__(self, adapting: Adapting) -> None:
        """Nothing is seen yet."""
        self._adapting = adapting
        self._layers: set[type] = set()
        self._tensors: set[type] = set()
        self._calls = Calls(adapting.recorder, self._layers, self._tensors)
        self._known: set[str] = set()  # modules that were looked at
        self._modules: set[str] = {MAIN}  # of these, the program's
        self._packages: set[str] = set()  # of libraries that are frameworks
        self._classes: dict[type, int] = {}  # those that were looked at, and how much was in them
        self._bases: list[
            type
        ] = []  # those of which something is seen: there may be subclasses anywhere
        self._seen: dict[tuple[type, str], Seen] = {}
        self._is_looking = False

    def begin(self) -> None:
        """Look at what is there, and at what comes."""
        for earlier in list(_placed):
            earlier.end()
        _placed.append(self)
        self._adapting.at_end(self.end)
        self.look()
        self._adapting.recorder.on_new_place(self.look)

    def end(self) -> None:
        """Put everything back, last in first out."""
        if self in _placed:
            _placed.remove(self)
            self._adapting.recorder.on_new_place(None)
        for seen in reversed(list(self._seen.values())):
            seen.retire()
        self._seen.clear()

    def resume(self) -> None:
        """Go on after `end`, from what the classes are now."""
        self._classes.clear()
        self._bases.clear()
        self._known.clear()
        _placed.append(self)
        self.look()
        self._adapting.recorder.on_new_place(self.look)

    # ---- which modules ----

    def _new_modules(self) -> list[ModuleType]:
        """Return those of the program's that were imported since; with a package, not before it is whole.

        What a package does to its own classes at the end of its import has been done then.
        """
        new = sys.modules.keys() - self._known
        found = []
        for name in sorted(new):
            module = sys.modules.get(name)
            root = name.partition(".")[0]
            if _is_being_imported(module) or _is_being_imported(sys.modules.get(root)):
                continue
            self._known.add(name)
            if root not in sys.stdlib_module_names and self._is_programs(name, module):
                found.append(cast("ModuleType", module))
        return found

    def _is_programs(self, name: str, module: Any) -> bool:
        """Whether a module is the program's own, or of a library that is a framework."""
        file = module.__dict__.get("__file__") if type(module) is ModuleType else None
        if not isinstance(file, str) or file.startswith(_OURS):
            return False
        if any(part in file for part in LIBRARIES):
            if "." not in name and _is_framework(name, module):
                self._packages.add(name)
            if name.partition(".")[0] not in self._packages:
                return False
        elif file.startswith(_STANDARD) or not file.endswith(".py"):
            return False
        self._modules.add(name)
        return True

    # ---- which classes ----

    def look(self) -> None:
        """Look at the classes of the script and of new modules, at those derived from known ones, and for changes."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            modules = self._new_modules() if len(sys.modules) != len(self._known) else []
            for module in (sys.modules.get(MAIN), *modules):
                if module is not None:
                    for value in list(module.__dict__.values()):
                        if issubclass(type(value), type):
                            self._consider(value)
            derived: type
            for base in self._bases:  # grows meanwhile
                for derived in _subclasses_of(base):
                    self._consider(derived)
            for cls, size in list(self._classes.items()):
                if len(namespace(cls)) != size:
                    self._classes.pop(cls)
                    self._consider(cls)
            for seen in list(self._seen.values()):
                if not seen.is_in_place():
                    self._renew(seen)
        except Exception as problem:
            self._adapting.failed(problem)
        finally:
            self._is_looking = False

    def _consider(self, cls: type) -> None:
        if cls in self._classes or cls is type:
            return
        if not is_of(cls, self._modules):
            return
        self._classes[cls] = len(namespace(cls))
        if is_tensor(cls):
            self._tensors.add(cls)
        found = roles(cls)
        if "layer" in found.values() or any(base in self._layers for base in mro(cls)):
            self._layers.add(cls)
        for name in found:
            if (cls, name) not in self._seen:
                self._see(cls, name)
        if found:
            self._bases.append(cls)

    def _see(self, cls: type, name: str) -> None:
        role = roles(cls).get(name)
        if role is None:
            return
        around, failed = self._adapting.around, self._adapting.failed
        most = MAX_WALK if role == "walk" else MAX_NESTED
        if self._adapting.recorder.core != "c":
            most = MAX_IN_PYTHON
        seen = Seen(cls, name, around, failed, max_nested=most, say=self._adapting.say)
        if role == "batches":
            placed = seen.place_instead(self._batches(seen.original, cls))
        else:
            placed = seen.place(*self._calls.of(role, cls, name))
        if placed:
            self._seen[cls, name] = seen

    def _renew(self, seen: Seen) -> None:
        """The program has put something else there, which may call what was there before: that is what is seen now."""
        seen.retire()
        del self._seen[seen.owner, seen.name]
        self._see(seen.owner, seen.name)

    def _batches(self, iterates: FunctionType, cls: type) -> Any:
        """A generator function of a loader → a function that returns one whose steps are seen."""
        before, after = self._calls.of("next", cls, "__next__")
        following = self._adapting.around(
            itertools.chain.__next__, before, after, self._adapting.failed
        )

        class Batches(itertools.chain):  # type: ignore[type-arg]
            """The loader's generator, going on as ever; what else is asked of it is asked of the generator."""

            __next__ = following

            def __getattr__(self, name: str) -> Any:
                return getattr(vars(self)["generator"], name)

        Batches.__name__ = Batches.__qualname__ = "generator"

        def batches_of(*args: Any, **kwargs: Any) -> Iterator[Any]:
            generator = iterates(*args, **kwargs)
            batches = Batches(generator)
            vars(batches)["generator"] = generator
            return batches

        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(batches_of, name, getattr(iterates, name))
        return batches_of


def _is_being_imported(module: Any) -> bool:
    spec = module.__dict__.get("__spec__") if type(module) is ModuleType else None
    return getattr(spec, "_initializing", False) is True


def _is_framework(name: str, module: ModuleType) -> bool:
    """Whether the top of a library has a class of tensors that is written in Python, and nobody else's."""
    cls: Any = module.__dict__.get("Tensor")
    if not issubclass(type(cls), type):
        return False
    inside = {
        m
        for m, other in list(sys.modules.items())
        if m.partition(".")[0] == name and str(getattr(other, "__file__", "")).endswith(".py")
    }
    return is_of(cls, inside) and is_tensor(cls)

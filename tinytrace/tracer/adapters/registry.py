"""Which libraries are recorded beside NumPy: a file each in this folder, loaded when the program imports one.

A file has ``install(adapting, module)``, called once, right after the program has imported the module.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tinytrace.tracer.adapters.frameworks import Frameworks
from tinytrace.tracer.hooks import AfterImport, HookBackend
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Entry
from tinytrace.tracer.wrapping import After, Before, SeenObjects, Wrappings, around_in_python

# The module that the program imports, and the file in this folder that knows it.
LIBRARIES: dict[str, str] = {
    "autograd.core": "autograd",
    "jax": "jax",
    "mpi4py.MPI": "mpi4py",
    "multiprocessing.spawn": "multiprocessing",
    "sklearn.base": "sklearn",
    "torch.distributed.distributed_c10d": "torch_distributed",
    "torch": "torch",
}


class Adapting:
    """What an adapter is given: where to write, how to see calls, how everything is undone.

    Attributes:
        recorder: of this recording.
        hooks: how calls of C and Cython functions become ops.
        options: what the user asked for.
        folder: the store of this process; further files of a recording go here.
        around: makes of a function one that is seen: `wrapping.around_in_python`, or the compiled core's.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        recorder: Any,
        hooks: HookBackend,
        options: Options,
        folder: Path,
        after_import: AfterImport,
        guarded: Callable[[Callable[[ModuleType], None]], Callable[[ModuleType], None]],
        internal: Callable[[str], None],
    ) -> None:
        """See the class.

        ``guarded`` makes of a call one that cannot fail an import of the program's, ``internal`` names files that
        are no call sites.
        """
        self.recorder = recorder
        self.hooks = hooks
        self.options = options
        self.folder = folder
        self._guarded = guarded
        self._internal = internal
        self._after_import = after_import
        self._undo: list[Callable[[], Any]] = []
        self._ticks: list[Callable[[], Any]] = []
        self._said: set[str] = set()
        self.around = recorder.around if recorder.core == "c" else around_in_python
        self._wrappings = Wrappings(self.around, self.failed)

    def begin(self) -> None:
        """Await the libraries of `LIBRARIES`, and look at the program's own classes."""
        Frameworks(self).begin()
        for module, file in LIBRARIES.items():
            self.await_module(module, partial(self._install, file))

    def await_module(self, name: str, call: Callable[[ModuleType], None]) -> None:
        """Call ``call(module)`` after the program has imported it; at once if it has already."""
        self._after_import.add(name, self._guarded(call))

    def internal(self, module: ModuleType) -> None:
        """Take the files of a package for no call sites: ops in it are those of the line that called it."""
        self._internal(str(Path(str(module.__file__)).parent) + os.sep)

    def wrap(self, owner: Any, name: str, before: Before, after: After) -> bool:
        """Have calls of a Python function seen until the end: `Wrappings.wrap`."""
        return self._wrappings.wrap(owner, name, before, after)

    def see_objects(self, before: Before, after: After) -> SeenObjects | None:
        """Return what sees calls of objects of one type until the end; None: pure Python cannot.

        One per recording.
        """
        redirect = getattr(self.recorder, "redirect", None)
        if redirect is None:
            return None
        around = self.recorder.around(_nothing, before, after, self.failed)
        seen = SeenObjects(redirect, around)
        self.at_end(seen.undo)
        return seen

    def at_end(self, undo: Callable[[], Any]) -> None:
        """Call ``undo()`` when recording stops; the last one given is called first."""
        self._undo.append(undo)

    def on_tick(self, call: Callable[[], Any]) -> None:
        """Call ``call()`` some twenty times a second, in a thread of ours, until recording stops."""
        self._ticks.append(call)

    def tick(self) -> None:
        """Make the calls of `on_tick`; one that fails is said, and not made again."""
        for call in list(self._ticks):
            try:
                call()
            except Exception as problem:
                self._ticks.remove(call)
                self.say(f"not watched any more: {problem!r}")

    def say(self, text: str) -> None:
        """Write down a warning of the trace, once."""
        if text not in self._said:
            self._said.add(text)
            self.recorder.put(Entry.WARNING, text.encode("utf-8", "replace"))

    def end(self) -> None:
        """Undo everything, last in first out; what fails is said."""
        self._ticks.clear()
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as problem:
                self.say(f"on stopping: {problem!r}")
        for text in self._wrappings.undo():
            self.say(text)

    def _install(self, file: str, module: ModuleType) -> None:
        importlib.import_module(f"tinytrace.tracer.adapters.{file}").install(self, module)

    def failed(self, problem: BaseException) -> None:
        """Write down what went wrong in a callback of ours."""
        self.say(f"a call was not recorded: {problem!r}")


def _nothing() -> None:
    """Stands for a function where there is an object."""

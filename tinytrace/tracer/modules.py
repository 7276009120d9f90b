"""Importing for ourselves in a process where a program has imported for itself.

The program's ``json.py``, ``rich.py`` or ``numpy.py`` may be what ``sys.modules`` and ``sys.path`` lead
to: not what we mean by these names.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import ModuleType

from tinytrace.tracer import launcher


@contextlib.contextmanager
def as_before(path: list[str]) -> Iterator[None]:
    """Import as before the program: from ``path`` first, and with the modules that we had then.

    Where the program has loaded the very same module anew, its copy stays: NumPy was made with that one.

    Args:
        path: ``sys.path`` as it was before the program.
    """
    programs_path, programs_modules = list(sys.path), dict(sys.modules)
    sys.path[:] = path + [folder for folder in programs_path if folder not in path]
    strangers = _strangers(path)
    for name in [n for n in sys.modules if n.partition(".")[0] in strangers]:
        del sys.modules[name]
    for name, module in launcher.own_modules.items():
        sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        sys.modules.update(programs_modules)
        sys.path[:] = programs_path


def _strangers(path: list[str]) -> set[str]:
    """Names of modules that were loaded from elsewhere, while ``path`` leads to others of that name."""
    names = {n for n, module in sys.modules.items() if "." not in n and not _is_from(module, path)}
    return {n for n in names - {"__main__", "tinytrace"} if PathFinder.find_spec(n, path)}


def _is_from(module: ModuleType, path: list[str]) -> bool:
    """Whether a top-level module lies in a folder of ``path``; built-in ones do."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return not hasattr(module, "__path__")  # a folder without __init__.py is a module, too
    folder, name = os.path.split(file)
    if name.startswith("__init__."):
        folder = os.path.dirname(folder)  # noqa: PTH120 - as the import machinery joined it
    return folder in path

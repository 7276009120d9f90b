"""Runs a program exactly as ``python`` would: by letting ``python`` run it.

`launch` replaces this process by the same interpreter with the same options and the program's own
command line, so that ``__main__``, ``sys.argv``, ``sys.path``, tracebacks, exit codes, signals, the
frames under the program and everything else come from CPython itself instead of an imitation.
What is to happen before the program travels in one environment variable, `VARIABLE`. Every Python
that starts with it set calls `begin`, before the program's own folder is on ``sys.path``, through

* ``tinytrace-child.pth`` in site-packages (a copy of ``child.pth``), which installing tinytrace puts
  there; or, where that is missing (a source tree that was never installed),
* ``start/sitecustomize.py``, whose folder is put in front of ``PYTHONPATH``.

The processes that the program starts inherit the variable: they begin in the same way
(`tinytrace.tracer.children`).

What we need is loaded before the program, and would keep its own ``json.py`` or ``random.py`` from being
found. So `begin` takes every module that it has loaded out of ``sys.modules`` again, all but ours,
codecs, and those whose name begins with "_": the program imports as if nothing had been loaded. This module
therefore loads nothing when it is imported.
"""

from __future__ import annotations

import os
import site
import sys

from tinytrace.errors import UsageError

TYPE_CHECKING = False  # as type checkers take it; ``typing`` would be loaded before `begin` looks
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import ModuleType
    from typing import Any, NoReturn

    Given = dict[str, Any]

VARIABLE = "TINYTRACE_START"
START_FILE = "tinytrace-child.pth"
_HERE = os.path.abspath(__file__)  # noqa: PTH100 - pathlib is not to be loaded
PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))  # noqa: PTH120
START_FOLDER = os.path.join(PACKAGE_ROOT, "tinytrace", "tracer", "start")  # noqa: PTH118
CHILD_BEGIN = "tinytrace.tracer.children:begin_child"
# Helper processes of multiprocessing and of loky that run no code of the program.
HELPERS = tuple(
    f"from {package}.resource_tracker import"
    for package in ("multiprocessing", "joblib.externals.loky.backend", "loky.backend")
)

own_modules: dict[str, ModuleType] = {}  # what `begin` has loaded and taken out of sys.modules
_begun: set[int] = set()


def launch(program: list[str], begin: str, given: Given) -> NoReturn:
    """Replace this process by ``python`` running a program.

    Args:
        program: what follows the interpreter and its options: ``["train.py", "--lr", "0.1"]``,
            ``["-m", "pkg"]``, ``["-c", "code"]``, ``["-"]``.
        begin: ``"module:function"``, called with ``given`` in the new interpreter before the program.
        given: JSON-ready.

    Raises:
        UsageError: nothing could be started before the program in that interpreter.
    """
    command = [*interpreter_command(program), *program]
    environment = dict(os.environ)
    set_environment(environment, begin, given)
    os.execve(sys.executable, command, environment)


def interpreter_command(program: list[str]) -> list[str]:
    """Return the interpreter and its options as this process was started with: ``["python", "-X", "dev"]``.

    Raises:
        UsageError: Python was asked to run something else, which called us.
    """
    own_arguments = len(sys.argv) - 1
    head = sys.orig_argv[: len(sys.orig_argv) - own_arguments]
    if not sys.executable or sys.orig_argv[len(head) :] != sys.argv[1:] or len(head) < 2:
        raise UsageError("tinytrace can run a program only from a command line of its own")
    *before, last = head
    folder, file = os.path.split(sys.argv[0])
    module = os.path.basename(folder) if file.startswith("__main__.") else ""  # noqa: PTH119
    if module and last in (module, f"{module}.__main__"):
        *before, flag = before  # "-m", or "-Im": options and m together
    elif module and last.startswith("-") and last.endswith("m" + module):
        flag = last.removesuffix(module)
    elif last == sys.argv[0]:
        return before
    else:
        raise UsageError("tinytrace can run a program only from a command line of its own")
    rest = flag.removesuffix("m")
    return before if rest == "-" else [*before, rest]


def has_start_file() -> bool:
    """Whether installing tinytrace has put its start-up file where this interpreter reads it."""
    folders = [*site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    for folder in folders:
        try:
            with open(os.path.join(folder, START_FILE), encoding="utf-8") as file:  # noqa: PTH118
                if VARIABLE in file.read():
                    return True
        except OSError:
            continue
    return False


def can_begin() -> bool:
    """Whether a Python started from here, with the same options, would call `begin`."""
    if sys.flags.no_site:
        return False
    return not sys.flags.ignore_environment or has_start_file()


def set_environment(environment: MutableMapping[str, str], begin: str, given: Given) -> None:
    """Have every Python that is started with this environment call ``begin`` with ``given``.

    That is done by the process of this id; every other process begins as a child.

    Raises:
        UsageError: the options of this interpreter keep start-up files away.
    """
    if not can_begin():
        option = "-S" if sys.flags.no_site else "-E or -I"
        raise UsageError(
            f"nothing can be recorded under python {option} here: leave it out"
            + ("" if sys.flags.no_site else ", or install tinytrace (pip install .)")
        )
    import json

    environment[VARIABLE] = json.dumps(
        {
            "begin": begin,
            "pid": os.getpid(),
            "root": PACKAGE_ROOT,
            "python": sys.implementation.cache_tag,
            "given": given,
        }
    )
    path = environment.get("PYTHONPATH", "")
    if not has_start_file() and path.split(os.pathsep)[0] != START_FOLDER:
        environment["PYTHONPATH"] = START_FOLDER + (os.pathsep + path if path else "")


def clear_environment(environment: MutableMapping[str, str]) -> None:
    """Undo `set_environment`."""
    environment.pop(VARIABLE, None)
    first, _, rest = environment.get("PYTHONPATH", "").partition(os.pathsep)
    if first == START_FOLDER:
        if rest:
            environment["PYTHONPATH"] = rest
        else:
            del environment["PYTHONPATH"]


def begin() -> None:
    """Do what `VARIABLE` asks for. Called by the start-up files, in every Python of a run."""
    loaded, looked_in = set(sys.modules), set(sys.path_importer_cache)
    try:
        if not _begun and _in_main_interpreter() and not _is_helper():
            _begin()
    finally:
        for name in [n for n in sys.modules if n not in loaded and not _stays(n)]:
            own_modules[name] = sys.modules.pop(name)
        ours = os.path.join(PACKAGE_ROOT, "tinytrace")  # noqa: PTH118
        for folder in list(sys.path_importer_cache):
            if folder not in looked_in or folder.startswith(ours):
                del sys.path_importer_cache[folder]


def _stays(name: str) -> bool:
    # A codec is looked up once per interpreter: its module would not be loaded again.
    return name.startswith("_") or name.partition(".")[0] in ("tinytrace", "encodings")


def _begin() -> None:
    import json
    from importlib import import_module

    _begun.add(os.getpid())
    try:
        asked = json.loads(os.environ[VARIABLE])
        root = str(asked["root"])
    except (KeyError, TypeError, ValueError):
        return  # not ours: the program or its user has set it
    if root != PACKAGE_ROOT and asked.get("python") == sys.implementation.cache_tag:
        _begin_in(root)
        return
    function = asked["begin"] if asked["pid"] == os.getpid() else CHILD_BEGIN
    module, _, name = function.partition(":")
    getattr(import_module(module), name)(asked["given"])


def _begin_in(root: str) -> None:
    """Begin with the copy of tinytrace that started the run, not with the installed one."""
    from importlib import import_module

    for name in [n for n in sys.modules if n.partition(".")[0] == "tinytrace"]:
        del sys.modules[name]
    sys.path.insert(0, root)
    try:
        import_module("tinytrace.tracer.launcher").begin()
    finally:
        sys.path.remove(root)


def _in_main_interpreter() -> bool:
    """False in a sub-interpreter, which reads the start-up files as well."""
    import signal

    try:
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    except ValueError:
        return False
    return True


def _is_helper() -> bool:
    return sys.orig_argv[-2:-1] == ["-c"] and sys.orig_argv[-1].startswith(HELPERS)

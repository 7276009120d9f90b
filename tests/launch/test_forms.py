"""Every way to name a program, and what the program then sees of itself."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.launch.both import CORES, USE_NUMPY, Ended, Place, ops, without_addresses

# What a program can see of itself and of its interpreter. ``sys.executable`` too: it starts children.
PROBE = """
import sys
print("modules", sorted(m for m in sys.modules if m[0] != "_" and m.split(".")[0] not in ("tinytrace", "encodings")))
import builtins, os, pickle, sys, threading, types
import __main__
class Model:
    def __eq__(self, other): return type(self) is type(other)
print("argv", sys.argv, sys.orig_argv)
print("path", sys.path)
print("name", __name__, __spec__ and (__spec__.name, __spec__.origin), __package__, type(__loader__).__name__)
print("file", globals().get("__file__"), globals().get("__cached__"))
print("main", __main__.__dict__ is globals(), sys.modules["__main__"] is __main__, type(__main__))
print("pickled", pickle.loads(pickle.dumps(Model())) == Model(), Model.__module__)
print("globals", sorted(globals()))
print("builtins", sorted(vars(builtins)))
print("flags", sys.flags, sys._xoptions, sys.warnoptions, sys.dont_write_bytecode)
print("executable", sys.executable, sys.prefix, sys.base_prefix)
print("streams", [(s.name, s.encoding, s.errors, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)])
print("threads", [t.name for t in threading.enumerate()], threading.active_count())
print("hooks", sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile(), threading.excepthook)
print("finders", [f for f in sys.path_hooks], list(sys.path_importer_cache))
print("limits", sys.getrecursionlimit(), __debug__)
print("frame", sys._getframe().f_back and sys._getframe().f_back.f_code.co_name)
def depth(n=1):
    try:
        return depth(n + 1)
    except RecursionError:
        return n
print("depth", depth())
"""
TRAIN = USE_NUMPY + PROBE
# A package as programs have them, and the parts that an isolated interpreter keeps away.
FILES = {
    "train.py": TRAIN,
    "pkg/__init__.py": "print('the package')\n",
    "pkg/__main__.py": "from . import part\n" + TRAIN,
    "pkg/part.py": TRAIN,
    "folder/__main__.py": "import beside\n" + TRAIN,
    "folder/beside.py": "print('beside')\n",
}
FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a script": (("train.py", "--lr", "0.1", "-q", ""), ()),
    "a script elsewhere": (("./pkg/../train.py",), ()),
    "a package": (("-m", "pkg", "-x", "--", "y"), ()),
    "a module": (("-m", "pkg.part"), ()),
    "a module, in one word": (("-mpkg.part", "a b"), ()),
    "code": (("-c", TRAIN, "-v"), ()),
    "a folder": (("folder", "1"), ()),
    "a zip file": (("program.zip", "2"), ()),
    "standard input": (("-", "3"), ()),
    "isolated": (("train.py",), ("-I",)),
    "without environment": (("train.py",), ("-E",)),
    "optimised": (("train.py",), ("-O", "-B", "-X", "utf8", "-X", "faulthandler")),
    "warnings and options": (("-m", "pkg.part"), ("-W", "error", "-X", "dev", "-b", "-u")),
    "options in one word": (("train.py",), ("-OOBs", "-Wdefault")),
}
if sys.version_info >= (3, 11):
    FORMS["safe path"] = (("train.py",), ("-P",))


def make(parent: Path) -> Place:
    """All the files, and a zip file of the folder."""
    place = Place.make(parent)
    for name, text in FILES.items():
        place.write(name, text)
    with zipfile.ZipFile(place.folder / "program.zip", "w") as file:
        for name in ("__main__.py", "beside.py"):
            file.write(place.folder / "folder" / name, name)
    return place


@pytest.mark.parametrize("form", FORMS)
def test_a_program_cannot_tell_that_it_is_recorded(tmp_path: Path, form: str) -> None:
    program, python = FORMS[form]
    place = make(tmp_path)
    stdin = TRAIN.encode() if program[0] == "-" else b""
    ended = place.same(*program, python=python, stdin=stdin, alike=without_addresses)
    assert ended.status == 0, ended.stderr.decode()
    assert ops(place.trace()) == ["add"] * ended.stdout.count(b"argv ")


@pytest.mark.parametrize("core", CORES)
def test_environment_that_changes_python_is_respected(tmp_path: Path, core: str) -> None:
    place = make(tmp_path)
    place.core = core
    place.environment = {
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": str(place.folder / "folder") + os.pathsep + "nowhere",
        "PYTHONHASHSEED": "7",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "latin-1:replace",
        "PYTHONWARNINGS": "error",
    }
    place.same("train.py", alike=without_addresses)
    assert ops(place.trace()) == ["add"]


UNITTEST = """
import unittest
import numpy as np

class Test(unittest.TestCase):
    def test_add(self):
        self.assertEqual(np.add(1, 1), 2)

    def test_subtract(self):
        self.assertEqual(np.subtract(1, 1), 1)
"""
# Each has the name of a module that tinytrace loads itself, before the program or after it.
SIBLINGS = [
    "json", "random", "platform", "secrets", "gzip", "analysis", "tracer", "rich", "orjson",
]  # fmt: skip
if np.__version__ < "2":
    for name in ("random", "secrets"):  # NumPy itself needs the real ones, with us and without
        SIBLINGS.remove(name)
SOURCES = {
    "latin.py": b"#!/usr/bin/env python\n# -*- coding: latin-1 -*-\nprint(ascii('caf\xe9'))\n",
    "bom.py": b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))\n",
    "crlf.py": b'x = """a\r\nb"""\r\nprint(repr(x))\r\n',
    "no_ending": b"print(__file__, __name__)",
    "bad.py": b"print('\xff')\n",
    "indent.py": b"def f():\n\tpass\n        pass\n",
}


def without_durations(text: bytes) -> bytes:
    """How long tests took differs in any two runs."""
    return re.sub(rb"\d+\.\d+ ?s", b"some s", text)


@pytest.mark.parametrize("core", CORES)
def test_modules_beside_the_program_are_found_whatever_their_name(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(
        tmp_path,
        train=f"import {', '.join(SIBLINGS)}\n{USE_NUMPY}"
        + "".join(f"print({name}.__file__, {name}.mine)\n" for name in SIBLINGS),
    )
    for name in SIBLINGS:
        place.write(f"{name}.py", f"mine = '{name} of the program'\n")
    (place.folder / "rich.py").unlink()
    place.write("rich/__init__.py", "mine = 'rich of the program'\n")
    place.core = core
    ended = place.record("train.py", own=())
    assert ended.stdout == place.plain("train.py").stdout
    assert ended.stdout.count(b" of the program\n") == len(SIBLINGS)
    assert b"add" in ended.stderr, "the summary"
    assert ops(place.trace()) == ["add"]


def test_numpy_of_the_program_is_not_taken_for_numpy(tmp_path: Path) -> None:
    program = "import numpy\nprint(numpy.ones)\n"
    place = Place.make(tmp_path, train=program, numpy="ones = 'mine'\n")
    assert place.same("train.py") == Ended(0, b"mine\n", b"")
    assert any("the operations of numpy are not recorded" in w for w in place.trace().warnings)


def test_source_is_read_as_python_reads_it(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    for name, source in SOURCES.items():
        place.write(name, source)
        place.same(name)
        place.trace()
        place.output.unlink()


def test_import_error_of_the_program_is_its_own(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    place.write("pkg/__init__.py", "")
    place.write("pkg/__main__.py", "import no_such_module_anywhere\n")
    endings = {
        "pkg": b"ModuleNotFoundError: No module named 'no_such_module_anywhere'\n",
        "pkg.no_such_part": b": No module named pkg.no_such_part\n",
        "no_such_module_anywhere": b": No module named no_such_module_anywhere\n",
    }
    for module, ending in endings.items():
        ended = place.same("-m", module)
        assert (ended.status, ended.stderr.endswith(ending)) == (1, True), ended


@pytest.mark.parametrize("runner", ["pytest", "unittest"])
def test_test_runners_run_recorded(tmp_path: Path, runner: str) -> None:
    place = Place.make(tmp_path, test_it=UNITTEST)
    place.environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = place.same("-m", runner, "test_it.py", alike=without_durations)
    assert ended.status == 1
    assert ops(place.trace()) == ["add", "subtract"]


def test_double_dash_ends_the_options_of_tinytrace(tmp_path: Path) -> None:
    place = Place.make(tmp_path, recover="import sys\nprint(sys.argv)\n")
    place.write("-odd.py", "import sys\nprint(sys.argv)\n")
    assert place.record("--", "recover.py", "-q").stdout == b"['recover.py', '-q']\n"
    assert place.record("--", "-odd.py").stdout == b"['-odd.py']\n"

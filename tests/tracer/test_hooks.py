"""Waiting for modules that the program imports; nothing is imported for us, nothing stays behind."""

from __future__ import annotations

import importlib
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tinytrace.tracer.hooks import AfterImport

NAMES = ("awaited_one", "awaited_package", "awaited_package.inner", "awaited_broken")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a few modules where they can be imported; forget them afterwards."""
    package = tmp_path / "awaited_package"
    package.mkdir()
    (tmp_path / "awaited_one.py").write_text("value = 1\n")
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("value = 2\n")
    (tmp_path / "awaited_broken.py").write_text("import awaited_one\n1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def after() -> Iterator[AfterImport]:
    """Wait for modules; no longer after the test."""
    found = AfterImport()
    yield found
    found.remove()


def test_a_module_is_reported_once_and_whole(modules: Path, after: AfterImport) -> None:
    seen: list[tuple[str, int]] = []
    after.add("awaited_one", lambda module: seen.append((module.__name__, module.value)))
    assert "awaited_one" not in sys.modules
    importlib.import_module("awaited_one")
    importlib.import_module("awaited_one")
    assert seen == [("awaited_one", 1)]


def test_a_module_that_is_there_already_is_reported_at_once(
    modules: Path, after: AfterImport
) -> None:
    module = importlib.import_module("awaited_one")
    seen: list[ModuleType] = []
    after.add("awaited_one", seen.append)
    assert seen == [module]
    assert after not in sys.meta_path


def test_submodules_are_awaited_like_modules(modules: Path, after: AfterImport) -> None:
    seen: list[str] = []
    for name in ("awaited_package", "awaited_package.inner"):
        after.add(name, lambda module: seen.append(module.__name__))
    importlib.import_module("awaited_package.inner")
    assert seen == ["awaited_package", "awaited_package.inner"]


def test_several_may_wait_for_one_module(modules: Path, after: AfterImport) -> None:
    seen: list[int] = []
    after.add("awaited_one", lambda module: seen.append(1))
    after.add("awaited_one", lambda module: seen.append(2))
    importlib.import_module("awaited_one")
    assert seen == [1, 2]


def test_what_a_module_raises_is_what_it_raises_without_us(
    modules: Path, after: AfterImport
) -> None:
    def failure() -> tuple[str, list[tuple[str, str]]]:
        with pytest.raises(ZeroDivisionError) as caught:
            importlib.import_module("awaited_broken")
        frames = traceback.extract_tb(caught.value.__traceback__)
        ours = [(f.filename, f.name) for f in frames if "importlib" not in f.filename]
        return str(caught.value), ours

    plain = failure()
    sys.modules.pop("awaited_one", None)
    seen: list[ModuleType] = []
    after.add("awaited_broken", seen.append)
    assert failure() == plain
    assert seen == []


def test_a_missing_module_is_missing_as_before(after: AfterImport) -> None:
    after.add("awaited_nowhere", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'awaited_nowhere'") as caught:
        importlib.import_module("awaited_nowhere")
    assert caught.value.name == "awaited_nowhere"


def test_modules_keep_their_loader_and_spec(modules: Path, after: AfterImport) -> None:
    plain = importlib.import_module("awaited_one")
    del sys.modules["awaited_one"]
    after.add("awaited_one", lambda module: None)
    module = importlib.import_module("awaited_one")
    assert type(module.__loader__) is type(plain.__loader__)
    assert "exec_module" not in vars(module.__loader__)
    assert (module.__file__, module.__spec__ and module.__spec__.origin) == (plain.__file__,) * 2
    assert importlib.reload(module) is module


def test_after_removal_nothing_is_awaited(modules: Path, after: AfterImport) -> None:
    before = list(sys.meta_path)
    seen: list[ModuleType] = []
    after.add("awaited_one", seen.append)
    assert sys.meta_path[0] is after
    after.remove()
    assert sys.meta_path == before
    importlib.import_module("awaited_one")
    assert seen == []


def test_an_unloaded_module_is_not_imported_by_waiting_for_it() -> None:
    code = (
        "import sys\nfrom tinytrace.tracer.adapters.numpy import NumpyAdapter, targets\n"
        "from tinytrace.tracer.hooks import AfterImport\nafter = AfterImport()\n"
        "for name, call in targets(NumpyAdapter(None, None)): after.add(name, call)\n"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in {'numpy', 'scipy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

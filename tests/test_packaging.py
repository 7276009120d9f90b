"""What is built holds what it must: wheels, editable wheels, source distributions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinytrace"
CHILD_PTH = "tinytrace-child.pth"
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", ".nox", ".*_cache", ".hypothesis", "__pycache__", "build", "dist",
    "*.egg-info", "*.so", "trace.json*",
)  # fmt: skip
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that calls one of setuptools' build hooks on a copy of the source tree."""

    def build(hook: str, source: Path | None = None, **environment: str) -> Path:
        folder = tmp_path_factory.mktemp(hook)
        if source is None:
            source = folder / "source"
            shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
        call = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", call, str(folder)],
            cwd=source,
            env={**os.environ, "TINYTRACE_CFLAGS": "-O0", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (product,) = (p for p in folder.iterdir() if p.suffix in {".whl", ".gz"})
        return product

    return build


@pytest.fixture(scope="module")
def wheel(build: Build) -> Path:
    return build("build_wheel")


@pytest.fixture(scope="module")
def wheel_without_compiler(build: Build) -> Path:
    return build("build_wheel", **NO_COMPILER)


@pytest.fixture(scope="module")
def editable_wheel(build: Build) -> Path:
    return build("build_editable", **NO_COMPILER)


@pytest.fixture(scope="module")
def sdist(build: Build) -> Path:
    return build("build_sdist")


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def compiler_works(folder: Path) -> bool:
    """Whether an extension module can be compiled on this machine."""
    source = folder / "probe.c"
    source.write_text("#include <Python.h>\n", encoding="utf-8")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    include = f"-I{sysconfig.get_path('include')}"
    try:
        done = subprocess.run(
            [*compiler, include, "-c", str(source), "-o", str(folder / "probe.o")],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


def test_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    modules = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py")}
    assert modules <= names_in(wheel)
    assert "tinytrace/py.typed" in names_in(wheel)
    assets = {p.relative_to(ROOT).as_posix() for p in PACKAGE.glob("exporters/assets/*")}
    assert assets
    assert assets <= names_in(wheel)


def test_wheel_holds_all_that_a_page_of_the_report_is_made_of(wheel: Path) -> None:
    assets = {p.relative_to(ROOT).as_posix() for p in (PACKAGE / "exporters/html/assets").iterdir()}
    assert len(assets) > 5
    assert assets <= names_in(wheel)


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert [f for f in folders if not (f / "__init__.py").is_file()] == []


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tinytrace", CHILD_PTH}
    suffixes = {Path(name).suffix for name in names_in(wheel) if name.startswith("tinytrace/")}
    assert suffixes <= {".py", ".pyi", ".typed", ".so", ".css", ".js", ".LICENSE"}


def run_from(wheel: Path, folder: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Run a statement in an interpreter that finds what the wheel holds, unpacked into a folder."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return subprocess.run(
        [sys.executable, "-c", statement],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compiled_core_is_built_where_there_is_a_compiler(wheel: Path, tmp_path: Path) -> None:
    done = run_from(wheel, tmp_path, "import tinytrace.tracer._native as m; print(m.__file__)")
    assert (done.returncode == 0) == compiler_works(tmp_path), done.stderr
    assert done.returncode or Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_without_a_compiler_there_is_a_wheel_that_works(
    wheel_without_compiler: Path, tmp_path: Path
) -> None:
    assert not any(name.endswith(".so") for name in names_in(wheel_without_compiler))
    done = run_from(wheel_without_compiler, tmp_path, "import tinytrace as t; print(t.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "tinytrace" / "__init__.py"


@pytest.mark.parametrize("kind", ["wheel", "wheel_without_compiler", "editable_wheel"])
def test_hook_for_child_processes_lands_in_site_packages(
    kind: str, request: pytest.FixtureRequest
) -> None:
    with zipfile.ZipFile(request.getfixturevalue(kind)) as file:
        assert file.read(CHILD_PTH) == (PACKAGE / "tracer" / "child.pth").read_bytes()
        (record,) = (n for n in file.namelist() if n.endswith(".dist-info/RECORD"))
        assert f"\n{CHILD_PTH},sha256=" in "\n" + file.read(record).decode()


def test_wheels_have_the_command_line_program(wheel: Path, editable_wheel: Path) -> None:
    for path in (wheel, editable_wheel):
        with zipfile.ZipFile(path) as file:
            (entry,) = (n for n in file.namelist() if n.endswith("/entry_points.txt"))
            assert "tinytrace = tinytrace.cli:script" in file.read(entry).decode()


def test_source_distribution_holds_everything_and_makes_the_same_wheel(
    sdist: Path, wheel_without_compiler: Path, build: Build, tmp_path: Path
) -> None:
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path)], check=True)
    (tree,) = tmp_path.iterdir()
    for folder in ("tinytrace", "tests", "samples", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {
                ".py",
                ".pyi",
                ".c",
                ".h",
                ".md",
                ".npz",
                ".pth",
                ".typed",
                ".css",
                ".js",
                ".LICENSE",
            }:
                assert (tree / path.relative_to(ROOT)).is_file()
    top = ["pyproject.toml", "setup.py", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
    for name in [*top, "Makefile", "noxfile.py", ".ci/run"]:
        assert (tree / name).is_file()
    again = build("build_wheel", source=tree, **NO_COMPILER)
    assert names_in(again) == names_in(wheel_without_compiler)

"""The rules that keep the code small and the layers apart, held by reading the source."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinytrace

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinytrace"
MODULES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("samples/**/*.md")])
# A layer may import itself and what stands to its left. The face, tinytrace/*.py, may import all.
LAYERS = ["tracer", "analysis", "exporters", "cli"]
MAX_LINES = 450
LONGER_FILES = {  # a path here needs a reason beside it
    "tests/builders.py",  # the mini-language, the strategy and the large trace share their names
    "tests/analysis/test_foreign.py",  # one small test per oddity of other people's traces
    "tests/tracer/test_pyspy.py",  # likewise for py-spy's file
}
HEAVY = {
    "numpy",
    "scipy",
    "matplotlib",
    "rich",
    "orjson",
    "perfetto",
    "psutil",
    "threadpoolctl",
    "pandas",
    "pyarrow",
    "google",
}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything that a file imports, inside functions too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def layer_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "tinytrace" and parts[1] in LAYERS else None


def test_imports_go_one_way() -> None:
    wrong = []
    for path in MODULES:
        layer = layer_of(module_name(path))
        if layer is None:
            continue
        for line, name in imports_of(path):
            imported = layer_of(name)
            if imported and LAYERS.index(imported) > LAYERS.index(layer):
                wrong.append(f"{path.relative_to(ROOT)}:{line} ({layer}) imports {name}")
    assert wrong == []


def test_lower_layers_do_not_reach_up_through_the_face() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in MODULES
        if layer_of(module_name(path)) not in {None, "cli"}
        for line, name in imports_of(path)
        if name.split(".")[0] == "tinytrace"
        and layer_of(name) is None
        and not name.startswith("tinytrace.errors")
    ]
    assert wrong == []


def prints(node: ast.AST) -> bool:
    """Whether this is a call of print(), sys.stdout.write(), sys.stderr.write() or the like."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return (
        called in {"print", "Console"}
        or re.fullmatch(r"(sys\.)?_*std(out|err)_*(\.buffer)?\.write(lines)?", called) is not None
    )


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if layer_of(module_name(path)) != "cli"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.expr) and prints(node)
    ]
    assert wrong == []


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(PACKAGE / "tracer").rglob("*.[ch]")]
    long = set()
    for path in sources:
        with path.open("rb") as file:
            if sum(1 for _ in file) > MAX_LINES:
                long.add(path.relative_to(ROOT).as_posix())
    assert long == LONGER_FILES


def test_there_is_no_drawer_for_everything_else() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [p for p in MODULES if p.stem in drawers] == []


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter loads for a statement."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; before = set(sys.modules); "
        f"{statement}; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        # -S: without the .pth files in site-packages, which may import things of their own
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = loaded_by("import tinytrace")
    assert "tinytrace" in loaded
    assert loaded & HEAVY == set()


def test_importing_the_package_loads_next_to_nothing_of_the_standard_library() -> None:
    assert loaded_by("import tinytrace") & {"typing", "re", "dataclasses", "contextlib"} == set()


def test_what_runs_before_the_program_imports_nothing_heavy() -> None:
    before = (
        "from tinytrace.cli import run; from tinytrace.exporters.registry import check_suffix; "
    )
    assert loaded_by(before + "check_suffix('trace.json')") & HEAVY == set()
    assert loaded_by("import tinytrace.cli.recording, tinytrace.tracer.session") & HEAVY == set()


def test_record_layouts_are_importable_without_numpy() -> None:
    assert loaded_by("import tinytrace.tracer.records") & HEAVY == set()


def test_all_is_what_is_exported() -> None:
    exported = set(tinytrace.__all__)
    assert len(exported) == len(tinytrace.__all__)
    assert exported <= set(dir(tinytrace))
    for name in tinytrace.__all__:
        getattr(tinytrace, name)
    public = {
        name
        for name, value in vars(tinytrace).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "tinytrace").split(".")[0] == "tinytrace"
    }
    assert (
        public - {"load_ipython_extension"} <= exported
    )  # which IPython looks for, and nobody else


def test_no_module_shares_the_name_of_a_public_function() -> None:
    # `import tinytrace.trace` would put the module where the function was.
    modules = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()}
    assert modules & set(tinytrace.__all__) <= {
        name for name in tinytrace.__all__ if isinstance(getattr(tinytrace, name), types.ModuleType)
    }


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_public_thing_says_what_it_is(path: Path) -> None:
    tree = parse(path)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    silent = [
        getattr(node, "name", module_name(path))
        for node in [tree, *tree.body]
        if isinstance(node, documented)
        and not getattr(node, "name", "").startswith("_")
        and not any(ast.unparse(d) == "overload" for d in getattr(node, "decorator_list", []))
        and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_can_be_imported(path: Path) -> None:
    name = module_name(path)
    if not name.endswith(("__main__", "sitecustomize")):
        importlib.import_module(name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", path.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    assert [t for t in targets if not (path.parent / t).exists()] == []

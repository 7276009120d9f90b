"""Test sessions: ``nox`` runs them all, ``nox -s lint`` one, ``nox -l`` lists them.

Interpreters are looked for on the PATH and among pyenv's.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# NumPy 1.26 has no wheels for Python 3.13.
VERSIONS = [(p, n) for p in PYTHONS for n in ("1.26", "2") if (p, n) != ("3.13", "1.26")]
NEWEST = PYTHONS[-1]
# Newer ones refuse to be imported with NumPy 1.26, which pip does not know.
WITH_NUMPY = {"1.26": ["pyarrow<26"], "2": []}

pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
interpreters = [str(bin_) for p in PYTHONS for bin_ in sorted(pyenv.glob(f"{p}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*interpreters, os.environ["PATH"]])

nox.options.error_on_missing_interpreters = True


@nox.session
@nox.parametrize(("python", "numpy"), VERSIONS)
def tests(session: nox.Session, numpy: str) -> None:
    """The whole suite on every supported Python and on the oldest and newest NumPy."""
    session.install("-e", ".[test]", f"numpy=={numpy}.*", *WITH_NUMPY[numpy])
    session.run("python", "-c", "import tinytrace.tracer._native")
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def no_compiler(session: nox.Session) -> None:
    """Installing without a compiler succeeds, and the suite passes on the Python recorder."""
    tree = Path(session.create_tmp()) / "tree"  # a copy: there may be a compiled core in this one
    shutil.rmtree(tree, ignore_errors=True)
    unwanted = shutil.ignore_patterns(".git", ".nox", ".venv*", "*.so", "build", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=unwanted)
    session.chdir(tree)
    session.install("-e", ".[test]", env={"CC": "/bin/false"})
    session.run("python", "-c", "import tinytrace.tracer._native", success_codes=[1], silent=True)
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Ruff's rules, and its formatting."""
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Mypy, strict, on package, tests and samples."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session(python=["3.11", NEWEST])
def sanitizers(session: nox.Session) -> None:
    """The tests that run the compiled core find no fault in its use of memory."""
    session.install("-e", ".[test]")
    session.run(".ci/sanitize", "python", *session.posargs, external=True)


@nox.session(python=["3.11"])
@nox.parametrize("numpy", ["1.26", "2"])
def numpy_suite(session: nox.Session, numpy: str) -> None:
    """NumPy's own tests pass under the hooks with the same counts as without them."""
    session.install("-e", ".[test]", f"numpy=={numpy}.*")
    asked = session.posargs or ["--parts", "all", "--cores", "c", "python"]
    session.run("python", "benchmarks/numpy_suite.py", *asked)

"""What ``tinytrace.analysis`` offers, loaded when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinytrace.analysis


def test_every_name_leads_to_a_function() -> None:
    assert sorted(tinytrace.analysis.__all__) == list(tinytrace.analysis.__all__)
    for name in tinytrace.analysis.__all__:
        assert getattr(tinytrace.analysis, name).__name__ == name
        assert name in dir(tinytrace.analysis)


def test_no_module_has_the_name_of_a_function() -> None:
    modules = {path.stem for path in Path(tinytrace.analysis.__file__).parent.glob("*.py")}
    assert modules & set(tinytrace.analysis.__all__) == set()


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tinytrace.analysis.nothing  # noqa: B018


def test_importing_the_package_loads_no_numpy() -> None:
    code = "import sys, tinytrace.analysis; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

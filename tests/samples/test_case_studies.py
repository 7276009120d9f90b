"""Each case study finds what it is about, and both of its forms give the same numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "samples" / "case_studies"
PLANTED = {  # what is found, and in which line
    "revisited_graph": ("graph walked again and again", "backward_by_paths(parent"),
    "convolution_in_loops": ("Python loop over elements", "total += "),
    "hidden_float64": ("pow instead of products", "X**3"),
    "embedding_scatter": ("scatter by ufunc.at", "np.add.at(table"),
}


def run(name: str, picture: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(STUDIES / f"{name}.py"), str(picture)],
        cwd=picture.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 10_000
    return done.stdout


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_at_its_line_and_mended_without_another_result(
    name: str, tmp_path: Path
) -> None:
    out = run(name, tmp_path / "picture.png")
    rule, text = PLANTED[name]
    found = re.search(r"^at (.+):(\d+), rule (.+), \w+ confidence$", out, re.MULTILINE)
    assert found is not None, out
    assert (found[1], found[3]) == (f"{name}.py", rule)
    line = (STUDIES / f"{name}.py").read_text().splitlines()[int(found[2]) - 1]
    assert text in line
    difference = re.search(r"Largest difference of the results: (.+)", out)
    assert difference is not None
    assert float(difference[1]) < 1e-4
    assert re.search(r"^after +.*\[", out, re.MULTILINE)


def test_optimizations_that_are_none_are_not_called_faster(tmp_path: Path) -> None:
    out = run("optimizations_that_are_none", tmp_path / "picture.png")
    for name in ("quantized", "90 % pruned"):
        [row] = [line for line in out.splitlines() if line.startswith(f"{name}  ")]
        assert "faster" not in row


def test_every_study_is_tested() -> None:
    scripts = {path.stem for path in STUDIES.glob("*.py")} - {"study"}
    assert scripts == {*PLANTED, "optimizations_that_are_none"}

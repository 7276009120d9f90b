"""Recording the programs of `tests.corpus`, and which findings they get."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import tinytrace as tt
from tests.peaks_by_hand import PEAKS, exact, with_peaks
from tinytrace.analysis.findings import Finding, findings

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "corpus"
PLANTED = {  # program → the rule that must name it
    "adam": "optimizer with temporaries",
    "conv_loop": "Python loop over elements",
    "copied_views": "copy of an array",
    "embedding_scatter": "scatter by ufunc.at",
    "float64_leak": "float64 out of float32",
    "powers": "pow instead of products",
    "queue_wait": "waiting for other threads",
    "revisited_graph": "graph walked again and again",
    "sample_loader": "samples put together one by one",
}
# Before NumPy 2 a scalar widens no array.
PLANTED_HERE = [n for n in PLANTED if n != "float64_leak" or np.__version__ >= "2"]
FIRST = 3  # findings among which the planted one must be
# Fixed roofs, so that no run depends on a calibration; about those of a small server in 2024.
ROOFS = replace(
    PEAKS,
    transcendental_gops={"float64": exact(0.5), "float32": exact(1.0)},
    function_gops={"sqrt float32": exact(4.0), "tanh float32": exact(1.0)},
)


@dataclass(frozen=True)
class Result:
    """What was said of one program.

    Attributes:
        name: of the program, ``adam_slow``.
        found: its findings, in order.
        planted: the lines that are marked.
    """

    name: str
    found: tuple[Finding, ...]
    planted: frozenset[int]

    def rank(self, rule: str) -> int | None:
        """Where among the findings, from 1, the rule names a marked line of the program; None: nowhere."""
        for rank, finding in enumerate(self.found, 1):
            here = finding.file is not None and Path(finding.file).stem == self.name
            if finding.rule == rule and here and finding.line in self.planted:
                return rank
        return None


def programs() -> list[str]:
    """The names of all programs."""
    return sorted(path.stem for path in CORPUS.glob("*_*.py") if not path.stem.startswith("_"))


def run(name: str, folder: Path) -> Result:
    """Record a program with the files of a run in a folder of its own."""
    script, trace = CORPUS / f"{name}.py", folder / f"{name}.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
        # One thread: on a machine with other work, threads of BLAS wait for each other far longer than they compute.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tinytrace", "-q", "--no-calibrate", "-o", str(trace)]
    subprocess.run([*command, str(script)], check=True, env=environment, cwd=folder, timeout=120)
    lines = script.read_text(encoding="utf-8").splitlines()
    planted = frozenset(n for n, line in enumerate(lines, 1) if line.endswith("# planted"))
    return Result(name, findings(with_peaks(tt.load(trace), ROOFS)), planted)

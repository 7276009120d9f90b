"""NumPy's own test suite, with and without the hooks: every test must end the same way.

::

    python benchmarks/numpy_suite.py                                # core and linalg, this core: minutes
    python benchmarks/numpy_suite.py --parts all --cores c python   # everything, on both recorders

The exit status is 1 if a single test ended otherwise than without tinytrace. Needs pytest and hypothesis.
Both sides run at once: this is no measurement of time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np

CORE = "numpy._core" if int(np.__version__.partition(".")[0]) > 1 else "numpy.core"
CORE_TESTS = ("ufunc", "umath", "numeric", "multiarray", "indexing", "einsum")
PARTS = {
    "core": [f"{CORE}.tests.test_{name}" for name in CORE_TESTS],
    "linalg": ["numpy.linalg"],
    "fft": ["numpy.fft"],
    "random": ["numpy.random"],
    "lib": ["numpy.lib"],
    "ma": ["numpy.ma"],
}
# They compare reference counts of objects that the whole process shares (the integer 1, dtypes). The Python
# recorder's tables of what it has seen refer to such objects. See docs/ops.md.
COUNT_SHARED_REFERENCES = (
    "test_for_reference_leak",
    "test_scalar_interface",
    "test_dtype_reference_leaks",
)
# Its sampling thread holds frames, and with them what their variables refer to, for moments: tests that
# count references see that. The hooks are what is tested here.
OPTIONS = {"c": [], "python": ["--sampler", "none"]}

Outcomes = dict[str, str]


def start(folder: Path, core: str, tests: list[str], left_out: str) -> subprocess.Popen[bytes]:
    """Start a run of pytest in a folder of its own; core "": without tinytrace."""
    folder.mkdir()
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--junitxml=tests.xml"]
    suite += [*(["-k", left_out] if left_out else []), "--pyargs", *tests]
    traced = ["-m", "tinytrace", "-q", "-o", "trace.json.gz", *OPTIONS[core]] if core else []
    # Some tests run only where much memory is free, which differs from moment to moment: never here.
    environment = {**os.environ, "NPY_AVAILABLE_MEM": "0"}
    if core:
        environment["TINYTRACE_CORE"] = core
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *traced, *suite],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )


def outcomes(folder: Path) -> Outcomes:
    """Return how each test ended; nothing if pytest did not get to its end."""
    found: Outcomes = {}
    path = folder / "tests.xml"
    if path.exists():
        for case in ET.parse(path).getroot().iter("testcase"):
            # pytest writes an empty list of properties first, sometimes
            ended = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
            name = f"{case.get('classname')}::{case.get('name')}"
            found[name] = ended[0] if ended else "passed"
    return found


def summary(found: Outcomes) -> str:
    """Return counts, as text."""
    counts = Counter(found.values())
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "no tests ran"


def compare(part: str, cores: list[str], folder: Path) -> bool:
    """Run a part of the suite without tinytrace and on each core; prints; whether all ended the same way."""
    left_out = " and ".join(f"not {name}" for name in COUNT_SHARED_REFERENCES)
    left_out = left_out if "python" in cores else ""
    homes = {core: folder / f"{part}-{core or 'without'}" for core in ["", *cores]}
    runs = {core: start(home, core, PARTS[part], left_out) for core, home in homes.items()}
    status = {core: run.wait() for core, run in runs.items()}
    found = {core: outcomes(home) for core, home in homes.items()}
    plain, same = found[""], bool(found[""])
    print(f"{part}: without tinytrace: {summary(plain)}", flush=True)
    for core in cores:
        other = found[core]
        differ = [name for name in {**plain, **other} if plain.get(name) != other.get(name)]
        print(f"{part}: core {core}: {summary(other)}; {len(differ)} ended otherwise", flush=True)
        for name in differ[:20]:
            print(f"    {name}: {plain.get(name, 'not run')}, now {other.get(name, 'not run')}")
        if status[core] != status[""]:
            print(f"    exit status {status[core]}, without tinytrace {status['']}")
        if differ or status[core] != status[""]:
            same = False
            print((homes[core] / "output.txt").read_text(errors="replace")[-3000:])
    return same


def main() -> int:
    """Compare what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "all"], default=["core", "linalg"])
    parser.add_argument("--cores", nargs="+", choices=[*OPTIONS], default=["c"])
    asked = parser.parse_args()
    parts = list(PARTS) if "all" in asked.parts else asked.parts
    print(f"NumPy {np.__version__}, Python {sys.version.partition(' ')[0]}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        same = [compare(part, asked.cores, Path(folder)) for part in parts]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())

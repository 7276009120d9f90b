"""For pytest: ``--tinytrace``, the marker ``tinytrace``, and the fixture ``tinytrace_bench``.

Loaded by pytest at its start, in every project where tinytrace is installed: so nothing heavy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tinytrace.analysis.comparison import Speedup

FOLDER = ".tinytrace-tests"
MARKER = "tinytrace(allow=None): record this test with --tinytrace, and fail when it does more work than its baseline"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("tinytrace", "profiling with tinytrace")
    group.addoption(
        "--tinytrace", action="store_true", help="record the tests that are marked with tinytrace"
    )
    group.addoption(
        "--tinytrace-update", action="store_true",
        help="record them, and make what they do now their baselines",
    )  # fmt: skip
    group.addoption(
        "--tinytrace-dir", default=FOLDER, metavar="DIR",
        help=f"where traces and baselines are kept (default: {FOLDER})",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)


def _is_on(config: pytest.Config) -> bool:
    return bool(config.getoption("--tinytrace") or config.getoption("--tinytrace-update"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Record a marked test, keep its trace, and hold it against its baseline."""
    marker = pyfuncitem.get_closest_marker("tinytrace")
    if marker is None or not _is_on(pyfuncitem.config):
        return (yield)
    from tinytrace.exporters.registry import export
    from tinytrace.library import trace

    folder = Path(pyfuncitem.config.rootpath, pyfuncitem.config.getoption("--tinytrace-dir"))
    name = re.sub(r"[^\w.\[\]-]+", "_", pyfuncitem.nodeid)
    with trace(None, sampler="none") as recording:
        result = yield
    recorded = recording.result
    if recorded is None:  # pytest itself is being recorded
        return result
    folder.mkdir(parents=True, exist_ok=True)
    export(recorded, folder / f"{name}.json.gz")
    baseline = folder / f"{name}.baseline.json.gz"
    if pyfuncitem.config.getoption("--tinytrace-update"):
        export(recorded, baseline)
    elif baseline.exists():
        _check(baseline, recorded, marker.kwargs.get("allow") or {})
    return result


def _check(baseline: Path, recorded: Any, allow: dict[Any, float]) -> None:
    from tinytrace.analysis.gate import gate
    from tinytrace.analysis.reader import load

    found = gate(load(baseline), recorded, allowed=allow)
    if found.outcome != "ok":
        reasons = "\n".join(f"  {reason}" for reason in found.reasons)
        pytest.fail(
            f"{found.outcome} against {baseline.name}:\n{reasons}\n"
            "if it is meant: pytest --tinytrace-update",
            pytrace=False,
        )


@pytest.fixture
def tinytrace_bench() -> Callable[..., Speedup]:
    """Return what times two functions in turns, called with baseline, the other one, and data for both.

    Of the result, ``verdict`` and ``ratio`` (with its interval) tell what was shown.
    """

    def bench(baseline: Any, other: Any, data: Any = None, **options: Any) -> Speedup:
        from tinytrace.toolkit.comparing import compare

        return compare(baseline, other, data, **options).speedup

    return bench

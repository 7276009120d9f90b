"""Running a test on each core: the compiled one, where it is built, and the one in Python."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tinytrace.analysis.chrome_lines import core_name

CORES = ("c", "python") if core_name() == "c" else ("python",)


@contextlib.contextmanager
def core(name: str) -> Iterator[None]:
    """Use this core meanwhile."""
    before = os.environ.get("TINYTRACE_CORE")
    os.environ["TINYTRACE_CORE"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["TINYTRACE_CORE"]
        else:
            os.environ["TINYTRACE_CORE"] = before

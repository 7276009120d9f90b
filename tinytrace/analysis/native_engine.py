"""Perfetto's trace processor as a program, through Perfetto's own Python package.

The package gets the program from the internet the first time that it is needed, checks it against a hash, and
keeps it in `KEPT`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from tinytrace.analysis.sql_answer import Answer, answer_of, not_read, refused
from tinytrace.errors import EngineError, UsageError

# What the package does to find its program, in a process of its own: it prints, and so does the program that
# it has download things.
FIND = """\
from perfetto.prebuilts.manifests.trace_processor_shell import TRACE_PROCESSOR_SHELL_MANIFEST
from perfetto.prebuilts.perfetto_prebuilts import get_perfetto_prebuilt
path = get_perfetto_prebuilt(TRACE_PROCESSOR_SHELL_MANIFEST)
print(); print(path)
"""
KEPT = "~/.local/share/perfetto/prebuilts"
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens: refused at once
PROXIES = ("https_proxy", "http_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")
START_LIMIT_S = 30
PARSING = "Failed while parsing trace. Error message: "


def find_program(download: bool) -> Path:
    """Return where the program is.

    Args:
        download: get it if it is not there.

    Raises:
        EngineError: it is not there, or cannot be had; says why.
    """
    environment = dict(os.environ)
    if not download:
        kept = os.path.expanduser(KEPT)  # noqa: PTH111 - as the package does
        if not Path(kept).is_dir():  # the package would make it
            raise EngineError(f"there is none in {KEPT}")
        environment.update(dict.fromkeys(PROXIES, NOWHERE), no_proxy="", NO_PROXY="")
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        cwd="/",  # `-c` looks for modules in the working directory first
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode == 0 and lines:
        return Path(lines[-1])
    by_curl = [line for line in lines if line.startswith("curl: ")]
    raise EngineError((by_curl or lines or ["no reason given"])[-1].strip())


class NativeEngine:
    """One loaded trace, in a process of Perfetto's.

    Args:
        trace: the open file, in any format that Perfetto reads.
        program: the trace processor.

    Raises:
        UsageError: ``program`` cannot be run.
        TraceFormatError: it refuses the file.
        EngineError: it does not start, or fails.
    """

    def __init__(self, trace: BinaryIO, program: Path) -> None:
        """See the class."""
        from perfetto.trace_processor import (
            TraceProcessor,
            TraceProcessorConfig,
            TraceProcessorException,
        )

        if not os.access(program, os.X_OK) or program.is_dir():
            raise UsageError(f"{program}: is no program that can be run")
        config = TraceProcessorConfig(bin_path=str(program), load_timeout=START_LIMIT_S)
        self._refusal = TraceProcessorException
        try:
            self._engine = TraceProcessor(trace=trace, config=config)
        except TraceProcessorException as problem:
            if PARSING in str(problem):
                raise not_read(str(problem).removeprefix(PARSING)) from problem
            raise EngineError(f"{program} does not start: {_said_at_start(problem)}") from problem
        except (OSError, HTTPException) as problem:
            raise EngineError(f"{program} does not answer: {_last_line(problem)}") from problem

    def ask(self, sql: str) -> Answer:
        """See `SqlEngine`."""
        try:
            result = self._engine.query(sql)
        except self._refusal as problem:
            raise refused(str(problem)) from problem
        except (OSError, HTTPException) as problem:
            raise EngineError(f"Perfetto's engine is gone: {_last_line(problem)}") from problem
        return answer_of(result.column_names, list(result.cells))

    def close(self) -> None:
        """End the process."""
        self._engine.close()


def _last_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1].strip()


def _said_at_start(problem: Exception) -> str:
    """The last line that the program printed, out of a message that has all, and advice."""
    printed = re.search(r"stderr: (.*?)(\nIf this is a slow|\Z)", str(problem), re.DOTALL)
    lines = printed[1].strip().splitlines() if printed else []
    return lines[-1].strip() if lines else "it says nothing"

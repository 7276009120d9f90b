"""A fresh interpreter for something of ours: what it says, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from tinytrace.cli.elsewhere import Elsewhere


def program(folder: Path, text: str) -> Elsewhere:
    """Something that takes the place of the interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Elsewhere(str(path), {"PATH": os.environ["PATH"], "WORD": "hello"})


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_command_of_ours_is_run() -> None:
    code, printed = Elsewhere(sys.executable, dict(os.environ)).run(["--version"])
    assert code == 0
    assert printed.startswith("tinytrace ")


def test_both_streams_the_exit_code_and_the_environment_are_those_of_the_program(
    tmp_path: Path,
) -> None:
    before = open_files()
    ended = program(tmp_path, "echo $WORD; echo there >&2; read line; exit 7").run(["x"])
    assert ended == (7, "hello\nthere\n")
    assert open_files() == before


def children() -> set[int]:
    """Those of this process, those too that have ended and are not waited for."""
    return {child.pid for child in psutil.Process().children()}


def test_what_takes_too_long_is_killed(tmp_path: Path) -> None:
    before = open_files(), children()
    assert program(tmp_path, "echo begun; exec sleep 30").run([], limit_s=0.1) == (None, "")
    assert (open_files(), children()) == before


def test_what_cannot_be_started_is_an_error_and_leaves_no_file_open(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError):
        Elsewhere(str(tmp_path / "nothing"), {}).run([])
    assert open_files() == before

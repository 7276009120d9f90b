"""Command lines, run as a user runs them: in a process of their own, several in one to save time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DRIVER = """\
import json, os, resource, sys
from tinytrace.cli import main

MARK = "\\x1e"
for argv in json.loads(sys.argv[1]):
    try:
        code = main(argv)
    except SystemExit as ending:
        code = ending.code or 0
    sys.stdout.flush()
    os.write(1, f"{MARK}{code}{MARK}".encode())
    os.write(2, MARK.encode())
"""
MARK = "\x1e"


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that was said on stderr, without what stands before every one."""
        assert self.err.startswith("tinytrace: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        return self.err.removeprefix("tinytrace: ").rstrip("\n")


def run_commands(argvs: Sequence[Sequence[str]], folder: Path) -> list[Done]:
    """Run command lines one after another in one process; each is what comes after ``tinytrace``."""
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps([list(argv) for argv in argvs])],
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    parts = ended.stdout.decode().split(MARK)
    outs, codes = parts[:-1:2], parts[1::2]
    errs = ended.stderr.decode().split(MARK)[:-1]
    return [Done(int(code), out, err) for code, out, err in zip(codes, outs, errs, strict=True)]

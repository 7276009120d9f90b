"""Running one program twice: under plain ``python``, and recorded; they must not be told apart.

``same(program)`` is a recorded run that was compared byte for byte: exit status or signal, stdout, stderr.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tinytrace
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.chrome_lines import core_name
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

ROOT = Path(__file__).parents[2]
CORES = ("c", "python") if core_name() == "c" else ("python",)
LIMIT_S = 60.0  # generous: what hangs is killed and fails
USE_NUMPY = "import numpy as np; np.add(np.ones(3), 1)\n"


@dataclass(frozen=True)
class Ended:
    """How a program ended, as its parent and its reader see it; ``status`` −9: killed by signal 9."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass
class Place:
    """A folder that programs are run in, and one beside it where their traces go."""

    folder: Path
    out: Path
    core: str = CORES[0]
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    @classmethod
    def make(cls, parent: Path, **files: str) -> Place:
        """Make both folders, and these files; ``train="…"`` is ``train.py``."""
        place = cls(parent / "program", parent / "out")
        place.folder.mkdir()
        place.out.mkdir()
        for name, text in files.items():
            place.write(f"{name}.py", text)
        return place

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the program; returns where."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @property
    def output(self) -> Path:
        """The trace file."""
        return self.out / "trace.json"

    def environ(self) -> dict[str, str]:
        """What programs are given: ours less all that changes how Python behaves."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("PYTHON", "TINYTRACE_", "COVERAGE"))
        }
        return {**kept, "TINYTRACE_CORE": self.core, **self.environment}

    def command(
        self, program: tuple[str, ...], python: tuple[str, ...] = (), own: tuple[str, ...] = ("-q",)
    ) -> list[str]:
        """The command that records a program; ``python`` are options of the interpreter, ``own`` ours."""
        return [self.python, *python, "-m", "tinytrace", *own, "-o", str(self.output), *program]

    def start(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a command in the folder, with pipes."""
        given = {
            "cwd": self.folder,
            "env": self.environ(),
            **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
        }
        return subprocess.Popen(command, **{**given, **options})  # type: ignore[call-overload, no-any-return]

    def end(self, process: subprocess.Popen[bytes], stdin: bytes = b"") -> Ended:
        """Wait for its end."""
        try:
            out, err = process.communicate(stdin, LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"it hangs: {process.args!r}\n{out!r}\n{err!r}") from None
        return Ended(process.returncode, out or b"", err or b"")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a process outside is doing."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, "it hangs"
            time.sleep(0.01)

    def plain(self, *program: str, python: tuple[str, ...] = (), stdin: bytes = b"") -> Ended:
        """Run a program under plain Python."""
        return self.end(self.start([self.python, *python, *program]), stdin)

    def record(
        self,
        *program: str,
        python: tuple[str, ...] = (),
        own: tuple[str, ...] = ("-q",),
        stdin: bytes = b"",
    ) -> Ended:
        """Run it recorded."""
        return self.end(self.start(self.command(program, python, own)), stdin)

    def same(
        self,
        *program: str,
        python: tuple[str, ...] = (),
        own: tuple[str, ...] = ("-q",),
        stdin: bytes = b"",
        alike: Callable[[bytes], bytes] = bytes,
    ) -> Ended:
        """Run it both ways and assert that they end alike; returns how.

        Args:
            program: as on Python's command line.
            python: options of the interpreter.
            own: options of tinytrace.
            stdin: what is written to it.
            alike: takes out of stdout and stderr what differs between any two runs (process ids).
        """
        plain = self.plain(*program, python=python, stdin=stdin)
        recorded = self.record(*program, python=python, own=own, stdin=stdin)
        assert recorded.status == plain.status, recorded
        for name in ("stdout", "stderr"):
            theirs, ours = alike(getattr(plain, name)), alike(getattr(recorded, name))
            assert ours == theirs, difference(theirs, ours)
        return recorded

    def trace(self) -> Trace:
        """The trace that was written; it is complete, and Perfetto takes it."""
        check_trace_file(self.output)
        assert list(self.out.iterdir()) == [self.output], "a run folder is left"
        return tinytrace.load(self.output)

    def runs(self) -> list[Path]:
        """The run folders that are left."""
        return sorted((self.out / ".tinytrace").glob("*"))

    def recover(self) -> Trace:
        """Recover the one run that is left."""
        (run,) = self.runs()
        command = [
            self.python,
            "-m",
            "tinytrace",
            "recover",
            "-q",
            str(run),
            "-o",
            str(self.output),
        ]
        ended = self.end(self.start(command))
        assert ended == Ended(0, b"", b"")
        return self.trace()


def difference(plain: bytes, recorded: bytes) -> str:
    """What differs, for people to read."""
    before, after = ([repr(x) for x in text.splitlines(True)] for text in (plain, recorded))
    lines = difflib.unified_diff(before, after, "plain", "recorded", n=0, lineterm="")
    return "\n".join(line[:500] for line in lines)


def ops(trace: Trace) -> list[str]:
    """The names of the operations in a trace, in order, less those that fill a new array."""
    kinds = zip(trace.spans.name_id, trace.spans.kind, strict=True)
    names = [trace.strings[name] for name, kind in kinds if kind == Kind.OP]
    return [name for name in names if name not in ("copyto", "array")]


def process_names(trace: Trace) -> list[str]:
    """The names of its processes."""
    return [trace.strings[i] for i in trace.processes.name_id]


def functions(trace: Trace) -> set[str]:
    """The names of the functions in its sampled stacks."""
    return {trace.strings[i] for i in trace.frames.name_id}


def without_addresses(text: bytes) -> bytes:
    """Memory addresses are random in any two runs."""
    words = text.split(b" at 0x")
    return b" at ".join([words[0], *(w.lstrip(b"0123456789abcdef") for w in words[1:])])

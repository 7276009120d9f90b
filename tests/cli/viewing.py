"""``view`` as a process, for tests that are its browser."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from tinytrace.cli.view import PORT

LIMIT_S = 60.0


@dataclass
class Viewing:
    """A ``view`` that runs; ``address`` is what it has printed."""

    process: subprocess.Popen[str]
    address: str

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the address."""
        question = self.address.partition("?")[2]
        return {name: values[0] for name, values in parse_qs(question).items()}

    def end(self, signum: int | None = None) -> tuple[int, str, str]:
        """How it ends, by itself or by a signal: exit code, what else it printed, what it said."""
        if signum is not None:
            self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, out, err


@contextmanager
def viewing(*arguments: str | Path, **environment: str) -> Iterator[Viewing]:
    """Start ``view``; afterwards it has ended."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytrace", "view", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
    )
    try:
        assert process.stdout is not None
        yield Viewing(process, process.stdout.readline().strip())
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@contextmanager
def port_for_us() -> Iterator[None]:
    """Wait until no other test on this machine has the port that the UI reads from."""
    with open(Path(tempfile.gettempdir(), f"tinytrace-tests-{PORT}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = time.monotonic() + LIMIT_S
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", PORT))
                    break
                except OSError:
                    assert time.monotonic() < end, f"something else has port {PORT}"
            time.sleep(0.1)
        yield

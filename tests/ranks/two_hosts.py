"""Two hosts on one machine: processes with a network, a name, a clock and a boot of their own.

Linux namespaces do this, for root. Where they may not be made, the processes run as they are, on one host:
``Hosts.are_apart`` says so, and a test expects of them what holds then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Run as: NAME OFFSET_NS BOOT_FILE COMMAND...; MS_REC | MS_PRIVATE, then MS_BIND.
ENTER = """
import ctypes, os, subprocess, sys
name, offset_ns, boot = sys.argv[1], int(sys.argv[2]), sys.argv[3]
libc = ctypes.CDLL(None)
NEWNS, NEWUTS, NEWTIME = 0x20000, 0x4000000, 0x80
if libc.unshare(NEWNS | NEWUTS | NEWTIME):
    sys.exit(99)
with open("/proc/self/timens_offsets", "w") as file:
    file.write(f"monotonic {offset_ns // 10**9} {offset_ns % 10**9}")
libc.sethostname(name.encode(), len(name))
libc.mount(None, b"/", None, 0x4000 | 0x40000, None)
if libc.mount(boot.encode(), b"/proc/sys/kernel/random/boot_id", None, 0x1000, None):
    sys.exit(99)
sys.exit(subprocess.call(sys.argv[4:], close_fds=False))
"""


@dataclass(frozen=True)
class Hosts:
    """How to run something on each of two hosts.

    Attributes:
        prefixes: what comes before a command, on the first and on the second.
        are_apart: whether they are hosts; else both are this one.
        address: of the first.
        interfaces: names of their networks; "": the usual one.
    """

    prefixes: tuple[list[str], list[str]]
    are_apart: bool
    address: str = "127.0.0.1"
    interfaces: tuple[str, str] = ("lo", "lo")


def apart(folder: Path, skew_ns: int) -> Hosts:
    """Return two hosts; the clock of the second shows ``skew_ns`` more. They share the network."""
    enter = folder / "enter.py"
    enter.write_text(ENTER)
    prefixes = []
    for name, offset_ns in (("a", 0), ("b", skew_ns)):
        boot = folder / f"boot-{name}"
        boot.write_text(f"{ord(name):08x}-0000-4000-8000-000000000000\n")
        prefixes.append([sys.executable, str(enter), name, str(offset_ns), str(boot)])
    tried = [subprocess.run([*p, "true"], check=False, capture_output=True) for p in prefixes]
    if any(ended.returncode for ended in tried):
        return Hosts(([], []), are_apart=False)
    return Hosts((prefixes[0], prefixes[1]), are_apart=True)


@contextlib.contextmanager
def networked(folder: Path, skew_ns: int) -> Iterator[Hosts]:
    """Two hosts that are joined by a cable, and by nothing else."""
    hosts = apart(folder, skew_ns)
    one, two = (f"tt{os.getpid()}{name}" for name in "ab")
    commands = [
        f"ip netns add {one}", f"ip netns add {two}",
        f"ip link add v{one} netns {one} type veth peer name v{two} netns {two}",
        f"ip -n {one} addr add 10.77.0.1/24 dev v{one}", f"ip -n {two} addr add 10.77.0.2/24 dev v{two}",
        f"ip -n {one} link set v{one} up", f"ip -n {two} link set v{two} up",
        f"ip -n {one} link set lo up", f"ip -n {two} link set lo up",
    ]  # fmt: skip
    try:
        if not hosts.are_apart or shutil.which("ip") is None or not all(map(_done, commands)):
            yield hosts
            return
        inside = tuple(
            ["ip", "netns", "exec", name, *prefix]
            for name, prefix in zip((one, two), hosts.prefixes, strict=True)
        )
        yield Hosts((inside[0], inside[1]), True, "10.77.0.1", (f"v{one}", f"v{two}"))
    finally:
        if shutil.which("ip") is not None:
            for name in (one, two):
                _done(f"ip netns delete {name}")


def _done(command: str) -> bool:
    return subprocess.run(command.split(), check=False, capture_output=True).returncode == 0

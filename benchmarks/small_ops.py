"""A program of many small operations that reports its own memory. No benchmark by itself.

    python benchmarks/small_ops.py OPERATIONS [FOLDER]

prints ``memory`` and a JSON object five times, evenly spread over the operations: how many there were,
what the kernel says is resident (all of it; anonymous, which is what a program allocates; and pages of
files), and the disk that FOLDER takes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

PARTS = 5
FIELDS = {"VmRSS": "rss_kb", "RssAnon": "anon_kb", "RssFile": "file_kb", "RssShmem": "shmem_kb"}


def resident() -> dict[str, int]:
    """Return what /proc says is in memory, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {ours: int(values[theirs].split()[0]) for theirs, ours in FIELDS.items()}


def disk_bytes(folder: Path) -> int:
    """Return the blocks that the files of a folder take."""
    blocks = 0
    for file in folder.rglob("*"):
        try:
            blocks += file.stat().st_blocks
        except OSError:  # a segment that has been folded meanwhile
            continue
    return blocks * 512


def main() -> None:
    """Add 4×4 arrays."""
    operations = int(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    a = np.ones((4, 4), np.float32)
    for part in range(1, PARTS + 1):
        for _ in range(operations // PARTS):
            a + a
        disk = disk_bytes(folder) if folder is not None else 0
        now = {"operations": part * operations // PARTS, "disk_bytes": disk, **resident()}
        print("memory", json.dumps(now))


if __name__ == "__main__":
    main()

"""Which rank of a job this process is: from what its launcher has put into the environment, and where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Launcher, then the variables of rank, of the number of ranks, and of the rank on this host. The first that is
# whole counts: torchrun inside of srun says what the program goes by.
VARIABLES = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("PMIx", "PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK"),
    ("Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
)
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_OFFSETS = Path("/proc/self/timens_offsets")
MOST_RANKS = 10**7
NS_PER_S = 10**9


def rank_of(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the rank that a launcher says this process is; None: none, or a job of one.

    Args:
        environment: of the process.

    Returns:
        ``rank``, ``world_size``, ``launcher``; where known ``local_rank`` and ``restart`` (how often the job was
        started anew).

    Example:
        >>> rank_of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
        {'rank': 3, 'world_size': 8, 'launcher': 'torchrun', 'local_rank': 1}
        >>> rank_of({"RANK": "general"}) is None, rank_of({"RANK": "0", "WORLD_SIZE": "1"}) is None
        (True, True)
    """
    for launcher, rank_name, size_name, local_name in VARIABLES:
        rank, size = (_number(environment.get(name)) for name in (rank_name, size_name))
        if not 0 <= rank < size:
            continue
        if size == 1:
            return None
        found = {"rank": rank, "world_size": size, "launcher": launcher}
        local, restart = _number(environment.get(local_name)), _number(environment.get(RESTARTS))
        if local >= 0:
            found["local_rank"] = local
        if restart > 0:
            found["restart"] = restart
        return found
    return None


def _number(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 8:
        return -1
    number = int(text)
    return number if number < MOST_RANKS else -1


def file_of_rank(output: str, environment: Mapping[str, str]) -> Path:
    """Return where the trace of this process goes, so that the ranks of a job do not collide.

    Args:
        output: what was asked for: a file, or a folder (that exists, or ends in ``/``).
        environment: of the process.

    Example:
        >>> job = {"RANK": "3", "WORLD_SIZE": "8"}
        >>> str(file_of_rank("trace.json.gz", job)), str(file_of_rank("out/", job)), str(file_of_rank("a.json", {}))
        ('trace-rank3.json.gz', 'out/trace-rank3.json', 'a.json')
        >>> str(file_of_rank("trace.json", {**job, "TORCHELASTIC_RESTART_COUNT": "1"}))
        'trace-rank3-restart1.json'
    """
    rank = rank_of(environment)
    if rank is None:
        return Path(output)
    which = f"-rank{rank['rank']}"
    if "restart" in rank:
        which += f"-restart{rank['restart']}"
    path = Path(output)
    if output.endswith(os.sep) or path.is_dir():
        path /= "trace.json"
    stem, dot, endings = path.name.partition(".")
    if not stem:  # ".trace"
        return path.with_name(path.name + which)
    return path.with_name(f"{stem}{which}{dot}{endings}")


def clock_domain() -> dict[str, Any]:
    """Return what tells whether two processes share a clock, JSON-ready.

    ``boot_id``: the same for all processes of one running kernel, whose CLOCK_MONOTONIC is one clock (in containers,
    too); ``monotonic_offset_ns``: what the time namespace of this process adds to it (time_namespaces(7)); ``host``:
    its name.
    """
    found: dict[str, Any] = {"host": os.uname().nodename}
    try:
        found["boot_id"] = BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return found
    offset_ns = monotonic_offset_ns(TIME_OFFSETS)
    if offset_ns:
        found["monotonic_offset_ns"] = offset_ns
    return found


def monotonic_offset_ns(file: Path) -> int:
    """Return what a time namespace adds to CLOCK_MONOTONIC; 0 where the kernel has no such namespaces.

    Args:
        file: ``timens_offsets`` of a process: lines of clock, seconds, nanoseconds.
    """
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        for line in lines:
            clock, seconds, nanoseconds = line.split()
            if clock in ("monotonic", "1"):
                return int(seconds) * NS_PER_S + int(nanoseconds)
    except (OSError, ValueError):
        return 0
    return 0


def entries(metas: Sequence[Mapping[str, Any]], parents: Sequence[int]) -> list[dict[str, Any]]:
    """Return what ``meta["ranks"]`` of a trace is: an entry per rank.

    Args:
        metas: what each process says of itself; ``rank`` as `rank_of` made it.
        parents: row of each process's parent, which stands before it, or −1.

    Returns:
        ``process`` (row of the rank's first process), ``processes`` (of that and of those that it started),
        ``rank``, ``world_size``, ``host``, and ``offset_ns`` 0, ``error_ns`` 0: within a run there is one clock.

    Example:
        >>> rank = {"rank": 1, "world_size": 2}
        >>> entries([{"rank": rank}, {"rank": rank}], [-1, 0])
        [{'process': 0, 'processes': [0, 1], 'rank': 1, 'world_size': 2, 'offset_ns': 0, 'error_ns': 0}]
    """
    found: list[dict[str, Any]] = []
    entry_of: list[dict[str, Any] | None] = []
    for row, (meta, parent) in enumerate(zip(metas, parents, strict=True)):
        above = entry_of[parent] if 0 <= parent < row else None
        told = meta.get("rank")
        if not isinstance(told, dict) or type(told.get("rank")) is not int:
            entry = above
        elif above is not None and above["rank"] == told["rank"]:
            entry = above  # started by the rank's process, with its environment
        else:
            entry = {"process": row, "processes": [], "rank": told["rank"]}
            if type(told.get("world_size")) is int:
                entry["world_size"] = told["world_size"]
            domain = meta.get("clock_domain")
            host = domain.get("host") if isinstance(domain, dict) else None
            entry |= {"host": host} if isinstance(host, str) else {}
            entry |= {"offset_ns": 0, "error_ns": 0}
            found.append(entry)
        if entry is not None:
            entry["processes"].append(row)
        entry_of.append(entry)
    return found

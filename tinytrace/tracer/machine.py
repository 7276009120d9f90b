"""What the machine and the interpreter of a recording are. Only `numerics` imports anything heavy."""

from __future__ import annotations

import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")


def machine() -> dict[str, Any]:
    """Return what this machine and interpreter are, JSON-ready.

    Example:
        >>> machine()["implementation"]
        'cpython'
    """
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
    }


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Return how many CPUs this process may use at once: by its affinity, and by the quota of its cgroup.

    Args:
        cgroup: where the files of the process's control group are, of version 2 or 1.

    Example:
        >>> usable_cpus() >= 1
        True
    """
    allowed = getattr(os, "sched_getaffinity", None)
    cpus = len(allowed(0)) if allowed else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """CPUs' worth of time that the control group is given; None: no limit, or none that can be read."""
    try:
        words = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            names = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
            words = [(cgroup / name).read_text(encoding="ascii") for name in names]
        except (OSError, ValueError):
            return None
    try:
        share, period = (int(word) for word in words)
    except ValueError:  # "max 100000"
        return None
    return share / period if share > 0 and period > 0 else None


def numerics() -> dict[str, Any]:
    """Return which NumPy this process has loaded, and which BLAS with how many threads; JSON-ready.

    ``blas`` is None where threadpoolctl knows none.

    Raises:
        KeyError: NumPy was not imported.
        ImportError: threadpoolctl is not there.

    Example:
        >>> import numpy
        >>> numerics()["numpy"] == numpy.__version__
        True
    """
    from threadpoolctl import threadpool_info

    found: dict[str, Any] = {
        "numpy": str(sys.modules["numpy"].__version__),
        "blas": None,
        "threads": 1,
    }
    libraries = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    # SciPy brings one of its own along; NumPy's lies in numpy.libs, or is the only one of the system.
    libraries.sort(key=lambda pool: "numpy" not in str(pool.get("filepath")))
    if libraries:
        keys = ("internal_api", "version", "architecture")
        found["blas"] = " ".join(str(libraries[0][key]) for key in keys if libraries[0].get(key))
        found["threads"] = int(libraries[0]["num_threads"])
    return found


def torch_facts() -> dict[str, Any] | None:
    """Return which PyTorch this process has loaded, its threads, and the GPUs that it uses; None: none.

    Nothing is initialised: what the program has not used is not asked.

    Example:
        >>> torch_facts() is None or sorted(torch_facts()) == ["devices", "threads", "torch"]
        True
    """
    torch = sys.modules.get("torch")
    try:
        if torch is None:
            return None
        used = torch.cuda.is_initialized()
        count = torch.cuda.device_count() if used else 0
        return {
            "torch": str(torch.__version__),
            "threads": int(torch.get_num_threads()),
            "devices": [str(torch.cuda.get_device_name(number)) for number in range(count)],
        }
    except (AttributeError, RuntimeError, TypeError):  # half imported, or something of that name
        return None


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        return None
    return None

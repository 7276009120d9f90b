"""What a process is called in the trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

MAX_CHARACTERS = 200
DATA_LOADER = "torch.utils.data._utils.worker"  # where the function is that its workers run


def process_name(*, is_child: bool) -> str:
    """Return the name that ``multiprocessing`` or a framework gave this process, else its command line.

    Args:
        is_child: it takes part in the run of another process.

    Example:
        >>> import sys
        >>> process_name(is_child=False) == " ".join([Path(sys.orig_argv[1]).name, *sys.orig_argv[2:]])[:200]
        True
    """
    if is_child:
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            process = processes.current_process()
            return _of_data_loader(process) or str(process.name)
    words = sys.orig_argv[1:] or ["python"]
    return " ".join([Path(words[0]).name, *words[1:]])[:MAX_CHARACTERS]


def _of_data_loader(process: Any) -> str | None:
    """The name of a worker of PyTorch's DataLoader, to which `multiprocessing` gives a number only."""
    target: Any = getattr(process, "_target", None)
    if getattr(target, "__module__", "") != DATA_LOADER:
        return None
    import inspect

    try:
        given = inspect.signature(target).bind(*process._args, **process._kwargs).arguments
    except (AttributeError, TypeError, ValueError):
        return None
    number = given.get("worker_id")
    return None if number is None else f"DataLoader worker {number}"

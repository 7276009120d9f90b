"""Places in code as people write them: ``train.py:42 forward``."""

from __future__ import annotations

from tinytrace.tracer.trace import Trace


def place(trace: Trace, frame_id: int) -> str | None:
    """Return file (without folder) and line of a frame: ``train.py:42``; None: not known."""
    if frame_id < 0:
        return None
    file_id, line = int(trace.frames.file_id[frame_id]), int(trace.frames.line[frame_id])
    if file_id < 0:
        return None
    path = trace.strings[file_id]
    parts = path.replace("\\", "/").rsplit("/", 2)
    file = "/".join(parts[-2:]) if parts[-1] in ("__init__.py", "__main__.py") else parts[-1]
    return f"{file}:{line}" if line else file


def function_name(trace: Trace, frame_id: int) -> str | None:
    """Return the name of a frame's function; None: not known."""
    name_id = int(trace.frames.name_id[frame_id]) if frame_id >= 0 else -1
    return trace.strings[name_id] if name_id >= 0 else None


def site(trace: Trace, frame_id: int) -> str | None:
    """Return place and function of a frame: ``train.py:42 forward``; None: neither is known."""
    known = [part for part in (place(trace, frame_id), function_name(trace, frame_id)) if part]
    return " ".join(known) or None

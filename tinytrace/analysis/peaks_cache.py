"""Roofs kept from one run to the next: a small file per machine, in the user's folder for such things."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from pathlib import Path

from tinytrace.analysis.peaks import Peaks

LARGEST_BYTES = 1_000_000  # a hundred times what there is to write


def folder() -> Path:
    """Return where the files lie: ``$XDG_CACHE_HOME/tinytrace`` or what the platform has for it.

    Raises:
        OSError: this user has no home.
    """
    told = os.environ.get("XDG_CACHE_HOME", "")
    if (
        told and Path(told).is_absolute()
    ):  # by the XDG base directory specification others do not count
        return Path(told) / "tinytrace"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "tinytrace" / "Cache"
    try:
        home = Path.home()
    except RuntimeError as problem:
        raise OSError("no home folder") from problem
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "tinytrace"


def path_of(fingerprint: str) -> Path:
    """Return the file of a machine.

    Raises:
        OSError: this user has no home.
    """
    return folder() / f"peaks-{fingerprint}.json"


def load(fingerprint: str) -> Peaks | None:
    """Return what is kept for a machine; None: nothing, or nothing that can be used.

    A file that is broken, too large, of an older form or of another machine is as good as none.
    """
    try:
        with open(path_of(fingerprint), "rb") as file:
            text = file.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            return None
        peaks = Peaks.from_json(json.loads(text))
    except (OSError, ValueError, RecursionError):
        return None
    return peaks if peaks.fingerprint == fingerprint else None


def store(peaks: Peaks) -> Path:
    """Keep roofs for the next run, and return where. The file is replaced by a complete one.

    Raises:
        OSError: it cannot be written.
    """
    target = path_of(peaks.fingerprint)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(peaks.to_json(), indent=1) + "\n", encoding="ascii")
        temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return target

"""The parts of command lines that several subcommands share."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from tinytrace.errors import OutputError, UsageError
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES

MIN_RATE_HZ, MAX_RATE_HZ = 1.0, 10_000.0
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Parser(argparse.ArgumentParser):
    """Errors are `UsageError`: one line, no usage text; and options are never abbreviated."""

    def __init__(self, name: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"python -m tinytrace {name}".strip(),
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message} (help: {self.prog} -h)")


def rate_hz(text: str) -> float:
    """Return a sampling rate in Hz: ``"1000"``, ``"99.5"``.

    Raises:
        argparse.ArgumentTypeError: no number, or out of range.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be a rate in Hz, {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}"
        )
    return rate


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: not that.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def step_range(text: str) -> tuple[int, int]:
    """Return the numbers of steps: ``"10:20"`` is 10 to 19, ``"5"`` is the fifth after the first alone.

    Raises:
        argparse.ArgumentTypeError: not that.

    Example:
        >>> step_range("10:20"), step_range("5")
        ((10, 20), (5, 6))
    """
    match = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text, re.ASCII)
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first + 1
    if not match or last <= first:
        raise argparse.ArgumentTypeError(f"{text!r}: must be steps such as 10:20")
    return first, last


def size_bytes(text: str) -> int:
    """Return a size in bytes: ``"200MB"`` (10^6), ``"1.5GiB"`` (2^30), ``"4096"``; at least 1.

    Raises:
        argparse.ArgumentTypeError: not a size.

    Example:
        >>> size_bytes("200MB"), size_bytes("1.5 KiB")
        (200000000, 1536)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    unit = ((match and match[2]) or "").lower()
    size = int(float(match[1]) * {**UNITS, **BINARY_UNITS}[unit]) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a size such as 200MB or 2GB")
    return size


def rows(text: str) -> int:
    """Return how many rows a table may have: ``"20"``; at least 1.

    Raises:
        argparse.ArgumentTypeError: no such number.
    """
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of rows, 1 or more")
    return int(text)


def disk_limit_bytes(text: str) -> int:
    """Return a size in bytes that recording can work with.

    Raises:
        argparse.ArgumentTypeError: not a size, or too small.
    """
    size = size_bytes(text)
    if size < MIN_DISK_LIMIT_BYTES:
        least = f"{MIN_DISK_LIMIT_BYTES / 10**6:g}MB"
        raise argparse.ArgumentTypeError(f"{text!r}: must be at least {least}")
    return size


def check_writable(output: Path, option: str = "-o") -> None:
    """Find out now that a file cannot be written, and not when there is something to write.

    Args:
        output: where it is to go.
        option: that names it.

    Raises:
        OutputError: it cannot.
    """
    if output.is_dir():
        raise OutputError(f"{output}: is a folder: give the name of a file with {option}")
    if output.exists() and not output.is_file():
        raise OutputError(f"{output}: is no regular file: give the name of a file with {option}")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written: {error.strerror or error}: give another name with {option}"
        ) from error


def version() -> str:
    """Return one line: our version, and the Python that runs it."""
    import importlib.metadata

    try:
        own = importlib.metadata.version("tinytrace")
    except importlib.metadata.PackageNotFoundError:
        own = "(not installed)"
    return (
        f"tinytrace {own}, Python {sys.version.split()[0]}, {os.fspath(Path(__file__).parents[1])}"
    )

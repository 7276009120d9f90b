"""Pictures, by matplotlib: whether one can be made, and writing it whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.cli.options import check_writable
from tinytrace.errors import OutputError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
PIXELS_PER_INCH = 150


def check_picture(picture: Path, option: str) -> None:
    """Find out now that a picture cannot be made, and not when there is something to draw.

    Args:
        picture: where it is to go.
        option: that asks for it.

    Raises:
        UsageError: it has another suffix, or there is no matplotlib.
        OutputError: it cannot be written.
    """
    if picture.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{picture}: pictures are {' or '.join(SUFFIXES)}")
    check_writable(picture)
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UsageError(f"{option} needs matplotlib: pip install 'tinytrace[plot]'")


def new_figure(inches: tuple[float, float]) -> Figure:
    """Return a figure that opens no window, whatever the system has.

    Args:
        inches: width and height.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=PIXELS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, target: Path) -> None:
    """Write a picture, whole or not at all.

    Args:
        figure: what to draw.
        target: ``.png`` or ``.svg``.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = target.with_name(
        f".{target.stem}-{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
    )
    try:
        figure.savefig(temporary, dpi=PIXELS_PER_INCH)
        temporary.replace(target)
    except OSError as problem:
        raise OutputError(
            f"{target}: cannot be written: {problem.strerror or problem}"
        ) from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()

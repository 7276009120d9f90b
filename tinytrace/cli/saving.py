"""From a `Trace` to its file and its summary: the end of a run, and of ``recover``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinytrace.cli.messages import say, stderr
from tinytrace.exporters.registry import export

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

QUICK_S = 1.0  # no progress bar for what takes less


def save(
    trace: Trace, output: Path, budget_bytes: int | None = None, name: str | None = None
) -> Trace:
    """Write a trace, with a progress bar when that takes long; return what was written.

    Args:
        trace: what to write.
        output: where to.
        budget_bytes: the largest file; None: as large as it is.
        name: of the format; None: by the ending of ``output``.

    Raises:
        OutputError: it cannot be written.
        UsageError: there is no such format.
    """
    if budget_bytes is not None:
        from tinytrace.analysis.budget import fit

        trace = fit(trace, budget_bytes)
    with _progress(f"writing {output.name}") as progress:
        export(trace, output, name, progress)
    return trace


def summarise(trace: Trace, output: Path | None) -> None:
    """Print the summary on stderr.

    Args:
        trace: what it is of.
        output: the file that the trace is in.
    """
    from tinytrace.cli.render import print_summary

    stream = stderr()
    if stream is not None:
        with contextlib.suppress(OSError):
            print_summary(trace, output, file=stream)


def mention_unfinished(folder: Path) -> None:
    """Say that runs which never ended in a trace lie in a folder, if there are any."""
    from tinytrace.tracer.store import unfinished_runs

    runs = unfinished_runs(folder)
    if runs:
        which = "an unfinished run is" if len(runs) == 1 else f"{len(runs)} unfinished runs are"
        say(f"{which} in {folder}: python -m tinytrace recover {runs[-1]}")


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None] | None]:
    """A progress bar on stderr, drawn once the first second is over; None without a terminal."""
    stream = stderr()
    if stream is None or not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(file=stream), transient=True)
    task = bar.add_task(what, total=1.0)
    start = time.monotonic()

    def show(share: float) -> None:
        if not bar.live.is_started and time.monotonic() - start > QUICK_S:
            bar.start()
        bar.update(task, completed=share)

    try:
        yield show
    finally:
        bar.stop()

"""From a `Trace` to its file and its summary: the end of a run, and of ``recover``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tinytrace.analysis.figures import clean
from tinytrace.cli.messages import say, stderr
from tinytrace.exporters.registry import export

if TYPE_CHECKING:
    from tinytrace.analysis.peaks import Peaks
    from tinytrace.analysis.peaks_machine import Machine
    from tinytrace.cli.elsewhere import Elsewhere
    from tinytrace.tracer.trace import Trace

QUICK_S = 1.0  # no progress bar for what takes less
REDRAW_S = 0.1


def save_run(
    trace: Trace, output: Path, budget_bytes: int, elsewhere: Elsewhere | None, quiet: bool = True
) -> Trace:
    """Write what a run recorded, cut down to a size; return what was written.

    Args:
        trace: as it was read from the run folder.
        output: where to.
        budget_bytes: the largest file.
        elsewhere: measures the roofs of this machine, where none are kept; None: then the trace has none.
        quiet: say nothing of that.

    Raises:
        OutputError: it cannot be written.
    """
    from tinytrace.analysis.budget import fit
    from tinytrace.analysis.counting import with_convention
    from tinytrace.analysis.peaks_attach import with_peaks

    trace = with_peaks(trace, None if elsewhere is None else partial(_measured, elsewhere, quiet))
    trace = fit(with_convention(trace), budget_bytes)
    save(trace, output)
    return trace


def _measured(elsewhere: Elsewhere, quiet: bool, machine: Machine) -> Peaks:
    from tinytrace.cli.quick_peaks import quick_peaks

    if not quiet:
        say(
            "measuring the roofs of this machine, once, in about a second (python -m tinytrace calibrate)"
        )
    return quick_peaks(machine, elsewhere)


def save(trace: Trace, output: Path, name: str | None = None) -> None:
    """Write a trace, with a progress bar when that takes long.

    Args:
        trace: what to write.
        output: where to.
        name: of the format; None: by the ending of ``output``.

    Raises:
        OutputError: it cannot be written.
        UsageError: there is no such format.
    """
    with progress_bar(f"writing {output.name}", stderr()) as progress:
        export(trace, output, name, progress)


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


def mention_merging(trace: Trace, output: Path) -> bool:
    """Say how the traces of a job's ranks become one; whether this is one of them.

    Unfinished runs beside it are no news then: the other ranks may still be at work, on other hosts, too.

    Args:
        trace: what was written.
        output: where to.
    """
    rank = trace.meta.get("rank")
    if not isinstance(rank, dict) or "launcher" not in rank:
        return False
    who = f"rank {rank['rank']} of {rank['world_size']}"
    say(f"{who}; all of them: python -m tinytrace merge {output.parent} -o job.json")
    return True


def mention_unfinished(folder: Path) -> None:
    """Say that runs which never ended in a trace lie in a folder, if there are any."""
    from tinytrace.tracer.store import unfinished_runs

    runs = unfinished_runs(folder)
    if runs:
        which = "an unfinished run is" if len(runs) == 1 else f"{len(runs)} unfinished runs are"
        say(f"{which} in {folder}: python -m tinytrace recover {runs[-1]}")


@contextlib.contextmanager
def progress_bar(
    what: str, stream: TextIO | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float], None] | None]:
    """A progress bar, drawn once the first second is over; None where there is no terminal.

    Args:
        what: is going on.
        stream: where to draw it.
        clock: tells the time in seconds.
    """
    if stream is None or not stream.isatty():
        yield None
        return
    begun_s = clock()
    drawn: list[Callable[[float], None]] = []
    due_s = begun_s + QUICK_S
    with contextlib.ExitStack() as stack:

        def show(share: float) -> None:
            nonlocal due_s
            if clock() < due_s:
                return
            due_s = clock() + REDRAW_S
            if not drawn:
                drawn.append(stack.enter_context(_drawn_bar(what, stream)))
            drawn[0](share)

        yield show


@contextlib.contextmanager
def _drawn_bar(what: str, stream: TextIO) -> Iterator[Callable[[float], None]]:
    """The bar itself, which goes away at the end. Rich is imported for those who wait only.

    It is drawn by no thread of its own: Python 3.12 starts none while it is shutting down.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(escape(clean(what)), total=1.0)
        yield lambda share: bar.update(task, completed=share, refresh=True)

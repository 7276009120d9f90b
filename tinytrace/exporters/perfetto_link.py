"""What the address of a Perfetto UI says beside which trace to open: where to look, and what to pin.

https://perfetto.dev/docs/visualization/deep-linking-to-perfetto-ui and
https://perfetto.dev/docs/visualization/commands-automation-reference, whose commands are promised to stay.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tinytrace.analysis.account import main_thread
from tinytrace.analysis.median_step import median_step
from tinytrace.exporters.tracks import tracks
from tinytrace.tracer.trace import Trace

AROUND = 10  # a tenth of the step is shown before it and after it, so that one sees where it begins
STEP_TRACK = "Median step"
COUNTERS = ("gflops", "gbps", "rss_mb")  # in JSON a counter's track is called `gflops value`


@dataclass(frozen=True, slots=True)
class Opening:
    """How a trace is opened.

    Attributes:
        step: the number of the step that is shown; None: all of the trace is.
        step_start_ns, step_dur_ns: its time, by the clock of the file.
        start_ns, end_ns: what is shown, likewise.
        pinned: names of tracks that stay in sight, as regular expressions of JavaScript, in this order.
        expanded: names of groups of tracks that are open, likewise.
    """

    step: int | None
    step_start_ns: int
    step_dur_ns: int
    start_ns: int
    end_ns: int
    pinned: tuple[str, ...]
    expanded: tuple[str, ...]

    def parameters(self) -> str:
        """Return this as the parameters of an address, from ``&`` on.

        Example:
            >>> Opening(3, 12, 5, 10, 20, ("^add$",), ()).parameters()[:22]
            '&visStart=10&visEnd=20'
        """
        commands = [_command("PinTracksByRegex", name) for name in self.pinned]
        commands += [_command("ExpandTracksByRegex", name) for name in self.expanded]
        where = ""
        if self.step is not None:
            where = f"&visStart={self.start_ns}&visEnd={self.end_ns}"
            row = f"select {self.step_start_ns} as ts, {self.step_dur_ns} as dur, 'step {self.step}' as name"
            commands.insert(0, _command("AddDebugSliceTrack", row, STEP_TRACK))  # on top
        return f"{where}&startupCommands={quote(json.dumps(commands), safe='')}"


def _command(name: str, *arguments: str) -> dict[str, Any]:
    return {"id": f"dev.perfetto.{name}", "args": arguments}


def opening_of(trace: Trace) -> Opening:
    """Return how to open the Chrome JSON of a trace: at its median step, or whole if it has no steps.

    Args:
        trace: as loaded from the file.

    Example:
        >>> opening_of(Trace()).step is None
        True
    """
    step = median_step(trace)
    thread = main_thread(trace) if step is None else step.thread
    pinned, expanded = _names(trace, -1 if thread is None else thread)
    if step is None:
        return Opening(None, 0, 0, 0, 0, pinned, expanded)
    spans = trace.spans
    margin_ns = (step.end_ns - step.start_ns) // AROUND
    # The UI takes no window that reaches beyond the events of the file.
    start_ns = max(step.start_ns - margin_ns, int(spans.start_ns.min()))
    end_ns = min(step.end_ns + margin_ns, int((spans.start_ns + spans.dur_ns).max()))
    epoch_ns = 0 if "foreign" in trace.meta else trace.start_ns
    return Opening(
        step=step.number,
        step_start_ns=step.start_ns - epoch_ns,
        step_dur_ns=step.end_ns - step.start_ns,
        start_ns=start_ns - epoch_ns,
        end_ns=end_ns - epoch_ns,
        pinned=pinned,
        expanded=expanded,
    )


def _names(trace: Trace, thread: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The track of a thread's spans and the counters; the thread's process.

    The counters of several processes have the same names, and would fill the screen.
    """
    ids, threads, processes = tracks(trace), trace.threads, trace.processes
    pinned, expanded = [], []
    if thread >= 0:
        pinned.append(_named(trace, threads.name_id[thread], "Thread", ids.thread_tids[thread]))
        process = int(threads.process[thread])
        if process >= 0:
            name_id = processes.name_id[process]
            expanded.append(_named(trace, name_id, "Process", ids.pids[process]))
    if len(processes) <= 1:
        pinned.append(f"^({'|'.join(COUNTERS)})( value)?$")
    return tuple(pinned), tuple(expanded)


def _named(trace: Trace, name_id: int, otherwise: str, number: int) -> str:
    """The expression for a track that Perfetto calls by name and number."""
    name = (trace.strings[name_id] if name_id >= 0 else "") or otherwise
    escaped = re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", name)
    escaped = escaped.replace(
        r"\\", r"\\+"
    )  # the importer leaves them doubled in names, as JSON has them
    return f"^{escaped} {number}$"

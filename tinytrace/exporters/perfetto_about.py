"""What a Perfetto file says beside the events: of the run and its steps, and of spans that were summed up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinytrace.analysis.step_finding import find_steps
from tinytrace.exporters.chrome_text import callsite, shown, shown_arguments, shown_value
from tinytrace.exporters.perfetto_samples import sample_period_ns
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence, packet
from tinytrace.exporters.perfetto_tracks import FileTracks
from tinytrace.exporters.perfetto_wire import (
    EventType,
    InternedData,
    SystemInfo,
    TracePacket,
    TrackEvent,
    Utsname,
    field,
)
from tinytrace.tracer.trace import Trace

ABOUT, STEPS, SUMMED_UP = "about", "steps", "summed up"  # categories
EVENTS_PER_PIECE = 1000


class _Events:
    """Events on one track, one by one."""

    def __init__(self, numbering: Numbering, uuid: int, category: str) -> None:
        self._epoch_ns = numbering.epoch_ns
        self._sequence = Sequence.of_track(numbering, uuid)
        self._category = category
        self._packets: list[bytes] = []

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, start_ns: int, end_ns: int, name: str, arguments: dict[str, Any]) -> None:
        """Add a slice, or a mark that ends as it begins."""
        sequence = self._sequence
        category = sequence.intern(InternedData.EVENT_CATEGORIES, self._category)
        content = field(TrackEvent.CATEGORY_IIDS, category)
        content += field(TrackEvent.NAME_IID, sequence.intern(InternedData.EVENT_NAMES, name))
        for key, value in arguments.items():
            content += field(TrackEvent.DEBUG_ANNOTATIONS, sequence.annotation(key, value))
        self._event(EventType.SLICE_BEGIN, start_ns, content)
        self._event(EventType.SLICE_END, end_ns, b"")

    def _event(self, kind: EventType, t_ns: int, content: bytes) -> None:
        at = field(TracePacket.TIMESTAMP, max(0, t_ns - self._epoch_ns))
        event = field(TracePacket.TRACK_EVENT, field(TrackEvent.TYPE, kind) + content)
        self._packets.append(packet(at + self._sequence.head + event))

    def take(self) -> bytes:
        """Return what was added."""
        packets, self._packets = b"".join(self._packets), []
        packets = self._sequence.take() + packets
        if self._sequence.full:
            self._sequence.forget()
        return packets


def about_packets(trace: Trace, numbering: Numbering, tracks: FileTracks) -> Iterator[bytes]:
    """Yield all of it."""
    yield _machine(trace, numbering)
    uuid, description = tracks.under(None, "tinytrace: about this trace")
    events = _Events(numbering, uuid, ABOUT)
    facts = {**_facts(trace, tracks), **shown_value(trace.meta)}
    at_ns = numbering.epoch_ns
    events.add(at_ns, at_ns, "about this trace", facts)
    for warning in trace.warnings:
        events.add(at_ns, at_ns, "warning", {"text": shown(warning)})
    yield description + events.take()
    yield _steps(trace, numbering, tracks)
    yield from _aggregates(trace, numbering, tracks)


def _facts(trace: Trace, tracks: FileTracks) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if period_ns := sample_period_ns(trace):
        facts["perf_sample_ns"] = period_ns  # that each PerfSample stands for
    processes, pids = trace.processes, tracks.ids.pids
    facts["processes"] = [
        {
            "name": shown(trace.strings[processes.name_id[row]]),
            "pid": int(processes.pid[row]),
            "parent": pids[processes.parent[row]] if processes.parent[row] >= 0 else None,
            "start_ns": int(processes.start_ns[row]),
            "end_ns": int(processes.end_ns[row]),
        }
        for row in range(len(processes))
    ]
    return facts


def _machine(trace: Trace, numbering: Numbering) -> bytes:
    """What the viewer's page of facts shows."""
    machine = trace.meta.get("machine")
    if not isinstance(machine, dict):
        return b""
    kernel = b"".join(
        field(number, shown(text))
        for number, key in (
            (Utsname.SYSNAME, "system"),
            (Utsname.RELEASE, "release"),
            (Utsname.MACHINE, "architecture"),
        )
        if isinstance(text := machine.get(key), str)
    )
    content = field(SystemInfo.UTSNAME, kernel)
    cpus = machine.get("cpu_count")
    if isinstance(cpus, int) and 0 < cpus < 2**31:
        content += field(SystemInfo.NUM_CPUS, cpus)
    sequence = Sequence(numbering)
    return sequence.take() + packet(sequence.head + field(TracePacket.SYSTEM_INFO, content))


def _steps(trace: Trace, numbering: Numbering, tracks: FileTracks) -> bytes:
    """Draw the steps on a track of their own beside the threads, with how they are known."""
    steps = find_steps(trace)
    if not len(steps):
        return b""
    process = int(trace.threads.process[steps.thread])
    how = f"{steps.how}, {steps.confidence}: {steps.reason}"
    uuid, description = tracks.under(tracks.processes[process], "steps", description=shown(how))
    events = _Events(numbering, uuid, STEPS)
    rows = zip(steps.number.tolist(), steps.start_ns.tolist(), steps.end_ns.tolist(), strict=True)
    for number, start_ns, end_ns in rows:
        arguments = {"how": steps.how, "confidence": steps.confidence}
        events.add(start_ns, end_ns, f"step {number}", arguments)
    return description + events.take()


def _aggregates(trace: Trace, numbering: Numbering, tracks: FileTracks) -> Iterator[bytes]:
    """Mark where the spans lie that were summed up, thread by thread: a mark has their sums."""
    folded = trace.aggregates
    events: dict[int, _Events] = {}
    for row in range(len(folded)):
        thread = int(folded.thread[row])
        if thread not in events:
            uuid, description = tracks.under(
                tracks.threads[thread], f"{tracks.thread_name(thread)} (summed up)"
            )
            yield description
            events[thread] = _Events(numbering, uuid, SUMMED_UP)
        name = trace.strings[folded.name_id[row]]
        at_ns = int(folded.start_ns[row])
        events[thread].add(at_ns, at_ns, name, _sums(trace, row))
        if len(events[thread]) >= EVENTS_PER_PIECE:
            yield events[thread].take()
    for remaining in events.values():
        yield remaining.take()


def _sums(trace: Trace, row: int) -> dict[str, Any]:
    folded = trace.aggregates
    words = ("count", "ended", "leaves", "total_ns", "self_ns", "min_ns", "max_ns")
    arguments: dict[str, Any] = {word: int(getattr(folded, word)[row]) for word in words}
    arguments["lie_in_ns"] = int(folded.end_ns[row] - folded.start_ns[row])
    signature_id, callsite_id = int(folded.signature_id[row]), int(folded.callsite_id[row])
    if signature_id >= 0:
        signature = trace.signatures[signature_id]
        arguments["shapes"] = [list(o.shape) for o in signature.operands]
        arguments["dtypes"] = [o.dtype for o in signature.operands]
    if callsite_id >= 0:
        arguments["callsite"] = callsite(trace.strings, trace.frames, callsite_id)
    if folded.args_id[row] >= 0:
        arguments["args"] = shown_arguments(trace.strings[folded.args_id[row]])
    return dict(shown_value(arguments))

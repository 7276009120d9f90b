"""The tracks of a Perfetto file: processes, threads, and those that lie under them."""

from __future__ import annotations

from typing import Any

from tinytrace.exporters.chrome_text import shown
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence, packet
from tinytrace.exporters.perfetto_wire import (
    CounterDescriptor,
    ProcessDescriptor,
    ThreadDescriptor,
    TracePacket,
    TrackDescriptor,
    field,
)
from tinytrace.exporters.tracks import tracks
from tinytrace.tracer.trace import Trace

LEVELS = 512  # that a track can show: the importer closes other slices at the ends of deeper ones


class FileTracks:
    """Numbers and descriptions of tracks.

    Args:
        trace: whose processes and threads.
        numbering: of the file.

    Attributes:
        ids: the process and thread ids that are shown.
        processes: per row of ``Trace.processes`` the number of its track; one more for threads of none.
        threads: per row of ``Trace.threads``.
    """

    def __init__(self, trace: Trace, numbering: Numbering) -> None:
        self.ids = tracks(trace)
        self._trace = trace
        self._numbering = numbering
        self.processes = [numbering.uuid() for _ in self.ids.pids]
        self.threads = [numbering.uuid() for _ in self.ids.thread_tids]
        self._sequence = Sequence(numbering)

    def described(self) -> bytes:
        """Return the packets that name processes and threads."""
        trace, ids = self._trace, self.ids
        out = [self._sequence.take()]
        for row, uuid in enumerate(self.processes[: len(trace.processes)]):
            pid = int(trace.processes.pid[row])
            name = shown(trace.strings[trace.processes.name_id[row]])
            name = name if ids.pids[row] == pid else f"{name} (pid {pid})"
            content = field(ProcessDescriptor.PID, ids.pids[row])
            content += field(ProcessDescriptor.PROCESS_NAME, name) if name else b""
            content += field(ProcessDescriptor.LEGACY_SORT_INDEX, row)
            out.append(self._described(uuid, field(TrackDescriptor.PROCESS, content)))
        for row, uuid in enumerate(self.threads):
            name = shown(trace.strings[trace.threads.name_id[row]])
            content = field(ThreadDescriptor.PID, ids.thread_pids[row])
            content += field(ThreadDescriptor.TID, ids.thread_tids[row])
            content += field(ThreadDescriptor.THREAD_NAME, name) if name else b""
            content += field(ThreadDescriptor.LEGACY_SORT_INDEX, row)
            out.append(self._described(uuid, field(TrackDescriptor.THREAD, content)))
        return b"".join(out)

    def overlapping(self, thread: int) -> tuple[int, bytes]:
        """Return the number and the description of a track for spans of a thread that do not nest."""
        return self.under(self.threads[thread], f"{self.thread_name(thread)} (overlapping)")

    def deeper(self, thread: int, level: int) -> tuple[int, bytes]:
        """Return the number and the description of a track for what lies deeper than a track can show.

        Args:
            thread: whose.
            level: 1 for the first such track, 2 for what is too deep for that…
        """
        name = f"{self.thread_name(thread)} (from level {level * LEVELS} on)"
        return self.under(self.threads[thread], name)

    def samples(self, thread: int) -> tuple[int, bytes]:
        """Return the number and the description of the flame chart of a thread."""
        return self.under(self.threads[thread], f"{self.thread_name(thread)} (samples)")

    def thread_name(self, thread: int) -> str:
        """Return the name of a thread."""
        return shown(self._trace.strings[self._trace.threads.name_id[thread]])

    def counter(self, process: int, name: str, unit: str) -> tuple[int, bytes]:
        """Return the number and the description of the track of a counter."""
        uuid = self._numbering.uuid()
        content = field(TrackDescriptor.PARENT_UUID, self.processes[process])
        content += field(TrackDescriptor.NAME, shown(name))
        kind = field(CounterDescriptor.UNIT_NAME, shown(unit)) if unit else b""
        return uuid, self._described(uuid, content + field(TrackDescriptor.COUNTER, kind))

    def under(self, parent: int | None, name: str, **more: Any) -> tuple[int, bytes]:
        """Return the number and the description of a track under another one, or (None) at the top."""
        uuid = self._numbering.uuid()
        content = field(TrackDescriptor.NAME, name)
        if parent is not None:
            content = field(TrackDescriptor.PARENT_UUID, parent) + content
        if "description" in more:
            content += field(TrackDescriptor.DESCRIPTION, more["description"])
        return uuid, self._described(uuid, content)

    def _described(self, uuid: int, content: bytes) -> bytes:
        descriptor = field(TrackDescriptor.UUID, uuid) + content
        return packet(self._sequence.head + field(TracePacket.TRACK_DESCRIPTOR, descriptor))

"""Perfetto's own protobuf format.

It is written in pieces, so that a trace of any length needs little memory, and loads as far as it goes when its end is
missing: what packets refer to precedes them. Nothing is read back: `docs/export.md` says what it keeps and what
it loses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from tinytrace.exporters.perfetto_about import about_packets
from tinytrace.exporters.perfetto_counters import counter_packets
from tinytrace.exporters.perfetto_samples import sample_packets
from tinytrace.exporters.perfetto_sequence import Numbering
from tinytrace.exporters.perfetto_spans import span_packets
from tinytrace.exporters.perfetto_tracks import FileTracks
from tinytrace.exporters.registry import Progress
from tinytrace.tracer.trace import Trace


class PerfettoExporter:
    """Perfetto protobuf."""

    name = "perfetto"
    suffix = ".pftrace"
    help = "Perfetto protobuf: ui.perfetto.dev; half as large as the JSON; tinytrace does not read it back"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace; see `tinytrace.exporters.registry.Exporter`."""
        for piece in pieces(trace, progress):
            out.write(piece)


class PerfettoTraceExporter(PerfettoExporter):
    """The same under the longer of its two usual endings."""

    name = "perfetto-trace"
    suffix = ".perfetto-trace"
    help = "the same"


def pieces(trace: Trace, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield the file in pieces of whole packets."""
    numbering = Numbering(trace)
    tracks = FileTracks(trace, numbering)
    yield tracks.described()
    yield from about_packets(trace, numbering, tracks)
    yield from span_packets(trace, numbering, tracks, progress)
    yield from sample_packets(trace, numbering, tracks)
    yield from counter_packets(trace, numbering, tracks)
    if progress is not None:
        progress(1.0)

"""The Chrome trace JSON, as Perfetto, chrome://tracing and scripts read it. Lossless.

`docs/trace-format.md` describes the file. It is written in pieces, so that a trace of any length needs
little memory, and loads as far as it goes when its end is missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tinytrace.analysis.chrome_tables import escape_text, escape_value, table_parts
from tinytrace.exporters.chrome_behind import SpanWriter
from tinytrace.exporters.chrome_counters import counter_events
from tinytrace.exporters.chrome_samples import sample_events
from tinytrace.exporters.chrome_spans import SpanLines, own_event
from tinytrace.exporters.chrome_text import event, shown, viewable
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.tracks import Tracks, tracks
from tinytrace.tracer.trace import Trace

HELD_BYTES = 32 << 20  # of text that is made while spans are being written
GZIP_MEMBER_BYTES = 4 << 20  # of text: what a file that was cut off loses at most
GZIP_LEVEL = 7


class ChromeExporter:
    """Chrome trace JSON."""

    name = "chrome"
    suffix = ".json"
    help = "Chrome trace JSON: ui.perfetto.dev, chrome://tracing, your own scripts"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace; see `tinytrace.exporters.registry.Exporter`.

        Where the compiled core can, a thread of its own writes the spans while the rest is made here.
        """
        if progress is not None:
            progress(0.0)
        ids = tracks(trace)
        out.writelines(map(viewable, _before_spans(trace, ids)))
        after = map(viewable, _after_spans(trace, ids))
        with SpanWriter(trace, ids, out) as spans:
            held = [*_up_to(HELD_BYTES, after)] if spans.is_behind else []
            spans.finish(progress)
        out.writelines(held)
        out.writelines(after)
        if progress is not None:
            progress(1.0)


def _up_to(size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take the first pieces, of so many bytes and the rest of one."""
    while size > 0 and (piece := next(pieces, None)) is not None:
        size -= len(piece)
        yield piece


class GzippedChromeExporter:
    """Chrome trace JSON, gzipped."""

    name = "chrome-gz"
    suffix = ".json.gz"
    help = "the same, gzipped: about 15 times smaller"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace as several complete gzip members."""
        gathered: list[bytes] = []
        size = 0
        for piece in pieces(trace, progress):
            gathered.append(piece)
            size += len(piece)
            if size >= GZIP_MEMBER_BYTES:
                out.write(_gzip_member(gathered))
                gathered, size = [], 0
        out.write(_gzip_member(gathered))


def _gzip_member(gathered: list[bytes]) -> bytes:
    member = zlib.compressobj(GZIP_LEVEL, wbits=31)
    return b"".join([*map(member.compress, gathered), member.flush()])


def pieces(trace: Trace, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield the text of the file in pieces of whole lines."""
    ids = tracks(trace)
    yield from map(viewable, _before_spans(trace, ids))
    yield from SpanLines(trace, ids).all(progress)
    yield from map(viewable, _after_spans(trace, ids))
    if progress is not None:
        progress(1.0)


def _before_spans(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    epoch_ns = trace.start_ns
    yield b"[\n"
    yield own_event(ids, head={"epoch_ns": epoch_ns, "spans": len(trace.spans)})
    yield own_event(ids, meta=escape_value(trace.meta))
    yield own_event(ids, warnings=[escape_text(warning) for warning in trace.warnings])
    yield from _names(trace, ids)
    for part in table_parts(trace):
        yield own_event(ids, table=part)


def _after_spans(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    epoch_ns = trace.start_ns
    yield from sample_events(trace, ids, epoch_ns)
    yield from counter_events(trace, ids, epoch_ns)
    yield own_event(ids, end={"spans": len(trace.spans)}).rstrip(b",\n") + b"\n]\n"


def _names(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    strings, processes, threads = trace.strings, trace.processes, trace.threads
    for row in range(len(processes)):
        pid = int(processes.pid[row])
        name = shown(strings[processes.name_id[row]])
        name = name if ids.pids[row] == pid else f"{name} (pid {pid})"
        if name:  # the importer takes an empty one for an error
            yield event(ph="M", name="process_name", pid=ids.pids[row], args={"name": name})
        yield event(ph="M", name="process_sort_index", pid=ids.pids[row], args={"sort_index": row})
    for row in range(len(threads)):
        pid, tid = ids.thread_pids[row], ids.thread_tids[row]
        name = shown(strings[threads.name_id[row]])
        if name:
            yield event(ph="M", name="thread_name", pid=pid, tid=tid, args={"name": name})
        order = {"sort_index": 2 * row}
        yield event(ph="M", name="thread_sort_index", pid=pid, tid=tid, args=order)

"""The trace JSON that tinytrace wrote → the `Trace` that it was. Nothing in a file is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.analysis.chrome_tables import (
    EVENT_NAME,
    JSON_VERSION,
    KEY_DTYPES,
    KEY_NAMES,
    TABLES,
    TableReader,
    check_ids,
    check_tree,
    unescape_text,
    unescape_value,
)
from tinytrace.errors import TraceFormatError
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Samples, Spans, Trace

OPENING = b'[\n{"ph":"M","name":"tinytrace",'
# Events that viewers need and that hold nothing of their own: samples and counters are in tables, and
# the end of an asynchronous span is known from its begin.
DRAWN = (b'{"ph":"C",', b'{"ph":"P",', b'{"ph":"e",', b'{"ph":"X","cat":"samples",')
FRAMING = frozenset({b"[", b"]", b"],"})
SPAN_PHASES = ("X", "b", "i")
ABSENT = -2  # of a parent: the one that the times tell
NO_ROWS = np.empty((0, 5), "i8")


def is_ours(event: dict[str, Any]) -> bool:
    """Whether this event is one that tinytrace writes for itself."""
    return event.get("ph") == "M" and event.get("name") == EVENT_NAME


@dataclass
class ChromeReader:
    """Takes the lines, or the events, of one file in their order; then `trace`.

    Args:
        where: the file, for messages.
    """

    where: str
    tables: TableReader = field(init=False)
    head: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ended: bool = False
    # Pieces of start_ns, dur_ns, key, step, parent; times since the epoch of the file.
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    line_number: int = 1

    def __post_init__(self) -> None:
        self.tables = TableReader(self.where)

    def lines(self, text: memoryview) -> None:
        """Take complete lines."""
        spans, others = chrome_lines.parse(text, DRAWN)
        at = 0
        for begin, end, row in others.tolist():
            self._add_rows(spans[at:row])
            at = row
            line = bytes(text[begin:end]).strip()
            if line not in FRAMING and line:
                try:
                    event = orjson.loads(line.rstrip(b","))
                except orjson.JSONDecodeError as e:
                    raise self.tables.error(f"a line that is not JSON: {e}") from e
                self.event(event)
        self._add_rows(spans[at:])

    def last_line(self, text: bytes) -> None:
        """Take what follows the last newline: nothing, or a line that was cut off."""
        try:
            orjson.loads(text.strip().rstrip(b","))
        except orjson.JSONDecodeError:
            return
        self.lines(memoryview(text))

    def event(self, event: Any) -> None:
        """Take one event; those of no meaning here are passed over."""
        if not isinstance(event, dict):
            raise self.tables.error("an event is not an object")
        if is_ours(event):
            self._own(event.get("args"))
        elif event.get("ph") in SPAN_PHASES and event.get("cat") != "samples":
            args = event.get("args")
            if isinstance(args, dict):
                name = next((name for name in KEY_NAMES if name in args), None)
                if name is not None:
                    self.rows.append(self._row(event, args, args[name]))

    def trace(self, *, cut_off: bool = False) -> Trace:
        """Return what was read.

        Raises:
            TraceFormatError: the parts do not fit together.
        """
        if not self.head:
            raise self.tables.error("it has no head")
        rows = np.concatenate([NO_ROWS, *self.rows])
        told = self.head["spans"]
        warnings = list(self.warnings)
        complete = len(rows) == told
        if cut_off or not self.ended:
            text = (
                f"the end of the trace file is missing: {len(rows):,} of {told:,} spans are there"
            )
            text += "" if complete else "; samples after them are left out"
            warnings.append(text)
        if self.ended and not complete:
            warnings.append(
                f"the trace file was changed: {len(rows):,} of {told:,} spans are there; "
                "arrows between spans are left out"
            )
            rows[:, 4] = ABSENT
        spans = self._spans(rows)
        tables: dict[str, Any] = {
            name: cls(**self.tables.columns(name)) for name, cls in TABLES.items()
        }
        if not complete:
            flows = tables["flows"]
            there = (flows.from_span < len(spans)) & (flows.to_span < len(spans))
            tables["flows"] = flows.take(there & (not self.ended))
            if not self.ended:
                tables["samples"] = _beside(tables["samples"], spans)
        trace = Trace(
            strings=tuple(self.tables.strings),
            signatures=tuple(self.tables.signatures),
            spans=spans,
            meta=self.meta,
            warnings=tuple(warnings),
            **tables,
        )
        _check(trace, self.tables.error)
        return trace

    # ---- parts ---------------------------------------------------------------------------------

    def _own(self, args: Any) -> None:
        if not isinstance(args, dict):
            raise self.tables.error("an event of its own has no arguments")
        version = args.get("version")
        if not isinstance(version, int) or version < 1:
            raise self.tables.error("it does not say its format version")
        if version > JSON_VERSION:
            raise TraceFormatError(
                f"{self.where}: written by a newer tinytrace (trace format {version}, this one reads "
                f"up to {JSON_VERSION}): upgrade tinytrace"
            )
        if "head" in args:
            self._take_head(args["head"])
        if "table" in args:
            self.tables.add(args["table"])
        try:
            if "meta" in args:
                self.meta = unescape_value(args["meta"])
            if "warnings" in args:
                self.warnings = [unescape_text(warning) for warning in args["warnings"]]
        except (TypeError, ValueError, RecursionError) as e:
            raise self.tables.error("nonsense in its metadata") from e
        if not isinstance(self.meta, dict):
            raise self.tables.error("nonsense in its metadata")
        self.ended |= "end" in args

    def _take_head(self, head: Any) -> None:
        limits = {"epoch_ns": 2**61, "spans": 2**31}
        if self.head or not isinstance(head, dict):
            raise self.tables.error("nonsense in its head")
        for name, limit in limits.items():
            if type(head.get(name)) is not int or not -limit < head[name] < limit:
                raise self.tables.error("nonsense in its head")
        self.head = head

    def _add_rows(self, spans: NDArray[np.int64]) -> None:
        if len(spans):
            rows = np.full((len(spans), 5), ABSENT, "i8")
            rows[:, :4] = spans
            self.rows.append(rows)

    def _row(self, event: dict[str, Any], args: dict[str, Any], key: Any) -> NDArray[np.int64]:
        start_us: Any = event.get("ts")
        dur_us: Any = event.get("dur", 0)
        values = [key, args.get("step", -1), args.get("parent", ABSENT)]
        dur_ns = args.get("dur_ns")
        numbers = (start_us, dur_us)
        if not all(type(n) in (int, float) and 0 <= n < 1e15 for n in numbers):
            raise self.tables.error("a span's time is nonsense")
        if dur_ns is None:
            dur_ns = round(dur_us * 1000)
        if not all(
            type(n) is int and abs(n) <= chrome_lines.MAX_TIME_NS for n in (*values, dur_ns)
        ):
            raise self.tables.error("a span's numbers are nonsense")
        return np.array([[round(start_us * 1000), dur_ns, *values]], "i8")

    def _spans(self, rows: NDArray[np.int64]) -> Spans:
        error = self.tables.error
        start_ns, dur_ns, key, step, parent = np.ascontiguousarray(rows.T)
        keys = self.tables.columns("keys")
        check_ids(error, "a span's key", key, len(keys["kind"]))
        check_ids(error, "a span's step", step, 2**31, -1)
        columns = {name: keys[name][key] for name in KEY_DTYPES}
        apart = (
            (columns["kind"] == Kind.INSTANT)
            | (dur_ns < 0)
            | (columns["flags"] & Flag.DETACHED != 0)
        )
        told, _ = chrome_lines.nest(columns["thread"], start_ns, dur_ns, apart.astype("u1"))
        parent = np.where(parent == ABSENT, told, parent)
        parent[parent >= len(parent)] = -1
        return Spans(
            start_ns=start_ns + self.head["epoch_ns"],
            dur_ns=dur_ns,
            step=step,
            parent=parent,
            **columns,
        )


def _beside(samples: Samples, spans: Spans) -> Samples:
    """Samples of the time whose spans are there: what they saw later was not all between ops."""
    there = np.zeros(len(samples), "?")
    if len(spans):  # in order of thread, then start
        before = (samples.thread == spans.thread[-1]) & (samples.t_ns <= spans.start_ns[-1])
        there = (samples.thread < spans.thread[-1]) | before
    kept: Samples = samples.take(there)
    return kept


def _check(trace: Trace, error: Any) -> None:
    """Raise unless every id in the trace refers to something in it."""
    strings, frames = len(trace.strings), len(trace.frames)
    signatures, threads, spans = len(trace.signatures), len(trace.threads), len(trace.spans)
    for table in (trace.spans, trace.aggregates):
        check_ids(error, "a span's name", table.name_id, strings)
        check_ids(error, "a span's kind", table.kind, len(Kind))
        check_ids(error, "a span's thread", table.thread, threads)
        check_ids(error, "a span's signature", table.signature_id, signatures, -1)
        check_ids(error, "a span's call site", table.callsite_id, frames, -1)
        check_ids(error, "a span's arguments", table.args_id, strings, -1)
    check_ids(error, "an op's arguments", trace.aggregates.outer_args_id, strings, -1)
    check_tree(error, "a span's parent", trace.spans.parent)
    check_ids(error, "a sample's thread", trace.samples.thread, threads)
    check_ids(error, "a sample's stack", trace.samples.stack_id, len(trace.stacks), -1)
    check_ids(error, "a stack's frame", trace.stacks.frame_id, frames)
    check_tree(error, "a stack's caller", trace.stacks.parent)
    check_ids(error, "a frame's function", trace.frames.name_id, strings, -1)
    check_ids(error, "a frame's file", trace.frames.file_id, strings, -1)
    check_ids(error, "a counter's series", trace.counters.series_id, len(trace.series))
    check_ids(error, "a series' name", trace.series.name_id, strings)
    check_ids(error, "a series' unit", trace.series.unit_id, strings)
    check_ids(error, "a series' process", trace.series.process, len(trace.processes), -1)
    check_ids(error, "a flow's source", trace.flows.from_span, spans)
    check_ids(error, "a flow's target", trace.flows.to_span, spans)
    check_ids(error, "a flow's kind", trace.flows.kind_id, strings)
    check_ids(error, "a process's name", trace.processes.name_id, strings)
    check_tree(error, "a process's parent", trace.processes.parent)
    check_ids(error, "a thread's process", trace.threads.process, len(trace.processes), -1)
    check_ids(error, "a thread's name", trace.threads.name_id, strings)

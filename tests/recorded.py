"""Recording a function in a test, and what comes out as rows that read well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tinytrace as tt
from tests.perfetto_engine import check_trace_file
from tinytrace.tracer.records import Flag, Kind


class Row(NamedTuple):
    """A span as its reader sees it."""

    name: str
    kind: Kind
    flags: Flag
    parent: str | None
    step: int
    args: dict[str, Any]
    thread: str
    start_ns: int
    end_ns: int
    function: str


class Recorded(NamedTuple):
    rows: list[Row]
    trace: tt.Trace

    def named(self, name: str) -> list[Row]:
        return [row for row in self.rows if row.name == name]

    def one(self, name: str) -> Row:
        [row] = self.named(name)
        return row


Record = Callable[..., Recorded]


def read(trace: tt.Trace) -> Recorded:
    s, text = trace.spans, trace.strings
    rows = []
    for i in range(len(s)):
        parent, args, site = int(s.parent[i]), int(s.args_id[i]), int(s.callsite_id[i])
        rows.append(
            Row(
                text[s.name_id[i]], Kind(int(s.kind[i])), Flag(int(s.flags[i])),
                text[s.name_id[parent]] if parent >= 0 else None, int(s.step[i]),
                json.loads(text[args]) if args >= 0 else {},
                text[trace.threads.name_id[s.thread[i]]],
                int(s.start_ns[i]), int(s.start_ns[i] + s.dur_ns[i]),
                text[trace.frames.name_id[site]],
            )
        )  # fmt: skip
    return Recorded(rows, trace)


def recorder(core: str, path: Path) -> Record:
    """Return a function that records another one; the file is read back, by Perfetto too."""

    def record(program: Callable[[], Any], **options: Any) -> Recorded:
        with tt.trace(path, **{"sampler": "none", **options}) as recording:
            program()
        trace = recording.result
        assert trace is not None
        assert trace.meta["audit"]["core"] == core
        assert tt.load(path).differences(trace) == []
        engine = check_trace_file(path)
        ours = "select count(*) as n from slice where category != 'samples'"
        assert engine.query(ours) == [{"n": len(trace.spans)}]
        return read(trace)

    return record

"""Arrows between spans, on both recorders: what joins what, in whichever thread; bounded like all else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.cores import CORES
from tests.stores import names, process_folder, read, recording
from tinytrace.analysis.budget import fit
from tinytrace.tracer.assemble import read_run
from tinytrace.tracer.records import FLOW, MIN_DISK_LIMIT_BYTES, Kind, Stream
from tinytrace.tracer.segments import FIRST_CAPACITY, segment_name
from tinytrace.tracer.trace import Trace


def joined(trace: Trace) -> list[tuple[str, str, str]]:
    """Return each arrow as the names of its two spans and its kind, in order."""
    name, flows = names(trace), trace.flows
    return [
        (name[source], name[target], trace.strings[kind])
        for source, target, kind in zip(
            flows.from_span.tolist(), flows.to_span.tolist(), flows.kind_id.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("which", CORES)
def test_an_arrow_joins_two_spans_of_one_thread_or_of_two(which: str, tmp_path: Path) -> None:
    with recording(which, tmp_path) as recorder:
        back = recorder.label("back", "")
        tokens = [recorder.begin(Kind.SPAN, recorder.label(text, "")) for text in "abc"]
        for token in reversed(tokens):
            recorder.end(token, 0)

        def elsewhere() -> None:
            token = recorder.begin(Kind.SPAN, recorder.label("d", ""))
            recorder.end(token, 0)
            recorder.flow(tokens[1], token, recorder.label("over", ""))

        thread = threading.Thread(target=elsewhere)
        recorder.flow(tokens[2], tokens[0], back)
        thread.start()
        thread.join()
        recorder.flow(tokens[0], tokens[1], back)
    trace = read(tmp_path)
    assert joined(trace) == [("c", "a", "back"), ("b", "d", "over"), ("a", "b", "back")]
    assert trace.meta["audit"].get("folded_flows", 0) == 0
    assert not any("arrows" in text for text in trace.warnings)


@pytest.mark.parametrize("which", CORES)
def test_an_arrow_to_a_span_that_was_not_recorded_is_none(which: str, tmp_path: Path) -> None:
    with recording(which, tmp_path) as recorder:
        token = recorder.begin(Kind.SPAN, recorder.label("a", ""))
        recorder.end(token, 0)
        recorder.flow(token, 0, 1)
        recorder.flow(0, token, 1)
    recorder.flow(token, token, 1)  # after the recording: nothing
    trace = read(tmp_path)
    assert joined(trace) == []
    assert not list(process_folder(tmp_path).glob("flows-*"))


@pytest.mark.parametrize("which", CORES)
def test_arrows_of_spans_that_were_folded_are_counted(which: str, tmp_path: Path) -> None:
    rounds = 120_000
    with recording(which, tmp_path, MIN_DISK_LIMIT_BYTES) as recorder:
        forward, backward = recorder.label("forward", ""), recorder.label("backward", "")
        for _ in range(rounds):
            source = recorder.begin(Kind.FORWARD, forward)
            recorder.end(source, 0)
            target = recorder.begin(Kind.BACKWARD, backward)
            recorder.end(target, 0)
            recorder.flow(source, target, backward)
        stats = recorder.stats()
    trace = read(tmp_path)
    assert stats["dropped"] == 0
    assert stats["folded_spans"] > 0 < stats["folded_flows"]
    lost = trace.meta["audit"]["folded_flows"]
    assert lost >= stats["folded_flows"]
    assert len(trace.flows) + lost == rounds
    assert len(trace.flows) >= 2 * FIRST_CAPACITY[Stream.FLOWS]  # those of the first whole segments
    assert set(joined(trace)) == {("forward", "backward", "backward")}
    assert (trace.flows.from_span < trace.flows.to_span).all()
    assert any("arrows between spans are not in the trace" in text for text in trace.warnings)


@pytest.mark.parametrize("which", CORES)
def test_arrows_of_spans_that_are_summed_up_while_reading_are_counted(
    which: str, tmp_path: Path
) -> None:
    with recording(which, tmp_path) as recorder:
        label = recorder.label("a", "")
        before = 0
        for _ in range(2_000):
            token = recorder.begin(Kind.SPAN, label)
            recorder.end(token, 0)
            recorder.flow(before, token, label)
            before = token
    trace = read_run(tmp_path, span_limit=500)
    assert 0 < len(trace.flows) < len(trace.spans) <= 1_000
    assert len(trace.flows) + trace.meta["audit"]["folded_flows"] == 1_999
    assert (trace.flows.to_span - trace.flows.from_span == 1).all()  # of neighbours, both kept
    smaller = fit(read_run(tmp_path), 60_000)
    assert smaller.meta["audit"]["dropped_flows"] == 1_999 - len(smaller.flows) > 0


KILLED = """
import os, signal, sys
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import load_core

recorder = load_core()
recorder.open(sys.argv[1], 10**9)
label = recorder.label("a", "")
before = 0
for _ in range(3_000):
    token = recorder.begin(Kind.SPAN, label)
    recorder.end(token, 0)
    recorder.flow(before, token, label)
    before = token
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("which", CORES)
def test_arrows_survive_sigkill(which: str, tmp_path: Path) -> None:
    folder = tmp_path / "p1-0"
    folder.mkdir()
    environment = {**os.environ, "TINYTRACE_CORE": which}
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(read(tmp_path).flows) == 2_999


def test_damaged_arrows_are_left_out(tmp_path: Path) -> None:
    with recording("python", tmp_path) as recorder:
        token = recorder.begin(Kind.SPAN, recorder.label("a", ""))
        recorder.end(token, 0)
        for _ in range(3):
            recorder.flow(token, token, 1)
    path = process_folder(tmp_path) / segment_name(Stream.FLOWS, 0, 0)
    data = bytearray(path.read_bytes())
    at = 64 + FLOW.size
    time_ns, source, target, label, _ = FLOW.unpack_from(data, at)
    FLOW.pack_into(data, at, time_ns, source, target, label, 7)  # no such record
    FLOW.pack_into(data, at + FLOW.size, time_ns, source, 2**63, label, 0)  # no such span
    path.write_bytes(data)
    trace = read(tmp_path)
    assert len(trace.flows) == 1
    assert trace.meta["audit"]["folded_flows"] == 1
    assert any("1 damaged records" in text for text in trace.warnings)
    assert np.array_equal(trace.flows.from_span, [0])

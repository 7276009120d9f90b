"""Beyond the caps less is known, and that is said: the same on both recorders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import FILE, Recorded
from tests.cores import CORES, core
from tests.stores import names, read, recording
from tinytrace.tracer.caps import CAPS, FURTHER_NAMES, Caps
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import Session, load_core
from tinytrace.tracer.trace import Trace

MANY = Caps(10_000, 10_000, 10_000, 10_000, 10**9)


@pytest.fixture(params=CORES)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    yield str(request.param)
    with core(request.param):
        load_core().caps(*CAPS)


def record(
    name: str,
    caps: Caps,
    program: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    **options: Any,
) -> Trace:
    """Record a function with small caps."""
    with core(name):
        recorder = load_core()
    recorder.caps(*caps)
    monkeypatch.setattr("tinytrace.tracer.session.load_core", lambda: recorder)
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"sampler": "none", "children": False, **options}
        session = Session(Options(Path(folder) / "trace.json", **chosen), ["program"])
        session.start()
        program()
        session.stop()
        trace = session.trace()
        session.discard()
    return trace


def said(trace: Trace, what: str) -> bool:
    return any(f"{what} not known" in text for text in trace.warnings)


def test_beyond_the_cap_an_op_is_known_without_its_operands(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [np.ones(n) for n in range(1, 7)]

    def program() -> None:
        for a in shapes:
            np.add(a, a)
        np.subtract(shapes[0], shapes[0])
        np.add(shapes[0], shapes[0])

    trace = record(name, MANY._replace(signatures=3), program, monkeypatch)
    ops = Recorded(trace)
    texts = [ops.text(row) for row in ops.inside(-1)]
    known = [f"add[{n},{n}=0->{n}]" for n in (1, 2, 3)]
    assert texts == [*known, "add[->]", "add[->]", "add[->]", "subtract[->]", known[0]]
    assert trace.meta["audit"]["signatures_left_out"] == 4
    assert said(trace, "the operands of an op are")


def test_beyond_the_cap_a_call_site_is_none_and_not_that_of_another_frame(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def inner():\n" + "    np.add(a, a)\n" * 6 + "inner()\n"
    space = {"np": np, "a": np.ones(3)}
    code = compile(source, FILE, "exec")
    trace = record(name, MANY._replace(sites=4), lambda: exec(code, space), monkeypatch)
    ops = Recorded(trace)
    lines = [ops.site(row)[1] for row in ops.inside(-1)]
    assert len(lines) == 6
    known = [line for line in lines if line]
    assert known == list(range(2, 2 + len(known))) and 0 < len(known) < 6
    assert trace.meta["audit"]["sites_left_out"] >= 6 - len(known)
    assert said(trace, "a call site is")


def test_beyond_the_cap_a_stack_ends_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.rounds import wait_for_rounds

    caps = MANY._replace(stacks=3)
    trace = record(name, caps, lambda: wait_for_rounds(5), monkeypatch, sampler="thread", ops=False)
    assert len(trace.stacks) == 3
    assert trace.meta["audit"]["stacks_left_out"] > 0
    assert said(trace, "the inner part of a stack is")


def test_beyond_the_cap_names_are_one_and_series_are_none(name: str, tmp_path: Path) -> None:
    with core(name):
        load_core().caps(*MANY)
    with recording(name, tmp_path) as recorder:
        recorder.close()
        recorder.caps(*MANY._replace(name_bytes=10))
        (tmp_path / "second").mkdir()
        recorder.open(str(tmp_path / "second"), 10**9)
        texts = ["ä" * 5, "b", "c", "d"]  # 10 bytes, 11
        for text in texts:
            recorder.end(recorder.begin(Kind.SPAN, recorder.label(text, "")), 0)
        assert recorder.series("loss", "") == 0
        assert recorder.stats()["names_left_out"] == 3
    (tmp_path / "second").rename(tmp_path / "p1-0")
    for old in tmp_path.glob("p*-0"):
        if old.name != "p1-0":
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
    assert names(read(tmp_path)) == ["ä" * 5, "b", FURTHER_NAMES, FURTHER_NAMES]


def test_caps_are_those_of_the_document(name: str) -> None:
    """The compiled core has none of its own: it asks for them when it is loaded."""
    native = Path(load_core.__code__.co_filename).parent / "native"
    sources = "".join(path.read_text() for path in native.glob("*.[ch]"))
    assert not any(f"MAX_{text}" in sources for text in ("SITES", "SIGNATURES", "STACKS", "NAME_"))
    assert f'"{FURTHER_NAMES}"' in sources

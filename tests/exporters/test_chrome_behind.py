"""The spans of a trace written by a thread of the compiled core: the same file, and nothing left behind."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import FEATURES, big_trace, random_trace
from tests.cores import core
from tinytrace.analysis.chrome_lines import compiled, render
from tinytrace.errors import OutputError
from tinytrace.exporters import chrome, chrome_keys, export
from tinytrace.exporters.chrome_behind import SpanWriter
from tinytrace.exporters.tracks import tracks

NATIVE: Any = compiled()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: what a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def threads() -> int:
    """How many threads this process has."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300), st.frozensets(st.sampled_from(FEATURES)))
def test_the_file_is_the_same_with_and_without_the_thread(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_spans: int, features: frozenset[str]
) -> None:
    trace = random_trace(seed, n_spans, features)
    path = tmp_path_factory.mktemp("behind") / "trace.json"
    export(trace, path)
    assert path.read_bytes() == b"".join(chrome.pieces(trace))


def test_many_spans_come_out_the_same_with_and_without_the_thread(tmp_path: Path) -> None:
    trace = big_trace(40_000)
    export(trace, tmp_path / "c.json")
    with core("python"):
        export(trace, tmp_path / "python.json")
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "python.json").read_bytes()


def test_the_thread_writes_where_it_can(tmp_path: Path) -> None:
    trace = big_trace(10)
    with (
        (tmp_path / "x").open("wb") as file,
        SpanWriter(trace, tracks(trace), file) as spans,
    ):
        assert spans.is_behind == (NATIVE is not None)
    with SpanWriter(trace, tracks(trace), io.BytesIO()) as spans:
        assert not spans.is_behind


def test_texts_that_are_too_many_for_memory_are_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = big_trace(1000)
    monkeypatch.setattr(chrome_keys, "MAX_CACHED", 10)
    monkeypatch.setattr("tinytrace.exporters.chrome_spans.MAX_CACHED", 10)
    with (tmp_path / "x").open("wb") as file, SpanWriter(trace, tracks(trace), file) as spans:
        assert not spans.is_behind
    export(trace, tmp_path / "trace.json")
    assert (tmp_path / "trace.json").read_bytes() == b"".join(chrome.pieces(trace))


def test_a_disk_that_becomes_full_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    before = threads()
    with largest_file(2_000_000), pytest.raises(OutputError, match="cannot be written"):
        export(big_trace(40_000), tmp_path / "trace.json")
    assert [*tmp_path.iterdir()] == []
    assert threads() == before


def test_an_interrupt_ends_the_thread_and_leaves_nothing(tmp_path: Path) -> None:
    told: list[float] = []

    def interrupt(share: float) -> None:
        told.append(share)
        if len(told) == 2:  # the thread has begun
            raise KeyboardInterrupt

    before = threads()
    with pytest.raises(KeyboardInterrupt):
        export(big_trace(200_000), tmp_path / "trace.json", progress=interrupt)
    assert [*tmp_path.iterdir()] == []
    assert threads() == before


def started(fd: int, texts: Any, ranges: Any, rests: Any = (b'"k":0},\n',), key: int = 0) -> Any:
    """Have two lines and some texts written."""
    times, ids = np.array([1, 2], "i8"), np.array([key, key], "i4")
    table = np.array(ranges, "i8")
    return NATIVE.json_write_start(fd, texts, table, rests, times, times, ids, ids)


class TestThread:
    """The thread itself, where there is a compiled core."""

    __test__ = NATIVE is not None

    def test_texts_and_lines_are_written_in_turns(self, tmp_path: Path) -> None:
        times, ids = np.array([1, 2], "i8"), np.zeros(2, "i4")
        first, second = (render([b'"k":0},\n'], times[i:j], times[i:j], ids[i:j], ids[i:j])
                         for i, j in ((0, 1), (1, 2)))  # fmt: skip
        with (tmp_path / "x").open("wb", buffering=0) as file:
            file.write(b"before\n")
            job = started(file.fileno(), (b"a\n", b"", b"c\n"), [(1, 2), (0, 1), (0, 0)])
            assert NATIVE.json_write_wait(job, 60.0) == (True, 2)
            NATIVE.json_write_stop(job)
            NATIVE.json_write_stop(job)
            file.write(b"after\n")
        text = b"before\na\n" + second + first + b"c\nafter\n"
        assert (tmp_path / "x").read_bytes() == text

    @pytest.mark.parametrize("ranges", [[(0, 3)], [(-1, 1)], [(2, 1)], [], [(0, 1), (1, 2)]])
    def test_rows_that_are_not_there_are_refused(self, ranges: list[tuple[int, int]]) -> None:
        with pytest.raises(ValueError, match="rows"):
            started(-1, (b"",), ranges)

    def test_what_cannot_be_a_line_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no such key"):
            started(-1, (b"",), [(0, 2)], key=1)
        with pytest.raises(TypeError, match="bytes"):
            started(-1, ("text",), [(0, 2)])
        with pytest.raises(TypeError, match="bytes"):
            started(-1, (b"",), [(0, 2)], rests=(None,))
        with pytest.raises(ValueError, match="too long"):
            started(-1, (b"",), [(0, 2)], rests=(bytes(2_000_000),))

    def test_a_file_that_is_closed_is_an_error(self) -> None:
        job = started(-1, (b"",), [(0, 2)])
        with pytest.raises(OSError, match="Bad file descriptor"):
            NATIVE.json_write_wait(job, 60.0)

    def test_a_job_that_nobody_waits_for_ends_with_its_thread(self, tmp_path: Path) -> None:
        before = threads()
        with (tmp_path / "x").open("wb") as file:
            job = started(file.fileno(), (bytes(10_000_000),), [(0, 2)])
            del job
        assert threads() == before

"""Lines of source: shown where the file is what ran, and otherwise not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tinytrace.analysis.source_text import LONGEST_LINE, MOST_BYTES, source_of

WRITTEN_NS = 1_700_000_000_000_000_000
LATER_NS = WRITTEN_NS + 10**9


def written(path: Path, content: bytes) -> str:
    """Write a file as it was at `WRITTEN_NS`."""
    path.write_bytes(content)
    os.utime(path, ns=(WRITTEN_NS, WRITTEN_NS))
    return str(path)


def test_lines_of_a_file_that_is_still_what_ran(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"a = 1\nb = 2\nc = 3\n")
    source = source_of(file, frozenset({2, 3}), LATER_NS)
    assert (dict(source.lines), source.reason) == ({2: "b = 2", 3: "c = 3"}, None)


def test_lines_that_the_file_does_not_have_are_left_out(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"a = 1\n")
    assert set(source_of(file, frozenset({-1, 0, 1, 99}), LATER_NS).lines) == {1}


def test_a_file_that_was_changed_since_is_not_shown(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"a = 1\n")
    source = source_of(file, frozenset({1}), WRITTEN_NS - 1)
    assert (dict(source.lines), source.reason) == (
        {},
        "the file was changed after the recording began",
    )


def test_when_the_recording_began_must_be_known(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"a = 1\n")
    source = source_of(file, frozenset({1}), None)
    assert not source.lines
    assert "not known" in (source.reason or "")


def test_a_trace_cannot_make_us_show_what_is_no_source(tmp_path: Path) -> None:
    key = written(tmp_path / "id_rsa", b"secret\n")
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    large = tmp_path / "large.py"
    with large.open("wb") as out:
        out.truncate(MOST_BYTES + 1)
    os.utime(large, ns=(WRITTEN_NS, WRITTEN_NS))
    os.utime(tmp_path / "pipe.py", ns=(WRITTEN_NS, WRITTEN_NS))
    for file in (
        key,
        "/etc/passwd",
        "train.py",
        str(tmp_path / "folder.py"),
        str(tmp_path / "pipe.py"),
        str(large),
    ):
        assert not source_of(file, frozenset({1}), LATER_NS).lines


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"# coding: nonsense\n"], ids=["bytes", "coding"]
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path / "train.py", content)
    assert (
        source_of(file, frozenset({1}), LATER_NS).reason
        == "the file is not there, or cannot be read"
    )
    gone = source_of(str(tmp_path / "gone.py"), frozenset({1}), LATER_NS)
    assert gone.reason == "the file is not there, or cannot be read"
    assert source_of(f"{tmp_path}/nul\0.py", frozenset({1}), LATER_NS).reason is not None


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"x" * 10_000)
    assert len(source_of(file, frozenset({1}), LATER_NS).lines[1]) == LONGEST_LINE


PROGRAM = b"""import numpy as np

class Adam:
    @np.vectorize
    def step(self):
        return [x for x in self]

async def main():
    pass
"""


@pytest.mark.parametrize(
    ("functions", "shown"),
    [
        ({4: "Adam.step", 6: "Adam.step.<locals>.<listcomp>", 8: "main", 1: "<module>"}, True),
        ({8: "Adam.step"}, False),
        ({4: "forward"}, False),
        ({3: "Adam"}, True),
        ({99: "<module>"}, False),
    ],
)
def test_a_line_must_be_in_the_function_that_it_was_seen_in(
    tmp_path: Path, functions: dict[int, str], shown: bool
) -> None:
    file = written(tmp_path / "train.py", PROGRAM)
    source = source_of(file, frozenset(functions), LATER_NS, functions)
    assert bool(source.lines) is shown
    assert source.reason == (None if shown else "the lines of the file are not those that ran")


def test_a_file_that_is_not_python_any_more_is_not_shown(tmp_path: Path) -> None:
    for content in (b"def f(:\n", b"x = 1\0\n", b"(" * 10_000):
        file = written(tmp_path / "train.py", content)
        assert not source_of(file, frozenset({1}), LATER_NS).lines


def test_warnings_about_the_style_of_a_program_are_not_given_again(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", b"x = '\\d' is 1\n")
    assert source_of(file, frozenset({1}), LATER_NS).lines == {1: "x = '\\d' is 1"}


def test_the_encoding_that_the_file_declares_is_its_encoding(tmp_path: Path) -> None:
    file = written(tmp_path / "train.py", "# coding: latin-1\ngröße = 1\n".encode("latin-1"))
    assert source_of(file, frozenset({2}), LATER_NS).lines[2] == "größe = 1"

"""Saving a run: its convention; the progress bar, on a terminal only, for those who have to wait."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from tests.builders import trace_of
from tests.cli.terminal import printed_on_terminal
from tinytrace.analysis.counting import CONVENTION
from tinytrace.analysis.reader import load
from tinytrace.cli.saving import progress_bar, save_run


def _drawn(seconds: Sequence[float], what: str = "writing trace.json") -> str:
    """What appears on a terminal when progress is told at these seconds."""
    now_s = 0.0

    def draw(terminal: object) -> None:
        nonlocal now_s
        with progress_bar(what, terminal, clock=lambda: now_s) as show:  # type: ignore[arg-type]
            assert show is not None
            for place, second in enumerate(seconds):
                now_s = second
                show((place + 1) / len(seconds))

    return printed_on_terminal(100, draw)


def test_nothing_is_drawn_within_the_first_second() -> None:
    assert _drawn([0.1, 0.5, 0.99]) == ""


def test_a_bar_is_drawn_after_the_first_second_and_goes_away() -> None:
    text = _drawn([0.5, 1.2, 1.25, 2.0])
    assert "writing trace.json" in text
    assert " 50%" in text
    assert " 75%" not in text  # too soon after the one before
    assert "100%" in text
    assert text.endswith("\x1b[2K")  # the line is empty again


def test_a_file_of_any_name_is_shown_and_not_obeyed() -> None:
    text = _drawn([2.0], "writing [bold]\x1b]0;x\x07.json")
    assert r"writing [bold]\x1b]0;x\x07.json" in text


def test_no_bar_where_there_is_no_terminal() -> None:
    for stream in (None, io.StringIO()):
        with progress_bar("writing", stream, clock=lambda: 99.0) as show:
            assert show is None


def test_a_saved_run_says_by_which_convention_it_was_counted(tmp_path: Path) -> None:
    written = save_run(trace_of("add[9,9->9]:5"), tmp_path / "a.json", 10**6, None)
    assert load(tmp_path / "a.json") == written
    assert written.meta["conventions"] == CONVENTION

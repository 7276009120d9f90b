"""``report --html``: a page whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import run_commands
from tests.cli.test_report import training_run
from tinytrace.exporters import export


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A saved trace."""
    path = tmp_path / "trace.json"
    export(training_run(), path)
    return path


def test_it_writes_the_page_and_says_so(trace: Path, tmp_path: Path) -> None:
    (done,) = run_commands([["report", trace.name, "--html", "page.html"]], tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out == "page.html written: it opens in any browser, and asks for nothing else.\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "trace.json"]


def test_a_trace_that_does_not_say_what_ran_has_the_name_of_its_file(
    trace: Path, tmp_path: Path
) -> None:
    run_commands([["report", trace.name, "--html", "page.html"]], tmp_path)
    assert "<h1>trace.json</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_options_choose_the_rows_of_its_table(trace: Path, tmp_path: Path) -> None:
    options = ["--by", "callsite", "--sort", "calls", "--top", "1"]
    run_commands([["report", trace.name, "--html", "page.html", *options]], tmp_path)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Top call sites by calls: 1 of 2" in page


def test_what_goes_wrong_is_one_line_and_an_earlier_page_stays(trace: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "page.html"
    earlier.write_text("earlier", encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    found = run_commands(
        [
            ["report", "broken.json", "--html", "page.html"],
            ["report", "nothing.json", "--html", "page.html"],
            ["report", trace.name, "--html", "folder"],
            ["report", trace.name, "--html", "no/such/page.html"],
            ["report", trace.name, "--html", "page.html", "--json"],
        ],
        tmp_path,
    )
    for done in found:
        assert (done.code != 0, done.out) == (True, "")
        assert "Traceback" not in done.line
    assert found[2].line == "folder: is a folder: give the name of a file with --html"
    assert found[3].line.startswith(
        "no/such/page.html: cannot be written: No such file or directory"
    )
    assert "not allowed with" in found[4].line
    assert earlier.read_text(encoding="utf-8") == "earlier"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"page.html", "broken.json", "folder", "trace.json"}

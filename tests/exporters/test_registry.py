"""`export`: the right format, a whole file or none."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.builders import big_trace, trace_of
from tinytrace.errors import OutputError, UsageError
from tinytrace.exporters import export, registry
from tinytrace.tracer.trace import Trace

TRACE = trace_of("step(matmul:5 relu:2)")


def test_the_file_name_chooses_the_format_and_the_longest_ending_wins() -> None:
    assert registry.exporter_for("a.json").name == "chrome"
    assert registry.exporter_for("a.JSON.GZ").name == "chrome-gz"


def test_an_ending_is_known_beforehand_exactly_when_it_can_be_written_later() -> None:
    built_in = [registry.exporter(name).suffix for name in registry.BUILT_IN]
    assert sorted(built_in) == sorted(registry.BUILT_IN_SUFFIXES)
    for suffix in built_in:
        registry.check_suffix(f"A{suffix.upper()}")
    for path in ("trace", "trace.jso", "trace.json.bz2"):
        with pytest.raises(OutputError, match="unknown format"):
            registry.check_suffix(path)


def test_every_format_has_a_name_an_ending_and_a_line_of_help() -> None:
    for name in registry.formats():
        exporter = registry.exporter(name)
        assert exporter.name == name
        assert exporter.suffix.startswith(".")
        assert exporter.help
        assert "\n" not in exporter.help


def test_the_manual_says_of_every_ending_what_it_holds() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    endings = [registry.exporter(name).suffix for name in registry.BUILT_IN]
    assert [ending for ending in endings if f"`{ending}`" not in manual] == []


def test_an_unknown_ending_is_one_line_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        export(TRACE, tmp_path / "trace.txt")
    assert "trace.txt: unknown format" in str(caught.value)
    assert ".json, .json.gz" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_one_line_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'xml': known are chrome, chrome-gz"):
        export(TRACE, tmp_path / "trace.json", format="xml")


def test_a_format_by_name_goes_before_the_ending(tmp_path: Path) -> None:
    export(TRACE, tmp_path / "trace.out", format="chrome-gz")
    assert (tmp_path / "trace.out").read_bytes()[:2] == b"\x1f\x8b"


class Failing:
    """An exporter that fails half-way."""

    name = "failing"
    suffix = ".failing"
    help = "for this test"

    def write(self, trace: Trace, out: BinaryIO, progress: registry.Progress | None = None) -> None:
        """Write half of it."""
        out.write(b"half of it")
        raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "failing", f"{__name__}:Failing")
    target = tmp_path / "trace.failing"
    target.write_text("precious")
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        export(TRACE, target)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    trace = big_trace(2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"trace\.json: cannot be written: File too large"):
            export(trace, tmp_path / "trace.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_full_device_is_one_line() -> None:
    with pytest.raises(OutputError, match="No space left"):
        export(TRACE, "/dev/full", format="chrome")


@pytest.mark.parametrize("name", ["missing/trace.json", "file/trace.json"])
def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"trace.json: cannot be written"):
        export(TRACE, tmp_path / name)


def test_a_folder_as_target_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "folder.json"
    folder.mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        export(TRACE, folder)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    export(TRACE, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_bytes().startswith(b"[\n")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        export(TRACE, pipe)
        assert os.read(reader, 100).startswith(b"[\n")
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_progress_is_told_from_zero_to_one(tmp_path: Path) -> None:
    told: list[float] = []
    export(big_trace(50_000), tmp_path / "trace.json", progress=told.append)
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == 1.0


def test_a_package_can_add_a_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "extra_format-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-format\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        f"[{registry.ENTRY_POINT_GROUP}]\nextra = {__name__}:Failing\nchrome = nowhere:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.formats()["extra"] == f"{__name__}:Failing"
    assert registry.formats()["chrome"] == registry.BUILT_IN["chrome"]

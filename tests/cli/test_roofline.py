"""``roofline``: its text word by word, its picture, and traces with nothing to show."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.commands import Done, run_commands
from tests.peaks_by_hand import PEAKS, with_peaks
from tinytrace.analysis.roofline_points import Roofline, roofline_of
from tinytrace.cli.roofline_chart import chart, letters
from tinytrace.cli.roofline_plot import draw
from tinytrace.cli.roofline_text import print_roofline
from tinytrace.cli.roofs_plot import COLOURS
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace

PROGRAM = (
    "matmul[100x100,100x100->100x100]:80@a.py:3:f add[1000000,1000000->1000000]:2000@a.py:4:f "
    "sqrt[10000->10000]:30 odd[9->9]:5"
)
TRACE = with_peaks(trace_of(PROGRAM))
FOREIGN = '[{"ph":"X","name":"aten::mm","cat":"cpu_op","ts":1,"dur":5,"pid":1,"tid":1}]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roofline")
    export(TRACE, path / "trace.json")
    export(trace_of(PROGRAM), path / "bare.json")
    export(Trace(meta={"format_version": 1}), path / "empty.json")
    (path / "foreign.json").write_text(FOREIGN)
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    lines = [
        "trace.json", "trace.json --top 1", "bare.json", "empty.json", "foreign.json",
        "trace.json -o picture.png", "trace.json -o picture.svg", "bare.json -o bare.png",
        "empty.json -o empty.svg", "foreign.json -o foreign.png",
        "trace.json -o picture.pdf", "trace.json -o no/picture.png", "trace.json --top 0", "nothing.json",
    ]  # fmt: skip
    return dict(
        zip(lines, run_commands([["roofline", *x.split()] for x in lines], folder), strict=True)
    )


def text_of(roofline: Roofline) -> list[str]:
    file = io.StringIO()
    print_roofline(roofline, file)
    return file.getvalue().splitlines()


def row(lines: list[str], op: str) -> list[str]:
    return next(line.split() for line in lines if op in line.split()[:2])


def test_the_text_has_the_figures_of_each_op() -> None:
    lines = text_of(roofline_of(TRACE))
    # letter, op, dtype, level, % wall, self, calls, FLOP/B, GFLOP/s, GB/s, % roof, verdict, call site
    assert row(lines, "matmul")[:14] == [
        "b", "matmul", "float64", "L2", "3.8", "80.0", "us", "1", "8.33", "25.0", "3.00", "50.0", "latency",
        "a.py:3",
    ]  # fmt: skip
    assert row(lines, "add")[:4] == ["a", "add", "float64", "L3"]
    assert row(lines, "sqrt")[:3] == ["sqrt", "float64", "L2"]


def test_the_text_has_the_roofs_and_where_they_meet() -> None:
    lines = text_of(roofline_of(TRACE))
    # L2: 100 GB/s under 50 and 5 GFLOP/s.
    assert row(lines, "L2")[:6] == ["L2", "976.562", "KiB", "100", "0.500", "0.0500"]
    assert row(lines, "L1*")[:6] == ["L1*", "31.25", "KiB", "200", "?", "?"]
    assert row(lines, "matrix")[:4] == ["matrix", "product", "float64", "50.0"]


def test_it_says_what_is_modelled_and_what_is_not_in_the_picture() -> None:
    text = "\n".join(text_of(roofline_of(TRACE)))
    assert "Modelled: FLOPs and bytes (counted from shapes)" in text
    assert "In the picture: 98.3 % of op time. 1.7 %: no FLOPs" in text
    assert "Machine: made by hand" in text
    assert "roofs measured 2026-01-01, in full" in text
    assert "Dashed or *: at least so much" in text


def test_letters_in_the_chart_are_those_of_the_table() -> None:
    roofline = roofline_of(TRACE)
    assert letters(roofline) == ["a", "b", "", ""]
    drawn = chart(roofline, None)
    assert sum("a" in line for line in drawn[1:-1]) == 1
    at_b = next(line for line in drawn[1:-1] if "b" in line)
    at_a = next(line for line in drawn[1:-1] if "a" in line)
    assert drawn.index(at_b) < drawn.index(at_a)  # 25 GFLOP/s above 0.5
    assert at_b.index("b") > at_a.index("a")  # 8.3 FLOPs per byte right of 1/24
    assert any("/" in line for line in drawn)
    assert max(map(len, drawn)) <= 78
    assert max(map(len, chart(roofline, 50))) <= 50
    assert chart(roofline, 39) == []


def test_more_points_than_letters_are_in_the_table_without_one() -> None:
    ops = " ".join(f"add{n}[9,9->9]:5" for n in range(60))
    found = letters(roofline_of(with_peaks(trace_of(ops.replace("add", "f")))))
    assert found == [""] * 60  # not one of them is counted
    adds = " ".join(f"add[{n},{n}->{n}]:5" for n in range(1, 9))
    assert set(letters(roofline_of(with_peaks(trace_of(adds))))) == {"a"}


@pytest.mark.parametrize("name", ["trace.json", "bare.json", "empty.json", "foreign.json"])
def test_every_trace_has_an_answer(done: dict[str, Done], name: str) -> None:
    assert done[name].code == 0
    assert done[name].err == ""


def test_without_roofs_the_ops_are_there_and_it_is_said(done: dict[str, Done]) -> None:
    text = done["bare.json"].out
    assert "No roofs: the trace does not have those of the machine" in text
    assert "tinytrace calibrate" in text
    assert row(text.splitlines(), "matmul")[8:12] == ["8.33", "25.0", "3.00", "?"]
    assert "No NumPy operation was recorded." in done["empty.json"].out


def test_pictures_are_written(done: dict[str, Done], folder: Path) -> None:
    for name in ("picture.png", "bare.png", "foreign.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert done["trace.json -o picture.png"].line == "drawn into picture.png"
    for name in ("picture.svg", "empty.svg"):
        assert ET.parse(folder / name).getroot().tag.endswith("svg")
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_lower_bound_is_dashed_and_a_roof_is_not(done: dict[str, Done], folder: Path) -> None:
    assert done["trace.json -o picture.svg"].code == 0
    slopes: dict[str, bool] = {}
    for element in ET.parse(folder / "picture.svg").iter():
        style = element.get("style", "")
        for name, colour in COLOURS.items():
            if f"stroke: {colour};" in style and "fill: none" in style:
                slopes[name] = "stroke-dasharray" in style
    assert slopes == {"L1": True, "L2": False, "L3": False, "DRAM": False}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("trace.json -o picture.pdf", 2, "picture.pdf: pictures are .png or .svg"),
        ("trace.json -o no/picture.png", 5, "no/picture.png: cannot be written"),
        ("trace.json --top 0", 2, "must be a whole number, at least 1"),
        ("nothing.json", 3, "nothing.json"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    done: dict[str, Done], line: str, code: int, said: str
) -> None:
    assert done[line].code == code
    assert said in done[line].line


def test_without_matplotlib_it_says_what_to_install_and_the_text_works(folder: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; "  # as if it were not there
        "from tinytrace.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "roofline", "trace.json"]
    text = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "matmul" in text.stdout
    asked = subprocess.run(
        [*command, "-o", "x.png"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2
    assert asked.stderr == "tinytrace: -o needs matplotlib: pip install 'tinytrace[plot]'\n"


def test_labels_do_not_lie_on_each_other(tmp_path: Path) -> None:
    # A cloud of points, close together.
    ops = " ".join(
        f"{op}[{n},{n}->{n}]:{t}"
        for (op, n), t in zip(
            itertools.product(("add", "multiply", "subtract", "maximum"), (1000, 9000, 90000)),
            range(40, 400, 30),
            strict=True,
        )
    )
    roofline = roofline_of(with_peaks(trace_of(ops)))
    assert len([p for p in roofline.points if p.place]) == 12
    left_out = draw(roofline, tmp_path / "cloud.svg")
    assert left_out <= 4
    # A page so full that no label fits still is a picture.
    crowd = replace(roofline, points=roofline.points * 8)
    assert draw(crowd, tmp_path / "crowd.svg") > 30


def test_control_characters_of_a_trace_do_not_reach_the_terminal() -> None:
    trace = replace(TRACE, meta={**TRACE.meta, "command": ["python", "a\x1b[31m.py"]})
    assert "\x1b" not in "\n".join(text_of(roofline_of(trace)))


def test_roofs_without_levels_or_levels_alone_are_enough() -> None:
    for peaks in (replace(PEAKS, levels=()), replace(PEAKS, gemm_gflops={}, vector_gflops={})):
        text = "\n".join(text_of(roofline_of(with_peaks(trace_of(PROGRAM), peaks))))
        assert "matmul" in text

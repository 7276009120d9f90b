"""`python -m tinytrace calibrate`: measures, keeps, prints, draws; what goes wrong is one line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.commands import Done, run_commands
from tests.peaks_by_hand import exact, level, roofs
from tinytrace.analysis.peaks import Level, Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.cli.calibrate import print_peaks
from tinytrace.cli.layout import Page
from tinytrace.cli.roofs_plot import draw
from tinytrace.errors import OutputError

PNG = b"\x89PNG\r\n\x1a\n"


def printed(peaks: Peaks) -> str:
    out = io.StringIO()
    print_peaks(peaks, Page(out))
    return out.getvalue()


def test_the_table_has_every_roof_with_its_spread() -> None:
    assert (
        printed(roofs())
        == """\
invented, 2 CPUs; NumPy 2.0.0, ?, BLAS threads: 1; measured 2026-01-02T03:04:05+00:00, in full

roof                                 best   least  greatest  of
matrix product float32        100 GFLOP/s    90.0       100  7 rounds
matrix product float64       50.0 GFLOP/s    50.0      50.0  5 rounds
arithmetic in cache float32  10.0 GFLOP/s    10.0      10.0  5 rounds
exp in cache float32               2.00 T    2.00      2.00  5 rounds
L1 (32 KiB)*                     150 GB/s     150       150  5 rounds
L2 (1 MiB)                       200 GB/s     200       200  5 rounds
L3 (32 MiB)                      100 GB/s     100       100  5 rounds
DRAM                            20.0 GB/s    20.0      20.0  5 rounds
one call of a ufunc                300 ns  300 ns    400 ns  7 rounds

T: 10^9 evaluations per second. Spread: the least and greatest of so many rounds.
*: at least so much; the cost of calling NumPy hides the rest, so it is no roof.
Note: L1 is not resolvable.
"""
    )


def test_what_was_not_measured_is_said_and_not_0() -> None:
    text = printed(replace(roofs(), levels=(Level("DRAM", None, None, False),), notes=()))
    assert "DRAM                         not measured\n" in text
    assert "no roof" not in text


def test_roofs_of_blas_stand_below_those_of_one_thread() -> None:
    memory = replace(level("DRAM", None, 20), blas_gbps=exact(35))
    lines = printed(replace(roofs(), levels=(memory,))).splitlines()
    assert [line.split()[:2] for line in lines if "DRAM" in line] == [
        ["DRAM", "20.0"],
        ["DRAM", "by"],
    ]


def test_text_from_elsewhere_cannot_do_anything_to_the_terminal() -> None:
    hostile = replace(roofs(), machine={"cpu": "\x1b[31m"}, notes=("\x1b]0;x\x07",))
    assert "\x1b" not in printed(replace(hostile, gemm_gflops={"\x1b[2J": exact(1)}))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_is_written_whole_and_nothing_beside_it(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"roofs{suffix}"
    target.write_text("an earlier one")
    draw(roofs(), target)
    content = target.read_bytes()
    assert content.startswith(PNG) if suffix == ".png" else b"</svg>" in content
    assert list(tmp_path.iterdir()) == [target]


def test_a_picture_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    draw(Peaks("", {}, "", True, 1), tmp_path / "nothing.png")


def test_a_picture_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OutputError, match=r"x\.png: cannot be written"):
        draw(roofs(), tmp_path / "x.png")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


COMMANDS = (
    "calibrate --threads 1", "calibrate --threads 1 --json", "calibrate --threads 1 --plot a.svg",
    "calibrate --threads 1 --quick --force --json", "calibrate --threads 1 --quick --json", "calibrate -h",
    "calibrate --threads 0", "calibrate --threads many", "calibrate --threads 99999999", "calibrate more",
    "calibrate --plot a.pdf", "calibrate --plot nowhere/a.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What these commands do, one after the other; at first full figures are kept."""
    folder = tmp_path_factory.mktemp("calibrate")
    own = folder / "cache" / "tinytrace"
    own.mkdir(parents=True)
    kept = roofs(Machine.here(1).fingerprint)
    (own / f"peaks-{kept.fingerprint}.json").write_text(json.dumps(kept.to_json()))
    before = os.environ["XDG_CACHE_HOME"]
    os.environ["XDG_CACHE_HOME"] = str(own.parent)
    try:
        ended = run_commands([c.split() for c in COMMANDS], folder)
    finally:
        os.environ["XDG_CACHE_HOME"] = before
    return dict(zip(COMMANDS, ended, strict=True))


def test_kept_figures_are_printed_and_nothing_is_measured(done: dict[str, Done]) -> None:
    kept = roofs(Machine.here(1).fingerprint)
    assert done["calibrate --threads 1"] == Done(0, printed(kept), "")
    as_json = done["calibrate --threads 1 --json"]
    assert (as_json.code, as_json.err) == (0, "")
    assert Peaks.from_json(json.loads(as_json.out)) == kept


def test_the_picture_is_told_of(done: dict[str, Done]) -> None:
    assert done["calibrate --threads 1 --plot a.svg"].line == "drawn into a.svg"


def test_force_measures_again_and_keeps_that(done: dict[str, Done]) -> None:
    forced = done["calibrate --threads 1 --quick --force --json"]
    assert (forced.code, forced.err) == (0, "")
    assert Peaks.from_json(json.loads(forced.out)).machine["cpu"] != "invented"
    assert done["calibrate --threads 1 --quick --json"] == forced


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        ("calibrate --threads 0", 2, "must be a number of threads, 1 to 4096"),
        ("calibrate --threads many", 2, "must be a number of threads"),
        ("calibrate --threads 99999999", 2, "must be a number of threads"),
        ("calibrate more", 2, "unrecognized arguments: more"),
        ("calibrate --plot a.pdf", 2, "a.pdf: pictures are .png or .svg"),
        ("calibrate --plot nowhere/a.png", 5, "nowhere/a.png: cannot be written"),
    ],
)
def test_wrong_options_are_one_line(
    command: str, code: int, line: str, done: dict[str, Done]
) -> None:
    assert done[command].code == code
    assert done[command].out == ""
    assert line in done[command].line


def test_help_says_what_the_options_do(done: dict[str, Done]) -> None:
    text = done["calibrate -h"].out
    assert all(option in text for option in ("--quick", "--threads", "--force", "--json", "--plot"))


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tinytrace.cli import main; sys.exit(main(['calibrate', '--plot', 'a.png']))"
    )
    ended = python(code, tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "tinytrace: --plot needs matplotlib: pip install 'tinytrace[plot]'\n"


def test_a_cache_that_cannot_be_written_is_one_line_and_the_figures_are_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    code = (
        "from tinytrace.cli import main; main(['calibrate', '--quick', '--json', '--threads', '1'])"
    )
    ended = python(code, tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert Peaks.from_json(json.loads(ended.stdout)).threads == 1
    assert (
        ended.stderr
        == "tinytrace: the figures could not be kept for the next run: Not a directory\n"
    )

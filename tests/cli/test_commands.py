"""``export``, ``summary`` and what goes wrong with them: one clear line, its own exit code."""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.commands import Done, run_commands
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.reader import load
from tinytrace.errors import OutputError
from tinytrace.exporters import export

TRACE = trace_of("step(matmul[2x3,3x4->2x4]:5@train.py:3:main add:2)")
# Files that are no trace: name, content, exit code, what is said after the name.
NO_TRACES = (
    ("empty.json", b"", 4, "is empty"),
    ("text.json", b"hello\n", 4, r"not a trace: expected Chrome trace JSON \(.json, .json.gz\)"),
    ("binary.json", bytes(range(256)) * 9, 4, "not a trace: expected Chrome trace JSON"),
    ("number.json", b"42", 4, "not a trace: expected Chrome trace JSON"),
    ("object.json", b"{}", 4, "not a trace: JSON without trace events"),
    ("list.json", b"[1, 2]", 4, "not a trace: a JSON list, but not of events"),
    ("broken.json", b'[{"ph":"X",', 4, "not a trace: not JSON: "),
    ("nan.json", b'[{"ph":"X","ts":NaN}]', 4, "not a trace: not JSON: "),
    ("deep.json", b"[" * 200_000, 4, "not a trace: not JSON: depth limit exceeded"),
    ("huge.json", b'[{"ph":"X","ts":' + b"9" * 5000 + b"}]", 4, "not a trace: not JSON: number is"),
    ("latin.json", b'[{"name":"\xff"}]', 4, "not a trace: not JSON: "),
    ("broken.json.gz", b"\x1f\x8b\x08" + bytes(99), 4, "damaged gzip file: "),
    ("wrong.json.gz", gzip.compress(b"[]")[:-8] + bytes(8), 4, "damaged gzip file: "),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trace, and files that are none."""
    path = tmp_path_factory.mktemp("commands")
    export(TRACE, path / "trace.json")
    for name, content, _, _ in NO_TRACES:
        (path / name).write_bytes(content)
    (path / "folder").mkdir()
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    """What these commands do, by their words."""
    commands = [
        "summary trace.json", "export trace.json -o again.json.gz",
        "export trace.json -o named --format chrome", "export again.json.gz -o folder/back.json",
        "summary nothing.json", "summary folder", "export nothing.json -o x.json",
        "export trace.json -o x.xyz", "export trace.json -o x.json --format svg",
        "export trace.json", "export", "summary", "summary trace.json more",
        "export trace.json -o folder", "export trace.json -o nowhere/x.json",
        "export trace.json -o trace.json/x.json",
        "export trace.json -o /dev/full --format chrome", "--version",
        "-h", "export -h", "summary -h", "recover -h", "run -h", "--rate 0 x.py", "--rate fast x.py",
        "--rate 1e9 x.py", "--budget -5 x.py", "--budget 3parsecs x.py", "--disk-limit 0 x.py",
        "--sampler magic x.py", "--native x.py", "--outptu x x.py", "", "-o x.xyz trace.json",
        *(f"summary {name}" for name, *_ in NO_TRACES),
    ]  # fmt: skip
    return dict(zip(commands, run_commands([c.split() for c in commands], folder), strict=True))


def test_a_trace_is_exported_by_suffix_and_by_name(done: dict[str, Done], folder: Path) -> None:
    for command, name in (
        ("export trace.json -o again.json.gz", "again.json.gz"),
        ("export trace.json -o named --format chrome", "named"),
        ("export again.json.gz -o folder/back.json", "folder/back.json"),
    ):
        assert done[command] == Done(0, "", "")
        assert load(folder / name) == TRACE
    assert (folder / "again.json.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert (folder / "named").read_bytes() == (folder / "trace.json").read_bytes()
    check_trace_file(folder / "folder" / "back.json")


def test_a_summary_goes_to_stdout(done: dict[str, Done]) -> None:
    ended = done["summary trace.json"]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("\ntinytrace: 7.00 us recorded\n\nTop ops by self time (2 of 2)\n")
    assert ended.out.endswith(
        "Trace: trace.json - open https://ui.perfetto.dev and drop trace.json on it.\n"
        "Why it is slow: python -m tinytrace report trace.json\n"
    )


@pytest.mark.parametrize(("name", "content", "code", "said"), NO_TRACES)
def test_what_is_no_trace_is_one_line(
    done: dict[str, Done], name: str, content: bytes, code: int, said: str
) -> None:
    ended = done[f"summary {name}"]
    assert (ended.code, ended.out) == (code, "")
    assert re.match(f"{name}: {said}", ended.line)
    assert len(ended.line) < 200


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("summary nothing.json", 3, "nothing.json: cannot be read: No such file or directory"),
        ("export nothing.json -o x.json", 3, "nothing.json: cannot be read: No such file"),
        ("summary folder", 3, "folder: is a folder, not a trace file"),
        ("export trace.json -o x.xyz", 5,
         r"x.xyz: unknown format: known file name endings are .json, .json.gz"),
        ("export trace.json -o x.json --format svg", 2, "argument --format: invalid choice: 'svg'"),
        ("export trace.json", 2, "the following arguments are required: -o/--output"),
        ("export", 2, "the following arguments are required: trace, -o/--output"),
        ("summary", 2, "the following arguments are required: trace"),
        ("summary trace.json more", 2, "unrecognized arguments: more"),
        ("export trace.json -o folder", 5, "folder: "),
        ("export trace.json -o nowhere/x.json", 5, "nowhere/x.json: cannot be written: No such file"),
        ("export trace.json -o trace.json/x.json", 5, "trace.json/x.json: cannot be written: Not a"),
        ("--rate 0 x.py", 2, "argument --rate: '0': must be a rate in Hz, 1 to 10000"),
        ("--rate fast x.py", 2, "argument --rate: 'fast': must be a rate"),
        ("--rate 1e9 x.py", 2, "argument --rate: '1e9': must be a rate"),
        ("--budget -5 x.py", 2, "argument --budget: "),
        ("--budget 3parsecs x.py", 2, "argument --budget: '3parsecs': must be a size such as 200MB"),
        ("--disk-limit 0 x.py", 2, "argument --disk-limit: '0': must be a size"),
        ("--sampler magic x.py", 2, "argument --sampler: invalid choice: 'magic'"),
        ("--native x.py", 2, "--native needs --sampler py-spy"),
        ("--outptu x x.py", 2, "unrecognized arguments: --outptu"),
        ("", 2, "no program to run: python -m tinytrace script.py"),
        ("-o x.xyz trace.json", 5, "/.*/x.xyz: unknown format"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line(
    done: dict[str, Done], folder: Path, command: str, code: int, said: str
) -> None:
    ended = done[command]
    assert (ended.code, ended.out) == (code, "")
    assert re.match(said, ended.line)
    assert not list(folder.glob(".tinytrace-*"))
    assert not list(folder.glob("x.*"))


def test_a_full_device_is_one_line(done: dict[str, Done]) -> None:
    ended = done["export trace.json -o /dev/full --format chrome"]
    assert ended.code == 5
    assert ended.line == "/dev/full: cannot be written: No space left on device"


def test_help_and_version_go_to_stdout(done: dict[str, Done]) -> None:
    for command, part in (
        ("-h", "usage: python -m tinytrace [options] (script.py"),
        ("run -h", "usage: python -m tinytrace [options] (script.py"),
        ("export -h", "usage: python -m tinytrace export "),
        ("summary -h", "usage: python -m tinytrace summary "),
        ("recover -h", "usage: python -m tinytrace recover "),
    ):
        ended = done[command]
        assert (ended.code, ended.err) == (0, "")
        assert part in ended.out
    for word in ("export", "summary", "recover", "--rate", "--budget", "examples:"):
        assert word in done["-h"].out
    for word in ("chrome-gz: the same, gzipped", "Write a saved trace in another format."):
        assert word in re.sub(r"\s+", " ", done["export -h"].out)
    assert re.fullmatch(r"tinytrace \S+, Python \d+\.\d+\.\S+, /.+\n", done["--version"].out)


# ---- a file that is being written ----------------------------------------------------------------

# As `python -m tinytrace export` does it, the signal coming in the middle of writing.
COMMAND = """\
import contextlib, os, sys
import tinytrace.cli.saving as saving
from tests.builders import big_trace
from tinytrace.cli import main
from tinytrace.exporters import export

number, source, target = sys.argv[1:]
export(big_trace(100_000), source)

told = []

def progress_bar(what, stream):
    def halfway(share):
        told.append(share)
        if len(told) == 2:  # the first time nothing is written yet
            os.kill(os.getpid(), int(number))
    return contextlib.nullcontext(halfway)

saving.progress_bar = progress_bar
sys.exit(main(["export", source, "-o", target]))
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "out" / "trace.json"
    path.parent.mkdir()
    path.write_text("earlier")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_exporting_leaves_the_earlier_file(
    target: Path, tmp_path: Path, number: signal.Signals
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, str(int(number)), str(tmp_path / "source.json"), target],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -number
    assert (ended.stdout, ended.stderr) == (b"", b"")
    assert target.read_text() == "earlier"
    left = [path for path in target.parent.iterdir() if path != target]
    if number == signal.SIGKILL:
        assert all(path.name.startswith(".tinytrace-") for path in left)
        assert len(left) == 1
    else:
        assert left == []


def test_what_a_killed_export_left_is_removed_by_the_next_one(target: Path) -> None:
    old, young, locked = (target.with_name(f".tinytrace-1-{n}.tmp") for n in range(3))
    for path in (old, young, locked):
        path.write_text("half")
    for path in (old, locked):
        os.utime(path, (0, 0))
    with locked.open("rb") as being_written:
        fcntl.flock(being_written, fcntl.LOCK_EX)
        export(TRACE, target)
    assert {path.name for path in target.parent.iterdir()} == {
        target.name, young.name, locked.name
    }  # fmt: skip
    assert load(target) == TRACE


def test_a_file_that_cannot_get_so_large_leaves_the_earlier_one(target: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"trace.json: cannot be written: File too large"):
            export(TRACE, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_text() == "earlier"
    assert list(target.parent.iterdir()) == [target]

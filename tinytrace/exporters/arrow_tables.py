"""Ops or stack samples as Parquet, and as Arrow IPC files (Feather v2): for pandas, Polars, DuckDB, Spark.

Written by pyarrow, which is imported when it is needed only, a chunk of rows at a time. What is not known is null.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

from tinytrace.errors import UsageError
from tinytrace.exporters.flat_tables import (
    Cells,
    FlatTable,
    Kinds,
    Numbers,
    OpsTable,
    SamplesTable,
    Words,
)
from tinytrace.exporters.registry import Progress
from tinytrace.tracer.trace import Trace

ROWS_PER_CHUNK = 32_768  # each is a row group of a Parquet file


class ParquetExporter:
    """Ops as Parquet."""

    name = "parquet"
    suffix = ".parquet"
    help = "the ops as Parquet (needs pyarrow)"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per op; see `tinytrace.exporters.registry.Exporter`."""
        _write_parquet(OpsTable(trace), out, progress)


class SamplesParquetExporter:
    """Stack samples as Parquet."""

    name = "parquet-samples"
    suffix = ".samples.parquet"
    help = "the stack samples as Parquet (needs pyarrow)"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per sample; see `tinytrace.exporters.registry.Exporter`."""
        _write_parquet(SamplesTable(trace), out, progress)


class ArrowExporter:
    """Ops as an Arrow file."""

    name = "arrow"
    suffix = ".arrow"
    help = "the ops as an Arrow IPC file (needs pyarrow)"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per op; see `tinytrace.exporters.registry.Exporter`."""
        _write_arrow(OpsTable(trace), out, progress)


class SamplesArrowExporter:
    """Stack samples as an Arrow file."""

    name = "arrow-samples"
    suffix = ".samples.arrow"
    help = "the stack samples as an Arrow IPC file (needs pyarrow)"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write a row per sample; see `tinytrace.exporters.registry.Exporter`."""
        _write_arrow(SamplesTable(trace), out, progress)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as problem:
        raise UsageError("this format needs pyarrow: pip install pyarrow") from problem


def _write_parquet(table: FlatTable, out: BinaryIO, progress: Progress | None) -> None:
    arrow, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    schema = _schema(arrow, table)
    with parquet.ParquetWriter(_Counting(out), schema) as writer:
        for batch in _batches(arrow, schema, table, progress):
            writer.write_batch(batch)


def _write_arrow(table: FlatTable, out: BinaryIO, progress: Progress | None) -> None:
    arrow = _package("pyarrow")
    schema = _schema(arrow, table)
    with arrow.ipc.new_file(arrow.PythonFile(_Counting(out), mode="w"), schema) as writer:
        for batch in _batches(arrow, schema, table, progress):
            writer.write_batch(batch)


def _schema(arrow: Any, table: FlatTable) -> Any:
    types: dict[Kinds, Any] = {
        "int": arrow.int64(), "bool": arrow.bool_(), "text": arrow.string(),
        "word": arrow.dictionary(arrow.int32(), arrow.string()),
    }  # fmt: skip
    return arrow.schema([(name, types[kind]) for name, kind in table.KINDS.items()])


def _batches(arrow: Any, schema: Any, table: FlatTable, progress: Progress | None) -> Iterator[Any]:
    arrays = _Arrays(arrow)
    done = 0
    for chunk in table.chunks(ROWS_PER_CHUNK):
        columns = [arrays.array(chunk[name]) for name in schema.names]
        yield arrow.record_batch(columns, schema=schema)
        done += len(columns[0])
        if progress is not None:
            progress(done / len(table))
    if progress is not None and not done:
        progress(1.0)


class _Arrays:
    """Columns as Arrow arrays. Each list of texts becomes one dictionary: an Arrow file takes no second one."""

    def __init__(self, arrow: Any) -> None:
        self._arrow = arrow
        self._dictionaries: dict[int, Any] = {}

    def array(self, cells: Cells) -> Any:
        """Return the array of a column."""
        if isinstance(cells, Words):
            texts = self._dictionaries.get(id(cells.texts))
            if texts is None:
                texts = self._arrow.array(cells.texts, self._arrow.string())
                self._dictionaries[id(cells.texts)] = texts
            codes = self._arrow.array(cells.codes.astype("i4"), mask=cells.codes < 0)
            return self._arrow.DictionaryArray.from_arrays(codes, texts)
        if isinstance(cells, Numbers):
            kind = "?" if cells.values.dtype == bool else "i8"
            return self._arrow.array(np.asarray(cells.values, kind), mask=cells.missing)
        return self._arrow.array(cells.rows, self._arrow.string())


class _Counting:
    """A file that knows how far it is: a pipe does not, and pyarrow asks."""

    closed = False

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0

    def write(self, data: bytes) -> int:
        """Write, and count."""
        self._out.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._at

    def flush(self) -> None:
        """Nothing to do: who opened the file flushes it."""

    def close(self) -> None:
        """Leave the file open: who opened it closes it."""

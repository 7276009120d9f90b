"""Perfetto's `QueryResult` message, by the schema that its Python package carries.

The package itself is not imported: that would import pandas and Polars, where they are installed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCHEMA = "trace_processor/trace_processor.descriptor"
# Kinds of cells: `QueryResult.CellsBatch.CellType` of protos/perfetto/trace_processor/trace_processor.proto.
NULL, VARINT, FLOAT64, STRING, BLOB = 1, 2, 3, 4, 5


@functools.cache
def query_result_class() -> Any:
    """Return the class of messages that hold (a part of) an answer."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    package = find_spec("perfetto")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'perfetto'")
    folder = Path(next(iter(package.submodule_search_locations)))
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((folder / SCHEMA).read_bytes()).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("perfetto.protos.QueryResult"))


def cells_of(batch: Any) -> Iterator[Any]:
    """Yield the values of a batch, row by row: int, float, str, bytes, or None for NULL."""
    texts = batch.string_cells
    if isinstance(texts, bytes):
        texts = texts.decode(errors="replace")
    values = {
        NULL: None,
        VARINT: iter(batch.varint_cells),
        FLOAT64: iter(batch.float64_cells),
        STRING: iter(texts.split("\0")),
        BLOB: iter(batch.blob_cells),
    }
    for kind in batch.cells:
        source = values[kind]
        yield None if source is None else next(source)

"""The tables of a `Trace` as pandas data frames and Arrow tables, names in place of their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinytrace.errors import UsageError
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Table

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

TABLES = (
    "spans", "aggregates", "samples", "stacks", "frames", "counters", "series", "flows", "processes", "threads",
)  # fmt: skip
_NAMES = {  # columns of numbers of strings → columns of strings
    "name_id": "name", "file_id": "file", "unit_id": "unit", "kind_id": "kind", "args_id": "args",
    "outer_args_id": "outer_args",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Words:
    """A column of few different texts.

    Attributes:
        codes: per row which of the texts; −1: none.
        texts: each once.
    """

    codes: NDArray[np.int32]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Lists:
    """A column of lists.

    Attributes:
        rows: per row its list.
        of: ``texts``, or ``shapes`` (lists of integers).
    """

    rows: list[list[Any]]
    of: Literal["texts", "shapes"]


Content = Column | Words | Lists


def to_pandas(trace: Trace) -> dict[str, Any]:
    """See `Trace.to_pandas`."""
    pandas: Any = _package("pandas", "to_pandas")
    return {
        name: pandas.DataFrame({column: _series(pandas, values) for column, values in columns})
        for name, columns in _tables(trace)
    }


def to_arrow(trace: Trace) -> dict[str, Any]:
    """See `Trace.to_arrow`."""
    arrow: Any = _package("pyarrow", "to_arrow")
    return {
        name: arrow.table({column: _array(arrow, values) for column, values in columns})
        for name, columns in _tables(trace)
    }


def _package(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        raise UsageError(f"Trace.{method}() needs {name}: pip install {name}") from problem
    except ImportError as problem:  # pyarrow 26 wants NumPy 2
        raise UsageError(f"Trace.{method}() cannot import {name}: {problem}") from problem


def _series(pandas: Any, values: Content) -> Any:
    if isinstance(values, Words):
        return pandas.Categorical.from_codes(
            values.codes, pandas.Index(values.texts, dtype="object")
        )
    return pandas.Series(values.rows, dtype="object") if isinstance(values, Lists) else values


def _array(arrow: Any, values: Content) -> Any:
    if isinstance(values, Words):
        codes = arrow.array(values.codes, mask=values.codes < 0)
        return arrow.DictionaryArray.from_arrays(codes, arrow.array(values.texts, arrow.string()))
    if isinstance(values, Lists):
        item = arrow.string() if values.of == "texts" else arrow.list_(arrow.int64())
        return arrow.array(values.rows, arrow.list_(item))
    return arrow.array(values)


def _tables(trace: Trace) -> Iterator[tuple[str, list[tuple[str, Content]]]]:
    strings = [_text(text) for text in trace.strings]
    for name in TABLES:
        table: Table = getattr(trace, name)
        columns: list[tuple[str, Content]] = []
        for column, values in table.columns():
            if column == "kind":
                texts = [kind.name.lower() for kind in Kind]
                columns.append((column, _words(values, texts)))
            elif column == "flags":
                columns += [
                    (str(flag.name).lower(), np.asarray(values & flag != 0)) for flag in Flag
                ]
            elif column in _NAMES:
                columns.append((_NAMES[column], _words(values, strings)))
            else:
                columns.append((column, values))
            if column == "callsite_id":
                columns += _places(trace, values, strings)
        yield name, columns
    yield "signatures", _signatures(trace)


def _places(trace: Trace, frame_id: Column, strings: list[str]) -> list[tuple[str, Content]]:
    """Columns that say where a call site is; line 0: not known."""
    frames = trace.frames
    file_id, name_id, line = (
        np.append(column, missing)[frame_id]
        for column, missing in ((frames.file_id, -1), (frames.name_id, -1), (frames.line, 0))
    )
    return [
        ("file", _words(file_id, strings)),
        ("line", line),
        ("function", _words(name_id, strings)),
    ]


def _signatures(trace: Trace) -> list[tuple[str, Content]]:
    """Operands as lists, inputs first."""
    signatures = trace.signatures
    every = np.arange(len(signatures))
    return [
        ("op", _words(every, [_text(one.op) for one in signatures])),
        ("n_inputs", np.array([one.n_inputs for one in signatures], "i4")),
        ("attributes", _words(every, [_text(one.attributes) for one in signatures])),
        ("shapes", Lists([[list(o.shape) for o in one.operands] for one in signatures], "shapes")),
        ("dtypes", Lists([[_text(o.dtype) for o in one.operands] for one in signatures], "texts")),
    ]


def _text(text: str) -> str:
    """Text that is UTF-8: code units that are no characters are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _words(codes: Column, texts: Sequence[str]) -> Words:
    """Only texts that occur, each once."""
    used = np.zeros(len(texts) + 1, "?")
    used[codes] = True
    number: dict[str, int] = {}
    new = np.full(len(texts) + 1, -1, "i4")  # code −1 finds the last one
    for code in np.flatnonzero(used[:-1]).tolist():
        new[code] = number.setdefault(texts[code], len(number))
    return Words(new[codes], tuple(number))

"""What ``tables.tt`` of one process holds, read back: names, sites, stacks, signatures."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinytrace.errors import StoreError, TraceFormatError
from tinytrace.tracer.records import (
    ENTRY,
    FORMAT_VERSION,
    LAYOUT_MASK,
    LAYOUT_SWAPPED,
    MAX_NDIM,
    NO_ALIAS,
    TABLES_MAGIC,
    TABLES_NAME,
    Entry,
    Layout,
)
from tinytrace.tracer.trace import Operand, Signature

MAX_LINE = 2**31 - 1
_HEADER = struct.Struct("<8sII")
_PYTHON_SCALARS = {"f": "float", "i": "int", "b": "bool", "c": "complex"}
_NAMES = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


@dataclass
class Tables:
    """Everything interned by one process; ids as in the records (0 = none is not in the dicts)."""

    meta: dict[str, Any] = field(default_factory=dict)
    threads: dict[int, tuple[int, str]] = field(default_factory=dict)  # index → native id, name
    ops: dict[int, str] = field(default_factory=dict)
    signatures: dict[int, Signature] = field(default_factory=dict)
    sites: dict[int, tuple[str, str, int]] = field(default_factory=dict)  # function, file, line
    stacks: dict[int, tuple[int, int]] = field(default_factory=dict)  # parent, site
    labels: dict[int, tuple[str, str]] = field(default_factory=dict)  # name, arguments as JSON
    series: dict[int, tuple[str, str]] = field(default_factory=dict)  # name, unit
    warnings: list[str] = field(default_factory=list)


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "surrogatepass")


def _pair(payload: bytes) -> tuple[int, str, str]:
    number, size = struct.unpack_from("<II", payload)
    return number, _text(payload[8 : 8 + size]), _text(payload[8 + size :])


def dtype_name(kind: str, itemsize: int, *, swapped: bool) -> str:
    """NumPy's name of a type: ``float32``; ``>f4`` for the other byte order."""
    if swapped:
        return f">{kind}{itemsize}"
    if kind in _NAMES:
        return f"{_NAMES[kind]}{8 * itemsize}"
    plain = {"b": "bool", "O": "object", "M": "datetime64", "m": "timedelta64", "T": "StringDType"}
    if kind in plain:
        return plain[kind]
    return f"{kind}{itemsize // 4 if kind == 'U' else itemsize}"


def read_signature(key: bytes, ops: dict[int, str]) -> Signature:
    """Decode a signature's key (its layout: `tinytrace.tracer.records`).

    Raises:
        ValueError: it is not one.
    """
    words = struct.unpack(f"<{len(key) // 8}Q", key[: len(key) // 8 * 8])
    op, n_in, n_out, size = (
        words[0] & 0xFFFFFFFF, words[0] >> 32 & 255, words[0] >> 40 & 255, words[0] >> 48,
    )  # fmt: skip
    at, operands = 1, list[Operand]()
    for _ in range(n_in + n_out):
        head = words[at]
        ndim, layout, alias, kind = (head >> shift & 255 for shift in (0, 8, 16, 24))
        n_words = ndim * (2 if layout & LAYOUT_MASK == Layout.STRIDED else 1)
        if ndim > MAX_NDIM or at + 1 + n_words > len(words):
            raise ValueError("a signature that is cut off")
        shape = words[at + 1 : at + 1 + ndim]
        strides = struct.unpack(
            f"<{n_words - ndim}q", key[8 * (at + 1 + ndim) : 8 * (at + 1 + n_words)]
        )
        at += 1 + n_words
        if len(operands) <= alias != NO_ALIAS:
            raise ValueError("an alias of a later operand")
        where = Layout(layout & LAYOUT_MASK)
        itemsize = head >> 32
        name = dtype_name(chr(kind), itemsize, swapped=bool(layout & LAYOUT_SWAPPED))
        if where is Layout.PYTHON_SCALAR:
            name = _PYTHON_SCALARS.get(chr(kind), "object")
        operands.append(
            Operand(name, shape, where, strides, -1 if alias == NO_ALIAS else alias, itemsize)
        )
    attributes = key[8 * at : 8 * at + size].decode("utf-8", "replace")
    return Signature(ops[op], tuple(operands), n_in, attributes)


def _add(tables: Tables, entry: int, payload: bytes) -> None:
    if entry == Entry.META:
        tables.meta.update(dict(json.loads(payload)))
    elif entry == Entry.THREAD:
        index, low, high = struct.unpack_from("<III", payload)
        name = _text(payload[12:])
        known = tables.threads.get(index, (0, ""))
        tables.threads[index] = ((low | high << 32) or known[0], name or known[1])
    elif entry == Entry.OP:
        tables.ops[struct.unpack_from("<I", payload)[0]] = _text(payload[4:])
    elif entry == Entry.SIGNATURE:
        number = struct.unpack_from("<I", payload)[0]
        tables.signatures[number] = read_signature(payload[4:], tables.ops)
    elif entry == Entry.SITE:
        number, line, _, size = struct.unpack_from("<IIII", payload)
        file, name = _text(payload[16 : 16 + size]), _text(payload[16 + size :])
        tables.sites[number] = (name, file, line if line <= MAX_LINE else 0)
    elif entry == Entry.STACK:
        number, parent, site = struct.unpack("<III", payload)
        tables.stacks[number] = (parent, site)
    elif entry == Entry.LABEL:
        number, name, arguments = _pair(payload)
        tables.labels[number] = (name, "")
        if arguments:
            dict(json.loads(arguments))
            tables.labels[number] = (name, arguments)
    elif entry == Entry.SERIES:
        number, name, unit = _pair(payload)
        tables.series[number] = (name, unit)
    elif entry == Entry.WARNING:
        tables.warnings.append(_text(payload))


def read_tables(folder: Path) -> Tables:
    """Read the tables of one process; a torn last entry is dropped, with a warning.

    Raises:
        StoreError: the file is not one of ours, or cannot be read.
        TraceFormatError: it was written by a newer version.
    """
    path = folder / TABLES_NAME
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror}") from problem
    if len(data) < _HEADER.size or data[:8] != TABLES_MAGIC:
        raise StoreError(f"{path} is not a store of tinytrace, or its beginning is lost")
    version = _HEADER.unpack_from(data)[1]
    if version > FORMAT_VERSION:
        raise TraceFormatError(
            f"{folder} was recorded by a newer tinytrace (format {version}); this one reads {FORMAT_VERSION}"
        )
    tables, at, bad = Tables(), _HEADER.size, 0
    while at + ENTRY.size <= len(data):
        size, entry, _ = ENTRY.unpack_from(data, at)
        if size < ENTRY.size or at + size > len(data):
            break
        try:
            _add(tables, entry, data[at + ENTRY.size : at + size])
        except (ValueError, TypeError, LookupError, RecursionError, struct.error):
            bad += 1
        at += size
    if at != len(data):
        tables.warnings.append(
            f"the last {len(data) - at} bytes of the tables were torn, and dropped"
        )
    if bad:
        tables.warnings.append(f"{bad} entries of the tables could not be read")
    return tables

"""Trace files read back: `load`.

What a file is, its content tells, not its name. Files of ours give back the very `Trace` that was written;
Chrome JSON of other tools becomes a `Trace` with what it holds (`tinytrace.analysis.foreign`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from tinytrace.analysis.chrome_reader import OPENING, ChromeReader, is_ours
from tinytrace.errors import InputError, TraceFormatError
from tinytrace.tracer.trace import Trace

BLOCK_BYTES = 8 << 20
GZIP_MAGIC = b"\x1f\x8b"
# Traces are packed 10 to 60 times smaller; nothing but a file made to fill the memory exceeds this.
MOST_PACKED = 300
SURELY_HARMLESS_BYTES = 64 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace file: ``.json`` or ``.json.gz``, ours or another tool's.

    A file whose end is missing gives what is there, and a warning in the trace.

    Args:
        path: of the file.

    Raises:
        InputError: there is no such file, or it cannot be opened.
        TraceFormatError: it is no trace, is damaged, or is of a newer format.

    Example:
        >>> import tempfile
        >>> from tinytrace.exporters import export
        >>> file = tempfile.mkdtemp() + "/trace.json"
        >>> export(Trace(warnings=("a test",)), file)
        >>> load(file).warnings
        ('a test',)
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _load(file, str(where))
    except IsADirectoryError as e:
        raise InputError(f"{where}: is a folder, not a trace file") from e
    except OSError as e:
        raise InputError(f"{where}: cannot be read: {e.strerror or e}") from e


def _load(file: BinaryIO, where: str) -> Trace:
    content = _Content(file, where)
    start = content.take(BLOCK_BYTES)
    if start.startswith(OPENING):
        reader = ChromeReader(where)
        begun: list[bytes] = []  # a line whose end has not come yet
        block = start
        while block:
            at = block.rfind(b"\n") + 1
            if at:
                reader.lines(memoryview(b"".join([*begun, block[:at]])))
                begun = []
            begun.append(block[at:])
            block = content.take(BLOCK_BYTES)
        reader.last_line(b"".join(begun))
        return reader.trace(cut_off=content.cut_off)
    head = start.removeprefix(BYTE_ORDER_MARK).lstrip(b" \t\r\n")
    if not head:
        raise TraceFormatError(f"{where}: is empty")
    if start[:1] == b"\n" and head[:1] not in (b"[", b"{"):  # how each packet of it begins
        raise TraceFormatError(
            f"{where}: not a trace for tinytrace; perhaps a Perfetto protobuf, which only viewers read: "
            "export the .json of the same run"
        )
    if head[:1] not in (b"[", b"{"):
        raise TraceFormatError(
            f"{where}: not a trace: expected Chrome trace JSON (.json, .json.gz)"
        )
    pieces = [head]
    while piece := content.take(BLOCK_BYTES):
        pieces.append(piece)
    return _load_whole(b"".join(pieces), where)


def _load_whole(text: bytes, where: str) -> Trace:
    """Chrome JSON in any layout: another tool's, or ours after another program wrote it anew."""
    document, events, repaired = _document(text, where)
    if any(is_ours(event) for event in events):
        reader = ChromeReader(where)
        for event in events:
            reader.event(event)
        return reader.trace(cut_off=repaired)
    from tinytrace.analysis.foreign import load_foreign

    return load_foreign({**document, "traceEvents": events}, where)


def _document(text: bytes, where: str) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """The other fields of the text, its events, and whether its end was missing."""
    repaired = False
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as e:
        document = _without_end(text)
        repaired = True
        if document is None:
            raise TraceFormatError(f"{where}: not a trace: not JSON: {e}") from e
    header: dict[str, Any] = {}
    if isinstance(document, dict):
        header = document
        document = header.pop("traceEvents", None)
    if not isinstance(document, list):
        raise TraceFormatError(f"{where}: not a trace: JSON without trace events")
    events = [event for event in document if isinstance(event, dict)]
    if document and not events:
        raise TraceFormatError(f"{where}: not a trace: a JSON list, but not of events")
    return header, events, repaired


def _without_end(text: bytes) -> Any:
    """The array form without its end, as programs leave it that were killed; None if it is not that."""
    text = text.rstrip(b" \t\r\n,")
    if not text.startswith(b"["):
        return None
    for end in (len(text), text.rfind(b"\n", 0, len(text))):
        try:
            return orjson.loads(text[:end].rstrip(b" \t\r\n,") + b"]")
        except orjson.JSONDecodeError:
            continue
    return None


class _Content:
    """The text of a file, plain or gzipped (in however many members)."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self.cut_off = False
        start = file.read(len(GZIP_MAGIC))
        self._gzip: Iterator[bytes] | None = self._members(start) if start == GZIP_MAGIC else None
        self._start = start

    def take(self, size: int) -> bytes:
        """The next bytes, about this many; none at the end."""
        if self._gzip is not None:
            return next(self._gzip, b"")
        start, self._start = self._start, b""
        return start + self._file.read(size)

    def _members(self, start: bytes) -> Iterator[bytes]:
        member = zlib.decompressobj(wbits=31)
        data = start
        packed, unpacked = len(start), 0
        while True:
            try:
                text = member.decompress(data, BLOCK_BYTES)
            except zlib.error as e:
                raise TraceFormatError(f"{self._where}: damaged gzip file: {e}") from e
            unpacked += len(text)
            if unpacked > max(SURELY_HARMLESS_BYTES, MOST_PACKED * packed):
                raise TraceFormatError(
                    f"{self._where}: not a trace: unpacks to more than {MOST_PACKED} times its size"
                )
            if text:
                yield text
            data = member.unused_data if member.eof else member.unconsumed_tail
            if not data:
                data = self._file.read(1 << 20)
                packed += len(data)
            if member.eof:
                if not data:
                    return
                member = zlib.decompressobj(wbits=31)
            elif not data:
                self.cut_off = True
                return

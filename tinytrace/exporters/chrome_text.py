"""Values as text for viewers: names, arguments, call sites, units.

What is lossless is in the tables (`tinytrace.analysis.chrome_tables`); here a name may lose what no
viewer can show.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Frames

CATEGORIES = {kind: kind.name.lower() for kind in Kind}
_ESCAPE = re.compile(rb'\\(?:\\"|.)')
_SURROGATES = re.compile("[\ud800-\udfff]")
UNKNOWN = "?"  # a function without a name
_LARGEST_INT = 2**63 - 1  # larger ones are mangled by the importer
_DEEPEST = 20
_UNIT_WORDS = {"%": "percent", "GFLOP/s": "gflops", "GB/s": "gbps"}


def shown(text: str) -> str:
    """Return text without what UTF-8 cannot hold (lone surrogates become �)."""
    return _SURROGATES.sub("\ufffd", text)


def shown_value(value: Any, depth: int = 0) -> Any:
    """Return a JSON value as one that viewers read: no odd numbers, not nested without end."""
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_INT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {shown(str(key)): shown_value(v, depth + 1) for key, v in value.items()}
    return [shown_value(v, depth + 1) for v in value]


def shown_arguments(text: str) -> dict[str, Any]:
    """Return a span's arguments (a JSON object as text); text that is none is shown as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    shown_one = shown_value(value)
    return shown_one if isinstance(shown_one, dict) else {"arguments": shown_one}


def viewable(text: bytes) -> bytes:
    """Return JSON with a backslash at the end of a string written by its number.

    Perfetto's importer takes the quote after it for an escaped one, and loses what follows, without a word.
    """
    if b"\\" not in text or rb'\\"' not in text:  # one byte is found ten times as fast as two
        return text
    return _ESCAPE.sub(_last_backslash, text)


def _last_backslash(escape: re.Match[bytes]) -> bytes:
    return rb'\u005c"' if escape[0] == rb'\\"' else escape[0]


def event(**fields: Any) -> bytes:
    """Return one event as a line of the file."""
    return orjson.dumps(fields) + b",\n"


def callsite(strings: tuple[str, ...], frames: Frames, frame_id: int, *, named: bool = True) -> str:
    """Return file name without its folder, line, function: ``train.py:42 forward``.

    What is not known is left out, and the function unless ``named``.
    """
    name_id, file_id, line = (
        int(column[frame_id]) for column in (frames.name_id, frames.file_id, frames.line)
    )
    place = strings[file_id].rpartition("/")[2] if file_id >= 0 else ""
    place += f":{line}" if line else ""
    function = strings[name_id] if named and name_id >= 0 else ""
    return shown(f"{place} {function}".strip())


def series_name(name: str, unit: str) -> str:
    """Return the name of a counter with its unit, once: JSON has no field for units.

    >>> series_name("rss", "MB"), series_name("rss_mb", "MB"), series_name("gflops", "GFLOP/s")
    ('rss_mb', 'rss_mb', 'gflops')
    """
    word = _UNIT_WORDS.get(unit, unit.lower().replace("/", "_per_").replace(" ", "_"))
    if word and name != word and not name.endswith(f"_{word}"):
        name = f"{name}_{word}"
    return shown(name)

"""What the program's own marks become in one recording: labels, series, step numbers, open spans.

Whatever a program gives as an argument must come out as text, bounded, without an exception and
without an operation of ours in the trace.
"""

from __future__ import annotations

import _thread
import itertools
import json
import math
import sys
from collections.abc import Iterator
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import FrameType
from typing import Any

from tinytrace.tracer.records import Entry

MAX_LABELS = 65_536  # beyond that: names without their arguments
MAX_BARE_LABELS = 4096  # beyond that: `TOO_MANY`
MAX_SERIES = 4096
MAX_TEXT = 1000  # characters of a name, and of the JSON of one argument
TOO_MANY = "(too many names)"
_SUSPENDABLE = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


class OpenSpan:
    """A span that has begun: where, in which recording, and whether its frame was seen suspended."""

    __slots__ = ("frame", "marks", "suspended", "thread", "token")

    def __init__(self, frame: int, marks: Marks, token: int) -> None:
        """Begin; ``frame`` is the id of the frame whose block it is."""
        self.frame = frame
        self.marks = marks
        self.token = token
        self.suspended = False
        self.thread = 0


class Marks:
    """The marks of one recording.

    Attributes:
        recorder: where they are written.
        suspendable: open spans of coroutines and generators, which may be suspended inside: then what
            their thread does is not inside of the span.
    """

    def __init__(self, recorder: Any) -> None:
        """Begin without any."""
        self.recorder = recorder
        self.suspendable: list[OpenSpan] = []
        self._labels: dict[tuple[str, str], int] = {}
        self._series: dict[tuple[str, str], int] = {}
        self._steps: Iterator[int] = itertools.count()
        self._said: set[str] = set()

    # ---- spans ----

    def opened(self, frame: FrameType, token: int) -> OpenSpan:
        """Return a span that has just begun in this frame."""
        opened = OpenSpan(id(frame), self, token)
        if frame.f_code.co_flags & _SUSPENDABLE:
            opened.thread = _thread.get_ident()
            self.suspendable.append(opened)
        return opened

    def closed(self, opened: OpenSpan) -> None:
        """Forget a span that is about to end."""
        if opened.thread:
            self.suspendable.remove(opened)

    def note_suspended(self, frame: FrameType) -> None:
        """Note which spans of this thread are open in coroutines and generators that do not run now."""
        thread = _thread.get_ident()
        others = [o for o in self.suspendable if o.thread == thread and not o.suspended]
        if not others:
            return
        running: set[int] = set()
        caller: FrameType | None = frame
        while caller is not None:
            running.add(id(caller))
            caller = caller.f_back
        for other in others:
            other.suspended = other.frame not in running

    # ---- names ----

    def label(self, name: str, args: dict[str, Any]) -> int:
        """Return the id of a name with its arguments; arguments are left out beyond `MAX_LABELS`."""
        name = _cut(str.__str__(name))
        text = _arguments(args) if args else ""
        known = self._labels.get((name, text))
        if known is not None:
            return known
        if len(self._labels) >= MAX_LABELS:
            if text:
                self._say(
                    f"arguments of spans: only the first {MAX_LABELS:,} different ones are kept"
                )
                return self.label(name, {})
            if len(self._labels) >= MAX_LABELS + MAX_BARE_LABELS and name != TOO_MANY:
                self._say(f"names of spans: too many different ones, further ones are {TOO_MANY}")
                return self.label(TOO_MANY, {})
        known = self._labels[name, text] = int(self.recorder.label(name, text))
        return known

    def step(self, number: int | None) -> int:
        """Return the number of a step that begins: this one, or one more than the last."""
        if number is None:
            return next(self._steps)
        self._steps = itertools.count(number + 1)
        return number

    def counter(self, name: str, value: Any, unit: str) -> None:
        """Write down a value; what is no number is left out, and that said once."""
        name, unit = _cut(str(name)), _cut(str(unit))
        number = _number(value)
        if number is None:
            self._say(f"counter {name!r}: values that are no numbers were left out")
            return
        series = self._series.get((name, unit))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self._say(f"counters: only the first {MAX_SERIES:,} different ones are kept")
                return
            series = self._series[name, unit] = int(self.recorder.series(name, unit))
        self.recorder.counter(series, number)

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < MAX_SERIES:
            self._said.add(text)
            self.recorder.put(Entry.WARNING, text.encode("utf-8", "surrogatepass"))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _number(value: Any) -> float | None:
    try:
        if not isinstance(value, (int, float)) and hasattr(value, "item"):
            value = value.item()  # float() of an array is deprecated
        return None if isinstance(value, (str, bytes)) else float(value)
    except Exception:  # the program's own class may raise anything
        return None


def _arguments(args: dict[str, Any]) -> str:
    """Return the arguments as a JSON object."""
    pairs = (f"{json.dumps(_cut(key))}: {_json(value)}" for key, value in args.items())
    return "{" + ", ".join(pairs) + "}"


def _json(value: Any) -> str:
    """Return a value as JSON, at most about `MAX_TEXT` long; what JSON cannot hold as a string."""
    if type(value) is str:
        return json.dumps(_cut(value))
    try:
        text = _encoder.encode(_scalar(value))
    except Exception:  # NaN, a cycle, keys that are no text, a repr that raises
        return json.dumps(_cut(_repr(value)))
    return text if len(text) <= MAX_TEXT else json.dumps(_cut(text))


def _scalar(value: Any) -> Any:
    """Return NumPy's scalars as Python's; everything else as it is."""
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if generic is None or not isinstance(value, generic):
        return value
    return value.item()


def _described(value: Any) -> Any:
    """Return what stands for a value that JSON cannot hold."""
    plain = _scalar(value)
    return plain if type(plain) in (int, float, bool, str) else _cut(_repr(value))


def _repr(value: Any) -> str:
    """Return the repr; of an array its type and shape, since its repr runs operations of its own."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            return float.__repr__(value)
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None:
            return f"{type(value).__name__} {dtype} {tuple(shape)}"
        return str.__str__(repr(value))
    except Exception:
        return f"<{type(value).__name__} without a repr>"


_encoder = json.JSONEncoder(allow_nan=False, default=_described)

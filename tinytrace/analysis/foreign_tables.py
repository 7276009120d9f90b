"""Strings, processes, threads and series of a foreign trace, interned while its events are read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson

from tinytrace.tracer.trace import Processes, Series, Threads

MAX_ID = (1 << 63) - 1
Key = int | str


class Strings:
    """Interns text; what UTF-8 cannot hold (half a surrogate pair) becomes ``?``."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def of(self, text: str) -> int:
        """Return the row of ``text``."""
        row = self._rows.get(text)
        if row is None:
            if not text.isascii():
                text = text.encode("utf-8", "replace").decode("utf-8")
            row = self._rows.setdefault(text, len(self._rows))
        return row

    def all(self) -> tuple[str, ...]:
        """Return the table."""
        return tuple(self._rows)


class Tracks:
    """Interns processes and threads by what stands in ``pid`` and ``tid``: numbers, text, nothing.

    Work of a GPU has its number as ``pid`` and its stream as ``tid``. These are a process of their
    own here, also where a program's threads use the same numbers.
    """

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._processes: dict[tuple[Key, bool], int] = {}
        self._threads: dict[tuple[Key, Key, bool], int] = {}
        self._series: dict[tuple[int, str, str], int] = {}
        self._process_names: dict[Key, str] = {}
        self._process_labels: dict[Key, str] = {}
        self._thread_names: dict[tuple[Key, Key], str] = {}

    def name(self, what: str, pid: Any, tid: Any, text: str) -> None:
        """Take over a metadata event."""
        if what == "thread_name":
            self._thread_names[_key(pid), _key(tid)] = text
        elif what == "process_labels":
            self._process_labels[_key(pid)] = text
        else:
            self._process_names[_key(pid)] = text

    def process(self, pid: Any, device: bool = False) -> int:
        """Return the row of a process."""
        return self._processes.setdefault((_key(pid), device), len(self._processes))

    def of(self, pid: Any, tid: Any, device: bool) -> int:
        """Return the row of a thread; ``device``: a stream of a GPU."""
        key = _key(pid), _key(tid), device
        row = self._threads.get(key)
        if row is None:
            self.process(pid, device)
            row = self._threads[key] = len(self._threads)
        return row

    def either(self, pid: Any, tid: Any) -> int:
        """Return the row of a thread that exists already, a GPU's stream first; else −1."""
        pid, tid = _key(pid), _key(tid)
        row = self._threads.get((pid, tid, True))
        return self._threads.get((pid, tid, False), -1) if row is None else row

    def series(self, process: int, name: str, unit: str = "") -> int:
        """Return the row of a counter series."""
        return self._series.setdefault((process, name, unit), len(self._series))

    def tables(self, start_ns: int, end_ns: int) -> tuple[Processes, Threads, Series]:
        """Return the tables; all processes get the times of the whole trace."""
        text = self._strings.of
        pids = _numbers([(key, device) for key, device in self._processes])
        n = len(self._processes)
        names = [text(self._process_name(*key)) for key in self._processes]
        processes = Processes(
            np.array(pids),
            np.array(names),
            np.full(n, start_ns),
            np.full(n, end_ns),
            np.full(n, -1),
        )
        threads = list(self._threads)
        of_process = [self._processes[pid, device] for pid, _, device in threads]
        tids = [0] * len(threads)
        for process in range(n):
            rows = [row for row, p in enumerate(of_process) if p == process]
            for row, tid in zip(
                rows, _numbers([(threads[r][1], False) for r in rows]), strict=True
            ):
                tids[row] = tid
        names = [text(self._thread_name(*key)) for key in threads]
        series = Series(
            np.array([text(name) for _, name, _ in self._series]),
            np.array([text(unit) for _, _, unit in self._series]),
            np.array([process for process, _, _ in self._series]),
        )
        return processes, Threads(np.array(of_process), np.array(tids), np.array(names)), series

    def _process_name(self, pid: Key, device: bool) -> str:
        if device:
            label = self._process_labels.get(pid, "")
            return label if label.startswith("GPU") else f"GPU {pid}"
        name = self._process_names.get(pid) or pid
        return (name or "unknown") if isinstance(name, str) else f"process {pid}"

    def _thread_name(self, pid: Key, tid: Key, device: bool) -> str:
        name = self._thread_names.get((pid, tid), "").strip()
        if name:
            return name
        if isinstance(tid, str):
            return tid or "unknown"
        return f"stream {tid}" if device else f"thread {tid}"


def text_of(value: Any) -> str:
    """Return a name or an id as text, whatever it is in the file; nothing is ""."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # beyond 64 bits, nested too deeply
        return type(value).__name__


def _key(value: Any) -> Key:
    """Return a pid or tid as a number where it is one (text too), else as text; nothing is 0."""
    if type(value) is int and -MAX_ID <= value <= MAX_ID:
        return value
    if value is None:
        return 0
    text = text_of(int(value) if isinstance(value, float) and value.is_integer() else value)
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)):
        number = int(text)
        return number if number <= MAX_ID else text
    return text


def _numbers(keys: list[tuple[Key, bool]]) -> list[int]:
    """Return a different number for each: its own where it has one that is still free."""
    taken: set[int] = set()
    numbers: dict[tuple[Key, bool], int] = {}
    for key in sorted(keys, key=lambda k: not k[1]):  # a GPU's number comes first
        if isinstance(key[0], int) and key[0] not in taken:
            numbers[key] = key[0]
            taken.add(key[0])
    following = 1 + max((n for n in taken if n < 1 << 31), default=0)
    for key in keys:
        if key not in numbers:
            while following in taken:
                following += 1
            numbers[key] = following
            taken.add(following)
    return [numbers[key] for key in keys]


def arguments_json(args: Any, category: str) -> str | None:
    """Return the arguments as a JSON object, the category in it as ``cat``.

    "" when there are none; None when they cannot be JSON.
    """
    if not isinstance(args, dict):
        args = {} if args is None else {"args": args}
    if category and "cat" not in args:
        args = {"cat": category, **args}
    if not args:
        return ""
    try:
        return orjson.dumps(args).decode()
    except TypeError:  # numbers beyond 64 bits, half a surrogate pair, nested too deeply
        pass
    try:
        return json.dumps(args, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None

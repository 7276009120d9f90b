"""Real traces of torch.profiler: where they lie, and what plain loops over their events say."""

from __future__ import annotations

import gzip
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from tinytrace.analysis.reader import load
from tinytrace.tracer.trace import Trace

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "tests" / "data"
LARGE = ROOT.parent / "shared" / "data" / "kineto"
WITH_DEVICES = (
    "hta_diff_control", "hta_diff_test", "hta_nccl", "hta_ns_resolution_rank-0", "hta_sampled_rank-0",
    "hta_sampled_rank-1", "hta_simple_add", "tracelens_b200_eager", "tracelens_h100_bert_small",
    "tracelens_h100_qwen", "tracelens_mi300_bert_small",
)  # fmt: skip
ALL = ("hta_cpu_only_rank-34", *WITH_DEVICES)
DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
RUNTIME = ("cuda_runtime", "cuda_driver")


def path_of(name: str) -> Path:
    """The file of a trace; a test that needs one which is missing fails in CI, and is skipped elsewhere."""
    file = name if name.endswith(".json.gz") else f"{name}.json.gz"
    path = SMALL / file if (SMALL / file).exists() else LARGE / file
    if not path.exists():
        text = f"{path} is missing: it belongs beside the checkout (tests/data/README.md)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return path


def document(name: str) -> dict[str, Any]:
    """A real trace, parsed."""
    parsed: dict[str, Any] = orjson.loads(gzip.decompress(path_of(name).read_bytes()))
    return parsed


@cache
def loaded(name: str) -> Trace:
    """A real trace, as it is read."""
    return load(path_of(name))


class Event:
    """A complete event, its times rounded to ns as the reader rounds them."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.name = str(raw["name"])
        self.category = str(raw.get("cat"))
        self.args: dict[str, Any] = raw.get("args", {})
        self.thread = (raw["pid"], raw["tid"])
        self.start_ns = ns(raw["ts"])
        self.dur_ns = ns(raw["dur"])
        self.end_ns = self.start_ns + self.dur_ns

    @property
    def is_communication(self) -> bool:
        return "nccl" in self.name.lower() or "multimem_all_reduce" in self.name


def ns(us: float) -> int:
    """Whole microseconds apart from the rest, so that no digit is lost."""
    whole = int(us // 1)
    return whole * 1000 + round((us - whole) * 1000)


@cache
def events(name: str) -> tuple[Event, ...]:
    """The complete events of a trace."""
    return tuple(Event(e) for e in document(name)["traceEvents"] if e["ph"] == "X")


def device_events(name: str) -> list[Event]:
    """What ran on devices, in order of time."""
    return sorted((e for e in events(name) if e.category in DEVICE), key=lambda e: e.start_ns)


def slack_ns(name: str) -> int:
    """By how much sums of durations may differ: ends that the reader cut, as the trace says; mostly 0."""
    cut = (re.match(r"(\d+) spans end up to (\d+) ns early", w) for w in loaded(name).warnings)
    return sum(int(match[1]) * int(match[2]) for match in cut if match)


def launches(name: str) -> dict[int, Event]:
    """Calls of the runtime by correlation number."""
    found: dict[int, Event] = {}
    for event in events(name):
        if event.category in RUNTIME and "correlation" in event.args:
            found.setdefault(event.args["correlation"], event)
    return found


def union_ns(intervals: list[tuple[int, int]]) -> int:
    """The time that is in at least one of them, by a sweep."""
    total = 0
    until = None
    for start, end in sorted(intervals):
        if until is None or start > until:
            total += end - start
            until = end
        elif end > until:
            total += end - until
            until = end
    return total

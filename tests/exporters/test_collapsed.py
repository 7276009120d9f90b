"""Collapsed stacks: parsed back, nothing is lost."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from tests.browser import chromium
from tests.builders import START_NS, TraceBuilder, traces
from tests.speedscope_app import functions, open_in_speedscope
from tinytrace.exporters import export
from tinytrace.exporters.collapsed import CollapsedExporter
from tinytrace.tracer.trace import Trace


def written(trace: Trace) -> str:
    """The file as text."""
    out = io.BytesIO()
    CollapsedExporter().write(trace, out)
    return out.getvalue().decode()


def parsed(text: str) -> Counter[tuple[str, ...]]:
    """The weight of each stack, names as they were."""
    weights: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack, _, weight = line.rpartition(" ")
        weights[tuple(map(unescaped, stack.split(";")))] += int(weight)
    return weights


def unescaped(name: str) -> str:
    r"""Undo ``\\``, ``\x3b`` and ``\u2028``."""
    escape = re.compile(r"\\(?:\\|x(..)|u(....))")
    return escape.sub(lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else "\\", name)


def a_trace() -> Trace:
    """Three samples in two stacks, and one in a thread without a stack."""
    builder = TraceBuilder()
    process = builder.process(10, "python")
    main, other = builder.thread(process, 10, "main"), builder.thread(process, 11, "a;b\n\\x")
    module = builder.frame("<module>", "/home/me/train.py", 90)
    forward = builder.frame("forward", "/home/me/train.py", 42)
    for number, stack in enumerate(([module], [module, forward], [module])):
        builder.sample(main, START_NS + number, 10**number, stack)
    builder.sample(other, START_NS, 7, [])
    return builder.build()


def test_a_line_per_stack_with_the_sum_of_its_weights() -> None:
    assert written(a_trace()).splitlines() == [
        "python (pid 10);main (tid 10);<module> (train.py:90) 101",
        "python (pid 10);main (tid 10);<module> (train.py:90);forward (train.py:42) 10",
        "python (pid 10);a\\x3bb\\x0a\\\\x (tid 11);(no stack) 7",
    ]


def test_names_come_back_as_they_were() -> None:
    assert ("python (pid 10)", "a;b\n\\x (tid 11)", "(no stack)") in parsed(written(a_trace()))


@given(traces())
def test_weights_add_up_to_those_of_the_samples(trace: Trace) -> None:
    assert parsed(written(trace)).total() == trace.samples.weight_ns.sum()


def test_without_samples_the_file_is_empty() -> None:
    assert written(Trace()) == ""


def test_both_endings_are_the_same_format(tmp_path: Path) -> None:
    export(a_trace(), tmp_path / "a.folded")
    export(a_trace(), tmp_path / "a.collapsed")
    assert (tmp_path / "a.folded").read_bytes() == (tmp_path / "a.collapsed").read_bytes() != b""


@pytest.mark.browser
def test_speedscope_shows_the_same_weights(tmp_path: Path) -> None:
    export(a_trace(), tmp_path / "a.collapsed")
    with chromium() as page:
        open_in_speedscope(page, tmp_path / "a.collapsed")
        shown = {name: total.split()[0] for name, (total, _) in functions(page).items()}
    assert shown == {
        "python (pid 10)": "118", "main (tid 10)": "111", "<module> (train.py:90)": "111",
        "forward (train.py:42)": "10", "a\\x3bb\\x0a\\\\x (tid 11)": "7", "(no stack)": "7",
    }  # fmt: skip

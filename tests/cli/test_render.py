"""The summary as people see it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import START_NS, TraceBuilder, random_trace, signature_of, trace_of
from tests.cli.terminal import printed_on_terminal
from tinytrace.analysis.figures import clean, format_mb, format_ns, format_rate
from tinytrace.cli.layout import cells
from tinytrace.cli.render import print_summary
from tinytrace.tracer.trace import Trace

AUDIT = {
    "core": "c", "asked_hz": 1000.0, "achieved_hz": 948.2, "largest_gap_ns": 20_900_000,
    "dropped": 0, "skipped_elements": 1263, "overhead_ns_per_op": 95, "own_overhead_percent": 0.42,
}  # fmt: skip


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine's decides what is printed."""
    for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    yield


def training_run() -> Trace:
    """A small training run: a second, three ops, some uncounted, imports, counters."""
    builder = TraceBuilder()
    builder.process(4711, "train.py", START_NS, START_NS + 10**9)
    thread = builder.thread(0, 4711)
    forward = builder.frame("forward", "/home/me/train.py", 42)
    backward = builder.frame("loss_and_gradients", "/home/me/train.py", 55)
    product = signature_of("matmul", "100x100,100x100->100x100")
    now_ns = START_NS + 200_000_000
    for number in range(300):
        site = forward if number % 3 else backward
        builder.span(thread, now_ns, 10**6, "matmul", signature=product, callsite=site)
        now_ns += 1_500_000
    for op, text, dur_ns in (
        ("exp", "1000->1000", 40_000_000), ("random.normal", "->1000", 3_000_000),
    ):  # fmt: skip
        builder.span(thread, now_ns, dur_ns, op, signature=signature_of(op, text), callsite=forward)
        now_ns += dur_ns
    mean = builder.span(thread, now_ns, 900_000, "mean", callsite=forward)
    add = signature_of("add.reduce", "1000->.")
    builder.span(thread, now_ns, 500_000, "add.reduce", signature=add, parent=mean)
    main = builder.frame("<module>", "/home/me/train.py", 90)
    finder = builder.frame("_find_and_load", "<frozen importlib._bootstrap>", 1176)
    numpy_line = builder.frame("<module>", "/v/lib/python3.11/site-packages/numpy/__init__.py", 3)
    tick = builder.frame("ProcessCounters.tick", "/v/tinytrace/tracer/counters.py", 9)
    stacks = [[main, finder, numpy_line]] * 20 + [[main, forward]] * 70 + [[main]] * 9 + [[tick]]
    for number, path in enumerate(stacks):
        builder.sample(thread, START_NS + (number + 1) * 10**7, 10**7, path, 10**7 * (number % 2))
    for name, unit, value in (("rss_mb", "MB", 54.0), ("array_peak_mb", "MB", 4.74)):
        builder.counter(builder.series(name, unit), START_NS + 10**8, value)
    builder.meta["audit"] = AUDIT
    return builder.build()


def plain(trace: Trace, path: Path | str | None = None) -> str:
    """The summary as it goes into a file."""
    out = io.StringIO()
    print_summary(trace, path, out)
    return out.getvalue()


def on_terminal(trace: Trace, columns: int) -> str:
    """The summary as a terminal gets it."""
    return printed_on_terminal(columns, lambda out: print_summary(trace, "/tmp/trace.json", out))


def without_colours(text: str) -> str:
    """Text without the sequences for bold, dim, colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", text)


GOLD = """
tinytrace: 1.00 s recorded

Top ops by self time (5 of 5)
op             % wall     self  calls    GFLOP/s     GB/s  FLOP/B  call site
matmul           30.0   300 ms    300       2.00    0.240    8.33  train.py:42 forward (+1)
exp               4.0  40.0 ms      1  2.5e-05 T  4.0e-04       0  train.py:42 forward
random.normal     0.3  3.00 ms      1  uncounted  0.00267       ?  train.py:42 forward
add.reduce        0.1   500 us      1    0.00200   0.0160   0.125  ?
mean              0.0   400 us      1     inside   inside  inside  train.py:42 forward
(+N): called from N more places; the one shown took most time.
T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.
inside: the figure is that of the ops that ran inside it.

Top lines by samples (2 of 2)
line         % wall     self  % on CPU  % function  function
train.py:42    70.0   700 ms        50        70.0  forward
train.py:90     9.0  90.0 ms        44        99.0  <module>
% function: in the whole function and all that it called.
Not in these lines: importing modules 200 ms (20.0 %), in tinytrace itself 10.0 ms (1.0 %).

Memory peak: 54.0 MB resident, NumPy arrays 4.74 MB
Self-audit: sampled at 948 Hz of 1,000 asked, largest gap 20.9 ms; 304 spans recorded (compiled core); \
FLOPs counted for 99.1 % of op time, uncounted ops: random.normal; 1,263 element accesses not recorded; \
own overhead about 0.420 % (estimate, 95 ns per op).
Trace: runs/trace.json - open https://ui.perfetto.dev and drop trace.json on it.
Why it is slow: python -m tinytrace report runs/trace.json
"""


def test_the_summary_in_a_file_is_this_text() -> None:
    assert plain(training_run(), "runs/trace.json") == GOLD


def test_the_manual_explains_the_very_text() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "summary.md").read_text(encoding="utf-8")
    shown = manual.split("```\n")[1].splitlines()
    expected = GOLD.strip().splitlines()
    assert shown[:-1] == expected[: len(shown) - 1]
    assert expected[len(shown) - 1].startswith(shown[-1].removesuffix("…"))


NARROW = """
tinytrace: 1.00 s recorded

Top ops by self time (5 of 5)
op             % wall     self  calls    GFLOP/s     GB/s  FLOP/B
matmul           30.0   300 ms    300       2.00    0.240    8.33
    train.py:42 forward (+1)
exp               4.0  40.0 ms      1  2.5e-05 T  4.0e-04       0
    train.py:42 forward
random.normal     0.3  3.00 ms      1  uncounted  0.00267       ?
    train.py:42 forward
add.reduce        0.1   500 us      1    0.00200   0.0160   0.125
    ?
mean              0.0   400 us      1     inside   inside  inside
    train.py:42 forward
(+N): called from N more places; the one shown took most time.
T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.
inside: the figure is that of the ops that ran inside it.

Top lines by samples (2 of 2)
line         % wall     self  % on CPU  % function  function
train.py:42    70.0   700 ms        50        70.0  forward
train.py:90     9.0  90.0 ms        44        99.0  <module>
% function: in the whole function and all that it called.
Not in these lines: importing modules 200 ms (20.0 %), in tinytrace itself 10.0
ms (1.0 %).

Memory peak: 54.0 MB resident, NumPy arrays 4.74 MB
Self-audit: sampled at 948 Hz of 1,000 asked, largest gap 20.9 ms; 304 spans
recorded (compiled core); FLOPs counted for 99.1 % of op time, uncounted ops:
random.normal; 1,263 element accesses not recorded; own overhead about 0.420 %
(estimate, 95 ns per op).
Trace: /tmp/trace.json - open https://ui.perfetto.dev and drop trace.json on it.
Why it is slow: python -m tinytrace report /tmp/trace.json
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run.JSON.gz", " - open https://ui.perfetto.dev and drop run.JSON.gz on it."),
        ("run.speedscope.json", " - open https://www.speedscope.app and drop run.speedscope.json on it."
         " It does not hold everything that was recorded: trace.json would."),
        ("run.svg", " - it does not hold everything that was recorded: trace.json would."),
        ("run.other", ""),
    ],
)  # fmt: skip
def test_the_summary_says_what_opens_the_file_and_when_it_is_not_all(name: str, said: str) -> None:
    lines = plain(Trace(), name).splitlines()
    [line] = [line for line in lines if line.startswith("Trace: ")]
    assert line == f"Trace: {name}{said}"
    assert (lines[-1] == f"Why it is slow: python -m tinytrace report {name}") == (
        "json.gz" in name.lower()
    )


def test_the_summary_on_a_terminal_of_80_columns_is_this_text() -> None:
    text = on_terminal(training_run(), 80)
    assert without_colours(text) == NARROW
    assert "\x1b[1mtinytrace: 1.00 s recorded\x1b[0m" in text
    assert "\x1b[4mop " in text


@pytest.mark.parametrize("columns", [66, 80, 100, 140, 200])
def test_no_line_is_longer_than_the_terminal(columns: int) -> None:
    lines = without_colours(on_terminal(training_run(), columns)).splitlines()
    assert max(map(cells, lines)) <= columns


def test_names_are_whole_on_any_terminal() -> None:
    for columns in (20, 60, 80, 100):
        words = without_colours(on_terminal(training_run(), columns)).split()
        for name in ("random.normal", "train.py:42", "https://ui.perfetto.dev", "add.reduce"):
            assert name in [word.rstrip(";,") for word in words]


def test_no_colour_and_dumb_terminals_get_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert on_terminal(training_run(), 80) == NARROW
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_terminal(training_run(), 80) == NARROW


def test_columns_in_the_environment_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "8.33  train.py:42 forward (+1)\n" in without_colours(on_terminal(training_run(), 80))
    monkeypatch.setenv("COLUMNS", "many")
    assert without_colours(on_terminal(training_run(), 80)) == NARROW


def test_an_empty_trace_says_what_is_missing() -> None:
    assert (
        plain(Trace())
        == """
tinytrace: 0 ns recorded

No NumPy operation was recorded.

No line of the program was sampled.

Memory peak: not known
Self-audit: not sampled; 0 spans recorded (core not known); no ops to count; dropped: not known; \
own overhead not known.
"""
    )


def test_a_trace_without_samples_and_one_without_ops_say_so() -> None:
    trace = training_run()
    text = plain(replace(trace, samples=trace.samples.take(slice(0))))
    assert "No line of the program was sampled.\n" in text
    assert "Top ops" in text
    text = plain(replace(trace, spans=trace.spans.take(slice(0))))
    assert "No NumPy operation was recorded.\n" in text
    assert "no ops to count" in text
    assert "Top lines" in text


def test_several_processes_and_threads_are_told() -> None:
    builder = TraceBuilder()
    for pid in (10, 20):
        process = builder.process(pid, f"worker {pid}", START_NS, START_NS + 10**9)
        for tid in (pid, pid + 1):
            thread = builder.thread(process, tid)
            builder.span(thread, START_NS, 10**8, "add", signature=signature_of("add", "9,9->9"))
        builder.counter(builder.series("rss_mb", "MB", process), START_NS, float(pid))
    text = plain(builder.build())
    assert text.startswith(
        "\ntinytrace: 1.00 s recorded, 2 processes, 4 threads: shares of the wall time add up over "
        "them, beyond 100 %\n"
    )
    assert (
        "Memory peak: 20.0 MB resident, NumPy arrays not known (the largest of 2 processes: "
        in text
    )
    assert "worker 20, 20)\n" in text
    assert re.search("add +40.0 +400 ms +4 ", text)


def test_what_was_dropped_or_aggregated_is_told() -> None:
    trace = training_run()
    trace.meta["audit"] = {**AUDIT, "dropped": 12, "skipped_elements": 0}
    assert "; 12 dropped; " in plain(trace)
    trace.meta["audit"] = {**AUDIT, "skipped_elements": 0}
    assert "; nothing dropped or aggregated; " in plain(trace)
    trace.meta["audit"] = {"asked_hz": 100.0}
    text = plain(trace)
    assert "sampled at a rate not known of 100 asked, largest gap not known" in text
    assert "own overhead not known." in text


def test_warnings_are_told_once_each() -> None:
    text = plain(replace(training_run(), warnings=("the disk was full", "b", "the disk was full")))
    assert text.count("Warning: the disk was full\n") == 1
    assert "Warning: b\n" in text


def test_many_uncounted_ops_are_not_all_named() -> None:
    text = plain(trace_of(" ".join(f"op{n}[8->8]:{20 - n}" for n in range(8))))
    assert "uncounted ops: op0, op1, op2, op3, op4 and 3 more;" in text
    assert "FLOPs counted for 0.0 % of op time" in text


def test_calls_some_of_which_are_uncounted_are_noted() -> None:
    text = plain(trace_of("add[8,8->8]:2 add:3"))
    assert "GFLOP/s are those of counted calls; some calls in the table are uncounted.\n" in text


@pytest.mark.parametrize("columns", [None, 80])
def test_names_with_control_characters_are_shown_and_not_obeyed(columns: int | None) -> None:
    evil = "a\x1b]0;owned\x07\x1b[2J\r\n\t\x00\u202eb[bold]x[/bold]"
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1, evil, START_NS, START_NS + 10**9), 1, evil)
    site = builder.frame(evil, f"/x/{evil}.py", 3)
    builder.span(thread, START_NS, 10**6, evil, callsite=site, signature=signature_of("x", "8->8"))
    builder.sample(thread, START_NS + 10**6, 10**6, [site])
    builder.warnings.append(evil)
    trace = builder.build()
    text = plain(trace) if columns is None else without_colours(on_terminal(trace, columns))
    assert not set(text) & set("\x1b\x07\r\t\x00\u202e")
    assert r"a\x1b]0;owned\x07\x1b[2J\r\n\t\x00\u202eb[bold]x[/bold]" in text


def test_wide_characters_and_surrogates_keep_columns_straight() -> None:
    text = plain(trace_of("層層:5 add:3 \udc80:1"))
    rows = [line for line in text.splitlines() if "100.0" in line or "uncounted" in line]
    ends = [cells(line[: line.index("uncounted")]) for line in rows if "Self" not in line]
    assert len(ends) == 3
    assert len(set(ends)) == 1
    assert r"\udc80" in text


def test_an_encoding_without_the_characters_gets_escapes() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    print_summary(trace_of("größe:5"), "/tmp/層.json", out)
    out.flush()
    assert rb"gr\xf6\xdfe" in raw.getvalue()
    assert rb"\u5c64.json" in raw.getvalue()


def test_a_long_name_is_cut_where_it_is_said_to_be() -> None:
    assert f"{'x' * 57}...  " in plain(trace_of(f"{'x' * 300}:5"))


@pytest.mark.parametrize("seed", range(40))
def test_any_valid_trace_has_a_summary(seed: int) -> None:
    text = plain(random_trace(seed, 40), "trace.json")
    assert "Self-audit: " in text
    assert "nan" not in text.replace("nano", "")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format_ns(0), "0 ns"), (format_ns(999), "999 ns"), (format_ns(999_600), "1.00 ms"),
        (format_ns(59_990_000_000), "60.0 s"), (format_ns(7.2e12), "7,200 s"),
        (format_mb(0.0004), "0.40 kB"), (format_mb(1e7), "10.0 TB"),
        (format_rate(0.8), "0.800"), (format_rate(0.00012), "1.2e-04"), (format_rate(99.96), "100"),
        (clean("a\x85b\u2028"), "a\\x85b\\u2028"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_exact(shown: str, expected: str) -> None:
    assert shown == expected

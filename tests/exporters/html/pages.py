"""Pages of traces, for tests."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import START_NS, TraceBuilder, signature_of
from tests.peaks_by_hand import with_peaks
from tinytrace.exporters.html import content_of, html_page
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

HOSTILE = (
    "</script><script>window.broken=1</script>", "<img src=x onerror='window.broken=1'>", "\"'><b>bold</b>",
    "<!--", "\u2028\x00\x1b[31m\udc80", "{{constructor}}", "&lt;",
)  # fmt: skip
MS = 1_000_000


def page_of(trace: Trace, **asked: str) -> str:
    """The page as text."""
    return html_page(content_of(trace, "trace.json", **asked)).decode()  # type: ignore[arg-type]


def whole_trace(
    names: tuple[str, ...] = ("matmul", "exp", "copy"), file: str = "/home/me/train.py"
) -> Trace:
    """Twelve steps with ops of these names, samples, memory, roofs: something in every section."""
    builder = TraceBuilder()
    builder.process(7, names[0], START_NS, START_NS + 120 * MS)
    thread = builder.thread(0, 7, names[-1])
    sites = [builder.frame(name, file, 10 + n) for n, name in enumerate(names)]
    rss, arrays = builder.series("rss_mb", "MB"), builder.series("array_mb", "MB")
    for number in range(12):
        now_ns = START_NS + number * 10 * MS
        step = builder.span(thread, now_ns, 9 * MS, "step", kind=Kind.STEP, step=number)
        for n, name in enumerate(names):
            shapes = "64x64,64x64->64x64" if n == 0 else f"{1000 * (n + 1)}->{1000 * (n + 1)}"
            builder.span(
                thread, now_ns + n * MS, MS // 2 + number * 1000, name, parent=step, step=number,
                signature=signature_of("matmul" if n == 0 else "negative", shapes), callsite=sites[n],
            )  # fmt: skip
        builder.sample(thread, now_ns + 10 * MS, 10 * MS, sites[: 1 + number % len(sites)], 10 * MS)
        builder.counter(rss, now_ns, 50.0 + number)
        builder.counter(arrays, now_ns, 5.0)
    builder.meta |= {
        "command": ["python", names[0]], "start_unix_ns": 1_700_000_000 * 10**9,
        "machine": {"cpu": names[-1], names[0]: names[0]}, "conventions": {"flop": names[0]},
        "hardware_counters": {"missing": {"cycles": "ENOENT"}},
        "audit": {"core": "c", "asked_hz": 100.0, "achieved_hz": 100.0, "dropped": 0},
    }  # fmt: skip
    builder.warnings.append(names[0])
    return with_peaks(builder.build())


def without(trace: Trace, *fields: str) -> Trace:
    """The trace with these tables empty; ``peaks`` is in the meta."""
    empty = Trace()
    meta = {key: value for key, value in trace.meta.items() if key not in fields}
    return replace(
        trace,
        meta=meta,
        **{name: getattr(empty, name) for name in fields if name not in trace.meta},
    )

"""What a trace tells of its hardware counters, in words: which were read, why others were not, what is not in them."""

from __future__ import annotations

from typing import Any, Literal

from tinytrace.tracer.trace import Trace

META_KEY = "hardware_counters"
# Why none was tried or kept: `tracer.hardware.HardwareCounters.meta`.
REFUSED = {
    "off": "they were switched off (--hardware-counters off)",
    "system": "they are read on Linux only, and not on every kind of machine",
    "files": "the program may open so few files that none were taken from it",
    "seccomp": "not tried under a filter of system calls (a container?), which may kill who tries "
    "(--hardware-counters on tries)",
    "virtual": "there are some, but in a virtual machine each switch of threads would cost more "
    "(--hardware-counters on reads them)",
}
NAMES = {
    "cycles": "cycles", "instructions": "instructions", "l1d_misses": "L1d misses",
    "llc_references": "LLC references", "llc_misses": "LLC misses", "l2_references": "L2 references",
    "l2_misses": "L2 misses",
}  # fmt: skip
# The cache whose misses were counted (`caches.ProcessCaches.outer`), and where these are served.
OUTER = {"llc": ("LLC", "DRAM"), "l2": ("L2", "L3 and DRAM")}
VERDICTS = {
    "agree": "they agree within a factor of 2",
    "more measured": "more was measured: data of Python, other libraries, cache lines that were used in part",
    "less measured": "less was measured: operands stayed longer than modelled, or a prefetcher brought them",
}
Form = Literal["count", "rate", "bytes"]
FORBIDDEN = ("EACCES", "EPERM")
LEVEL_ALLOWED = (
    2  # of perf_event_paranoid: up to there, what runs in user mode may be counted by everyone
)


def counted_names(trace: Trace) -> tuple[str, ...]:
    """Return the counters that were opened; (): none, or the trace does not tell.

    Example:
        >>> counted_names(Trace())
        ()
    """
    counted = _told(trace).get("counted")
    return tuple(n for n in counted if isinstance(n, str)) if isinstance(counted, list) else ()


def figure_rows(outer: str | None) -> tuple[tuple[str, str, Form], ...]:
    """Return what is told of `caches.Counted`: words, the name of the field, and how it is written.

    Args:
        outer: the cache whose misses were counted; None: of none.

    Example:
        >>> figure_rows("l2")[-2]
        ('from L3 and DRAM, estimated (misses x 64 B)', 'fetched_bytes', 'bytes')
    """
    name, beyond = OUTER.get(outer or "", ("", ""))
    rows: tuple[tuple[str, str, Form], ...] = (
        ("cycles", "cycles", "count"),
        ("instructions", "instructions", "count"),
        ("instructions per cycle", "instructions_per_cycle", "rate"),
        ("L1d misses per 1,000 instructions", "l1d_misses_per_1000", "rate"),
    )
    if not name:
        return rows
    return (
        *rows,
        (f"{name} misses per 1,000 instructions", "misses_per_1000", "rate"),
        (f"{name} misses, % of its references", "miss_percent", "rate"),
        (f"from {beyond}, estimated (misses x 64 B)", "fetched_bytes", "bytes"),
        (f"from {beyond}, estimated GB/s", "fetched_gbps", "rate"),
    )


def why_none(trace: Trace) -> str:
    """Return why nothing is known from hardware counters, as the end of a sentence.

    Example:
        >>> why_none(Trace(meta={"hardware_counters": {"missing": {"cycles": "ENOENT"}}}))
        "this machine's kernel offers no such counters (ENOENT)"
    """
    told = _told(trace)
    if not told:
        return "the trace has none"
    if told.get("refused"):
        return REFUSED.get(str(told["refused"]), "they were not tried")
    missing = _missing(told)
    if not missing or counted_names(trace):
        return "they stood still, or the program was too short for two readings"
    return "; ".join(_reason(code, told) for code in dict.fromkeys(missing.values()))


def what_is_missing(trace: Trace) -> tuple[str, ...]:
    """Return what is not in the figures of hardware counters, a sentence each.

    Example:
        >>> told = {"counted": ["cycles"], "missing": {"l1d_misses": "ENOENT"}, "earlier_threads": 1}
        >>> for text in what_is_missing(Trace(meta={"hardware_counters": told})):
        ...     print(text)
        not counted: L1d misses, since this machine's kernel offers no such counters (ENOENT)
        not in them: 1 thread that was there before the recording began
    """
    told, found = _told(trace), []
    missing = _missing(told)
    for code in dict.fromkeys(missing.values()):
        names = ", ".join(NAMES.get(name, name) for name, why in missing.items() if why == code)
        found.append(f"not counted: {names}, since {_reason(code, told)}")
    earlier = told.get("earlier_threads")
    if type(earlier) is int and earlier > 0:
        threads = "1 thread that was" if earlier == 1 else f"{earlier:,} threads that were"
        found.append(f"not in them: {threads} there before the recording began")
    if told.get("children") is True:
        found.append("this kernel counts processes that the program forks together with it")
    return tuple(found)


def _told(trace: Trace) -> dict[str, Any]:
    told = trace.meta.get(META_KEY)
    return told if isinstance(told, dict) else {}


def _missing(told: dict[str, Any]) -> dict[str, str]:
    missing = told.get("missing")
    return {str(k): str(v) for k, v in missing.items()} if isinstance(missing, dict) else {}


def _reason(code: str, told: dict[str, Any]) -> str:
    """What the kernel meant by an error."""
    if code == "ENOENT":
        return "this machine's kernel offers no such counters (ENOENT)"
    paranoid = told.get("paranoid")
    if code not in FORBIDDEN:
        return f"the kernel does not count them here ({code})"
    if type(paranoid) is int and paranoid > LEVEL_ALLOWED:
        return (
            f"the kernel does not allow it ({code}): perf_event_paranoid is {paranoid}, "
            f"{LEVEL_ALLOWED} is needed (sudo sysctl kernel.perf_event_paranoid={LEVEL_ALLOWED})"
        )
    return f"the kernel does not allow it ({code}), perhaps by a filter of system calls"

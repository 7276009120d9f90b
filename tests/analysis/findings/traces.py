"""Small traces for the rules: a line of the mini-language, samples, and the roofs of a machine made by hand."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import START_NS, TraceBuilder, signature_of, trace_of
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis.findings import RULES, Finding
from tinytrace.analysis.findings.case import Case
from tinytrace.tracer.trace import Operand, Signature, Trace

MS = 1_000_000
FILE = "/home/me/train.py"


def found(rule: str, trace: Trace) -> list[Finding]:
    """What one rule says of a trace, whatever its share of the run."""
    return list(RULES[rule](Case(with_peaks(trace))))


def ops(text: str, **signatures: Signature) -> Trace:
    """A trace of the mini-language; ops named in ``signatures`` have these."""
    return trace_of(text, signatures=signatures)


def scalar(dtype: str = "float64") -> Operand:
    """A NumPy scalar, or a 0-d array."""
    return Operand(dtype, ())


def sampled(functions: dict[str, int], *, elements: int = 0, cpu: float = 1.0) -> Trace:
    """A run of one thread that spent so many ms in these functions, one sample per ms, without ops."""
    builder = TraceBuilder()
    builder.process(100, end_ns=START_NS + sum(functions.values()) * MS)
    builder.thread(0, 100)
    t_ns = START_NS
    for line, (name, ms) in enumerate(functions.items(), 10):
        frame = builder.frame(name, FILE, line)
        for _ in range(ms):
            t_ns += MS
            builder.sample(0, t_ns, MS, [frame], cpu_ns=round(cpu * MS))
    trace = builder.build()
    return replace(trace, meta={**trace.meta, "audit": {"skipped_elements": elements}})


__all__ = ["FILE", "MS", "found", "ops", "sampled", "scalar", "signature_of"]

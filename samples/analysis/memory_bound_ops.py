"""Ops that move more than they compute, those with most time first: ``memory_bound_ops.py trace.json``.

Fewer than one FLOP or evaluation of exp, log… per byte: about any processor can compute more than it can load.
"""

import sys

import numpy as np

import tinytrace as tt
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.spans import self_ns

trace = tt.load(sys.argv[1])
counts = count_trace(trace)
spans, flops, moved = trace.spans, counts.per_span("flops"), counts.per_span("bytes")
counted = counts.leaf & (flops >= 0) & (moved > 0)
work = flops[counted] + counts.transcendentals[spans.signature_id[counted]]
names, op = np.unique(spans.name_id[counted], return_inverse=True)
work, moved = np.bincount(op, work), np.bincount(op, moved[counted])
seconds = np.bincount(op, self_ns(spans)[counted]) / 1e9

print(f"{'op':<20}{'seconds':>10}{'GB/s':>8}{'work/byte':>11}")
for i in np.argsort(-seconds)[:10] if len(seconds) else []:
    if work[i] < moved[i]:
        rate = moved[i] / seconds[i] / 1e9 if seconds[i] else np.nan
        print(
            f"{trace.strings[names[i]]:<20}{seconds[i]:>10.4f}{rate:>8.2f}{work[i] / moved[i]:>11.3f}"
        )

"""Achieved bandwidth of the ops over a run, one line per 1/40 of it: ``bandwidth_over_time.py trace.json``.

Bytes are those that the ops must at least move; an op counts where its middle lies.
"""

import sys

import numpy as np

import tinytrace as tt
from tinytrace.analysis.counting import count_trace

trace = tt.load(sys.argv[1])
spans, moved = trace.spans, count_trace(trace).per_span("bytes")
known = moved > 0
middle = (spans.start_ns + spans.dur_ns // 2 - trace.start_ns)[known]
extent = (0, max(1, trace.end_ns - trace.start_ns))
total, edges = np.histogram(middle, bins=40, range=extent, weights=moved[known].astype("f8"))
gbps = total / np.diff(edges)  # bytes per ns are GB/s

scale = 50 / max(gbps.max(), 1e-12)
for start_ns, rate in zip(edges, gbps, strict=False):
    print(f"{start_ns / 1e6:>10.1f} ms {rate:>8.3f} GB/s {'#' * round(rate * scale)}")

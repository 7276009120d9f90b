"""`fit`: a trace → one whose JSON fits a size: the same totals, and what was dropped in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import count_trace, declares
from tinytrace.analysis.json_size import (
    AGGREGATE_BYTES,
    COUNTER_BYTES,
    KEY_BYTES,
    SampleSizes,
    SpanSizes,
    counter_bytes,
    most_span_bytes,
    table_bytes,
    text_bytes,
)
from tinytrace.analysis.kept_steps import Choice, choose
from tinytrace.analysis.rates import MAX_POINTS, MIN_BIN_NS, rate_counters
from tinytrace.analysis.spans import kept_parent, op_tree, self_ns
from tinytrace.analysis.thinning import merge_samples, thin_counters
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Aggregates, Counters, Flows, Series, Spans, Table, Trace
from tinytrace.tracer.trees import inherited

CLOSE_ENOUGH = 1.05  # the size is an estimate
RATE_BYTES = 45  # time, value, name and process of a rate's point
NOTE_BYTES = 1_000  # the warning and the figures of the audit that `fit` adds
# Spans, samples, counters: shares when all of them are too large; what one does not need, the
# others get.
SHARES = (0.65, 0.25, 0.10)
GROUP = ("name_id", "kind", "thread", "signature_id", "callsite_id")
STRING_IDS = ("name_id", "args_id", "outer_args_id", "file_id", "unit_id", "kind_id")
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


def fit(trace: Trace, budget_bytes: int, seed: int = 0) -> Trace:
    """Return the trace if its JSON fits the budget, else one that does.

    Whole steps are kept: the first, the slowest, and others chosen at random; without steps,
    stretches of time with equally many ops. All other spans are folded into ``Trace.aggregates``,
    so that the sums of calls, time, self time, FLOPs and bytes of each group (name, kind, thread,
    signature, call site) over spans and aggregates are exactly what they were: where a span was
    kept and its children were not, the group's ``self_ns`` is smaller by their time, and may be
    negative. Spans around ops (layers, the user's own) and ops with figures given by the user are
    kept before others. Samples are merged, their weights exact; counters keep their extremes. The
    rates over time are derived before, and kept as counters. ``warnings`` and ``meta["audit"]`` say
    in numbers what was done.

    What cannot be dropped (tables of stacks, signatures and names, a row per group) may be more
    than a tiny budget: then all else is dropped.

    Args:
        trace: any trace.
        budget_bytes: how large its JSON may be, before it is gzipped.
        seed: of the random choice of steps.

    Example:
        >>> fit(Trace(), 10_000) == Trace()
        True
    """
    if _most_bytes(trace) + _rates_bytes(trace) <= budget_bytes:
        return trace
    if _Needs(trace).total_bytes + _rates_bytes(trace) <= budget_bytes:
        return trace
    full = _with_rates(trace)
    needs = _Needs(full)
    if needs.total_bytes <= budget_bytes:
        return trace
    ids, n_groups = _groups(full)
    if len(full.aggregates) > n_groups:  # sums of one group over several stretches of time
        full = _folded(full, np.ones(len(full.spans), "?"), ids, n_groups)
        needs, (ids, n_groups) = _Needs(full), _groups(full)
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
    noted = _noted(_without_unused_strings(smaller), full, budget_bytes, choice)
    left_bytes = _Needs(noted).total_bytes
    if left_bytes <= budget_bytes * CLOSE_ENOUGH:
        return noted
    warning = (
        f"the trace takes about {left_bytes / 1e6:.3g} MB, more than the {budget_bytes / 1e6:.3g} MB "
        "that were asked for: names, stacks and sums cannot be dropped"
    )
    return replace(noted, warnings=(*noted.warnings, warning))


def json_bytes(trace: Trace) -> int:
    """Return about how many bytes the JSON of a trace takes, rates that will be derived included."""
    full = _with_rates(trace)
    rates = replace(full, counters=full.counters.take(slice(len(trace.counters), None)))
    rates_bytes = counter_bytes(rates, text_bytes(full.strings), in_table=False)
    return _Needs(trace).total_bytes + int(rates_bytes.sum())


def _rates_bytes(trace: Trace) -> int:
    """Bytes of the derived rates, at most."""
    points = min(MAX_POINTS, (trace.end_ns - trace.start_ns) // MIN_BIN_NS + 2)
    return 2 * (COUNTER_BYTES + RATE_BYTES) * points * len(trace.processes)


def _most_bytes(trace: Trace) -> int:
    """Bytes of a trace's JSON, at most: `_Needs` without looking at each span."""
    strings = text_bytes(trace.strings)
    samples_bytes = SampleSizes(trace, strings).bytes(trace.samples)
    counters_bytes = int(counter_bytes(trace, strings).sum())
    fixed_bytes = table_bytes(trace, strings)
    return most_span_bytes(trace, strings) + samples_bytes + counters_bytes + fixed_bytes


class _Needs:
    """What the parts of a trace take in its JSON."""

    def __init__(self, trace: Trace) -> None:
        strings = text_bytes(trace.strings)
        spans = SpanSizes(trace, strings)
        self.spans = spans.bytes
        self.sample_sizes = SampleSizes(trace, strings)
        self.samples_bytes = self.sample_sizes.bytes(trace.samples)
        self.counters = counter_bytes(trace, strings)
        self.fixed_bytes = table_bytes(trace, strings) - spans.arguments_bytes + spans.keys_bytes
        self.total_bytes = (
            self.fixed_bytes + int(self.spans.sum()) + self.samples_bytes + int(self.counters.sum())
        )


def _shares(available: int, needs: Sequence[int]) -> list[int]:
    """Share out bytes: who needs less than its share gets that; the others share what is left."""
    granted = list(needs)
    hungry = list(range(len(needs)))
    while hungry:
        whole = sum(SHARES[i] for i in hungry)
        offers = {i: int(available * SHARES[i] / whole) for i in hungry}
        content = [i for i in hungry if needs[i] <= offers[i]]
        if not content:
            for i in hungry:
                granted[i] = offers[i]
            break
        available -= sum(needs[i] for i in content)
        hungry = [i for i in hungry if i not in content]
    return granted


def _with_rates(trace: Trace) -> Trace:
    """Add the rates to the counters: they cannot be derived any more when spans are gone."""
    rates = rate_counters(trace)
    strings = list(trace.strings)
    for text in {text: None for rate in rates for text in (rate.name, rate.unit)}:
        if text not in strings:
            strings.append(text)
    series, counters = trace.series, trace.counters
    for number, rate in enumerate(rates, len(series)):
        name_id, unit_id = strings.index(rate.name), strings.index(rate.unit)
        series = _stacked(series, Series([name_id], [unit_id], [rate.process]))  # type: ignore[arg-type]
        ids = np.full(len(rate.t_ns), number)
        counters = _stacked(counters, Counters(rate.t_ns, ids, rate.value))
    return replace(trace, strings=tuple(strings), series=series, counters=counters)


def _stacked(one: Any, other: Any) -> Any:
    return type(one)(
        **{name: np.concatenate([column, getattr(other, name)]) for name, column in one.columns()}
    )


def _group_columns(trace: Trace) -> dict[str, Ints]:
    """`GROUP` and the figures given by the user: of each span, then of each aggregate."""
    spans, folded = trace.spans, trace.aggregates
    columns = {n: np.concatenate([getattr(spans, n), getattr(folded, n)]) for n in GROUP}
    args_id = np.where(spans.kind == Kind.OP, spans.args_id, -1)
    with_figures = [i for i in np.unique(args_id) if i >= 0 and declares(trace.strings[i])]
    args_id = np.where(np.isin(args_id, with_figures), args_id, -1)
    ended = (
        spans.flags & (Flag.RAISED | Flag.OPEN) == 0
    )  # the figures of an op that did not say nothing
    around = np.append(inherited(np.where(ended, args_id, -1), spans.parent), -1)[spans.parent]
    columns["args_id"] = np.concatenate([args_id, folded.args_id])
    columns["outer_args_id"] = np.concatenate([around, folded.outer_args_id])
    return columns


def _groups(trace: Trace) -> tuple[Ints, int]:
    """Group of each span, then of each aggregate; how many groups."""
    return group_ids(list(_group_columns(trace).values()))


def _preferred(trace: Trace) -> Mask:
    """Spans to keep before others: those in no op, and all in ops whose figures the user gave."""
    spans = trace.spans
    tree = op_tree(spans)
    preferred = tree < 0
    given = np.zeros(len(spans), "?")
    given[tree[count_trace(trace).declared()]] = True
    preferred |= given[tree] & (tree >= 0)
    return preferred


def _folded(trace: Trace, kept: Mask, ids: Ints, n_groups: int) -> Trace:
    """Fold the spans that are not kept into the aggregates."""
    spans = trace.spans
    columns = {name: column[kept] for name, column in spans.columns()}
    columns["parent"] = kept_parent(spans.parent, kept)
    kept_spans = Spans(**columns)
    new_row = np.cumsum(kept) - 1
    flows = trace.flows
    both = kept[flows.from_span] & kept[flows.to_span]
    return replace(
        trace,
        spans=kept_spans,
        aggregates=_aggregates(trace, kept, self_ns(kept_spans), ids, n_groups),
        flows=Flows(
            new_row[flows.from_span[both]], new_row[flows.to_span[both]], flows.kind_id[both]
        ),
    )


def _aggregates(
    trace: Trace, kept: Mask, kept_self_ns: Ints, ids: Ints, n_groups: int
) -> Aggregates:
    """What the groups lose with these spans, added to the aggregates that there are."""
    spans, old = trace.spans, trace.aggregates
    of_span, of_old = ids[: len(spans)], ids[len(spans) :]
    lost = ~kept
    of_lost, dur_ns, start_ns = of_span[lost], spans.dur_ns[lost], spans.start_ns[lost]
    ended = spans.flags & (Flag.RAISED | Flag.OPEN) == 0
    added: dict[str, Ints] = {
        "count": sums(of_lost, n_groups, 1),
        "ended": sums(of_lost, n_groups, ended[lost]),
        "leaves": sums(of_lost, n_groups, (ended & count_trace(trace).leaf)[lost]),
        "total_ns": sums(of_lost, n_groups, dur_ns),
        "self_ns": sums(of_span, n_groups, self_ns(spans))
        - sums(of_span[kept], n_groups, kept_self_ns),
    }
    for name, column in added.items():
        np.add.at(column, of_old, getattr(old, name))
    highest = np.iinfo("i8").max
    extremes = {
        "min_ns": (np.minimum, dur_ns, old.min_ns),
        "max_ns": (np.maximum, dur_ns, old.max_ns),
        "start_ns": (np.minimum, start_ns, old.start_ns),
        "end_ns": (np.maximum, start_ns + dur_ns, old.end_ns),
    }
    for name, (extreme, values, old_values) in extremes.items():
        column = np.full(n_groups, highest if extreme is np.minimum else -highest, "i8")
        extreme.at(column, of_lost, values)
        extreme.at(column, of_old, old_values)
        added[name] = column
    # A group all of whose spans were kept, but not their children: only its self time changes.
    whole = added["max_ns"] == -highest
    begin_ns = np.full(n_groups, highest)
    np.minimum.at(begin_ns, of_span, spans.start_ns)
    for name in ("min_ns", "max_ns"):
        added[name][whole] = 0
    for name in ("start_ns", "end_ns"):
        added[name][whole] = begin_ns[whole]
    rows = np.flatnonzero((added["count"] != 0) | (added["self_ns"] != 0) | ~whole)
    first = first_rows(ids, n_groups)
    for name, column in _group_columns(trace).items():
        added[name] = column[first]
    return Aggregates(**{name: column[rows] for name, column in added.items()})


def _without_unused_strings(trace: Trace) -> Trace:
    """Drop the strings that nothing refers to: arguments of spans that were dropped."""
    tables = ("spans", "aggregates", "frames", "series", "flows", "processes", "threads")
    used = np.zeros(len(trace.strings) + 1, "?")  # the last one is the id −1
    for table in tables:
        for name, column in getattr(trace, table).columns():
            if name in STRING_IDS:
                used[column] = True
    new_id = np.append(np.cumsum(used[:-1]) - 1, -1)

    def renumbered(table: Table) -> Any:
        columns = dict(table.columns())
        return type(table)(**{n: new_id[c] if n in STRING_IDS else c for n, c in columns.items()})

    return replace(
        trace,
        strings=tuple(s for s, is_used in zip(trace.strings, used, strict=False) if is_used),
        **{name: renumbered(getattr(trace, name)) for name in tables},
    )


def _noted(smaller: Trace, full: Trace, budget_bytes: int, choice: Choice | None) -> Trace:
    """Say in the audit and in a warning what was dropped."""
    lost = {
        "aggregated_spans": len(full.spans) - len(smaller.spans),
        "aggregated_samples": len(full.samples) - len(smaller.samples),
        "thinned_counters": len(full.counters) - len(smaller.counters),
        "dropped_flows": len(full.flows) - len(smaller.flows),
        "dropped_samples_ns": int(full.samples.weight_ns.sum() - smaller.samples.weight_ns.sum()),
    }
    said = []
    if lost["aggregated_spans"]:
        said.append(
            f"{lost['aggregated_spans']:,} of {len(full.spans):,} spans were aggregated "
            "(sums are exact)"
        )
        if choice is not None and choice.text:
            said.append(choice.text)
    if lost["aggregated_samples"]:
        lost_s = lost["dropped_samples_ns"] / 1e9
        how = f"the lightest, {lost_s:.3g} s in all, dropped" if lost_s else "weights are exact"
        said.append(
            f"{len(full.samples):,} samples were merged into {len(smaller.samples):,} ({how})"
        )
    if lost["thinned_counters"]:
        said.append(
            f"{lost['thinned_counters']:,} of {len(full.counters):,} counter values were left out "
            "(extremes are kept)"
        )
    if lost["dropped_flows"]:
        said.append(f"{lost['dropped_flows']:,} of {len(full.flows):,} flows lost an end")
    audit = full.meta.get("audit")
    audit = dict(audit) if isinstance(audit, dict) else {}
    for name, number in lost.items():
        before = audit.get(name, 0)
        audit[name] = number + (before if isinstance(before, int) else 0)
    audit["budget_bytes"] = budget_bytes
    warning = f"to fit {budget_bytes / 1e6:,.4g} MB of JSON: {'; '.join(said)}"
    return replace(
        smaller,
        meta={**full.meta, "audit": audit},
        warnings=(*full.warnings, *([warning] if said else [])),
    )

"""A graph that is walked without remembering what was visited: every path instead of every node."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints, Mask
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.analysis.places import function_name
from tinytrace.analysis.spans import inside
from tinytrace.analysis.training_counts import passes_of
from tinytrace.tracer.groups import first_rows, group_ids

NAME = "graph walked again and again"
WALKS = re.compile(r"(?i)(backward|backprop|gradient|propagate|accumulate|visit|walk|traverse|vjp)")
# Of an operation with two operands the backward pass is two, and one addition for each: 4 times the forward's.
# With the few ops of other sorts that surround both, 8 times cannot come from one visit per node.
MANY_TIMES = 8
SURE = 30
TWICE = 1.5  # calls per node, where nodes are recorded: a few that are run again on purpose are none of this
REMEDY = (
    "Sort the nodes topologically, with a set of those that were visited, and run each node's backward "
    "once, when its gradient is complete."
)
CODE = (
    "order, seen = [], set()\n\ndef visit(node):\n    if id(node) not in seen:\n"
    "        seen.add(id(node))\n        for parent in node.parents:\n            visit(parent)\n"
    "        order.append(node)\n\nvisit(loss)\nfor node in reversed(order):\n    node.run_backward()"
)


def find(case: Case) -> Iterator[Finding]:
    """Nodes that one backward pass runs again and again; ceiling: all but one call of each.

    Where nodes are not recorded: recursive walks with many more ops inside than outside; ceiling: all but what one op
    for each outside takes.
    """
    if len(case.trace.flows) and (passes_of(case.trace).is_node).any():
        yield from _run_again(case)
        return
    trace, parts = case.trace, case.parts
    stacks = trace.stacks
    if not len(stacks) or not len(trace.samples):
        return
    function = case.function_of[stacks.frame_id]
    for walk in _recursive(case, function):
        rows = np.flatnonzero(function == walk)
        within = inside(stacks.parent, rows)
        within[rows] = True
        only_inside, some_inside = _functions(case, within, walk)
        of_part = np.where(case.sited, case.function_of[parts.callsite_id], -1)
        calls_inside, calls_outside = (
            int(parts.calls[case.leaf & np.append(functions, False)[of_part]].sum())
            for functions in (only_inside, ~some_inside)
        )
        if not calls_outside or calls_inside < MANY_TIMES * calls_outside:
            continue
        samples = trace.samples
        taken = (samples.stack_id >= 0) & np.append(within, False)[samples.stack_id]
        spent_ns = int(samples.weight_ns[taken].sum())
        ratio = calls_inside / calls_outside
        frame = _recursive_call(case, function, walk)
        yield case.finding(
            NAME,
            frame,
            f"{case.function(frame)} calls itself for every path through the graph, not for every node",
            evidence=(
                f"{calls_inside:,} ops inside the walk, {calls_outside:,} elsewhere: {ratio:,.0f} times as many",
                f"{time(spent_ns)} in it and all that it calls, by {int(taken.sum()):,} samples",
                f"it calls itself {_depth(function, stacks.parent, walk):,} deep",
            ),
            ceiling_ns=spent_ns * (1 - 1 / ratio),
            confidence="high" if ratio >= SURE else "medium",
            why="that many calls cannot come from one visit per node"
            if ratio >= SURE
            else "nodes are not recorded; the ratio of calls suggests it",
            remedy=REMEDY,
            code=CODE,
        )


def _run_again(case: Case) -> Iterator[Finding]:
    """By the arrows from what made a node to its backward: how often each was run in one backward pass."""
    spans, passes = case.trace.spans, passes_of(case.trace)
    made = np.full(len(spans), -1)
    made[case.trace.flows.to_span] = case.trace.flows.from_span
    calls = np.flatnonzero(passes.is_node & (made >= 0) & (passes.walk >= 0))
    if not len(calls):
        return
    visits, n = group_ids([made[calls], passes.walk[calls]])
    ratio = len(calls) / n
    if ratio < TWICE:
        return
    again = np.ones(len(calls), "?")
    again[first_rows(visits, n)] = False
    whole_ns = int(spans.dur_ns[calls].sum())
    most = np.argmax(np.bincount(visits, minlength=n))
    frame = int(spans.callsite_id[calls[visits == most][0]])
    passes_ns = int(spans.dur_ns[np.unique(passes.walk[calls])].sum())
    share = float(again.sum()) / len(calls)
    yield case.finding(
        NAME,
        frame,
        f"{case.function(frame)} runs the backward of nodes {ratio:,.1f} times instead of once",
        evidence=(
            f"{len(calls):,} backward calls of {n:,} nodes; most often was "
            f"{case.trace.strings[int(spans.name_id[calls[visits == most][0]])]}: "
            f"{int(np.bincount(visits).max()):,} times in one backward pass",
            f"{time(whole_ns)} in these calls, {time(passes_ns)} in the backward passes",
        ),
        ceiling_ns=share * passes_ns,
        confidence="high",
        why="every node and every call of its backward was recorded",
        remedy=REMEDY,
        code=CODE,
    )


def _recursive(case: Case, function: Ints) -> list[int]:
    """Functions that call themselves, perhaps through others, and walk a graph by their names."""
    parent = case.trace.stacks.parent.astype("i8")
    repeated: set[int] = set()
    rows, up = np.arange(len(parent)), parent
    while len(rows):
        rows, up = rows[up >= 0], up[up >= 0]
        repeated.update(np.unique(function[rows[function[up] == function[rows]]]).tolist())
        up = parent[up]
    named = {f: int(np.flatnonzero(case.function_of == f)[0]) for f in repeated}
    return [f for f, frame in named.items() if WALKS.search(function_name(case.trace, frame) or "")]


def _functions(case: Case, within: Mask, walk: int) -> tuple[Mask, Mask]:
    """Per function whether samples saw it inside these stacks: only there, and at all.

    Of one that was seen inside and outside, such as a constructor, nobody knows which calls were which.
    """
    samples = case.trace.samples
    known = case.sample_frame >= 0
    stack, frame = samples.stack_id[known], case.sample_frame[known]
    is_in = within[stack]
    n, function = case.n_functions, case.function_of[frame]
    counts = [np.bincount(function[mask], minlength=n) for mask in (is_in, ~is_in)]
    some = np.asarray(counts[0] > 0, "?")
    some[walk] = True
    return some & (counts[1] == 0), some


def _recursive_call(case: Case, function: Ints, walk: int) -> int:
    """The frame of the walk from which it was called again in most stacks."""
    stacks = case.trace.stacks
    parent = stacks.parent.astype("i8")
    outer = np.append(function, -1)[parent] == walk
    again = stacks.frame_id[parent[outer & (function == walk)]]
    if not len(again):
        again = stacks.frame_id[function == walk]
    line = case.trace.frames.line[again]
    ids, n = group_ids([line])
    return int(again[ids == np.argmax(np.bincount(ids, minlength=n))][0])


def _depth(function: Ints, parent: Ints, walk: int) -> int:
    """How many frames of the walk the deepest stack has."""
    deep = np.zeros(len(parent), "i8")
    rows, up = np.arange(len(parent)), np.arange(len(parent))
    while len(rows):
        deep[rows] += function[up] == walk
        up = parent[up].astype("i8")
        rows, up = rows[up >= 0], up[up >= 0]
    return int(deep.max(initial=0))

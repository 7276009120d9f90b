"""The communication calls of a trace: from spans to one row per call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.communication_facts import LIBRARY_NAME, OWN, Facts, Place, facts_of
from tinytrace.analysis.intervals import Covered
from tinytrace.analysis.rank_table import ranks_of
from tinytrace.tracer.communication_names import COLLECTIVES
from tinytrace.tracer.groups import group_ids
from tinytrace.tracer.records import Flag
from tinytrace.tracer.trace import Column, Table, Trace
from tinytrace.tracer.trees import outermost

Int64 = NDArray[Any]  # of integers
T = TypeVar("T", bound=Hashable)
WORKERS = ("gloo:", "mpi:", "ucc:")  # spans of a library's own threads begin so


class Role(IntEnum):
    """What a call is to the others of its set."""

    COLLECTIVE = 0
    SEND = 1
    RECEIVE = 2
    WAIT = 3  # for what an earlier call began
    OTHER = 4


@dataclass(frozen=True)
class Group:
    """A communicator or process group; ``ranks`` are its members, () where not known."""

    name: str
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Calls(Table):
    """Communication calls, by process, then start. −1: not known, or none.

    ``span`` is a row of `Trace.spans` (a send_receive is two calls of one span); ``process`` one of
    `Trace.processes`; ``rank`` its number in the job and ``member`` its row in `rank_table.Ranks`, which differs
    also where two recordings say that they are the same rank; ``place`` is a `Place`, ``is_own`` whether it was
    recorded by us; ``role`` a `Role`; ``op_id`` and
    ``group_id`` index `Communication.ops` and ``groups``; ``sequence`` is the number among the calls of the same
    place and group in this rank (of messages: among those to the same peer with the same tag); ``peer`` is a rank
    (the root of a collective); ``bytes`` are of the buffer that the caller gives, or else gets; ``done_ns`` is
    when it was done: ``end_ns``, or the end of the wait for it (−1: it went on, and nobody is known to have
    waited, or it never ended); ``begun_by`` is of a wait the call that it waits for (the latest, a row of this table);
    ``set_id`` numbers the sets of calls that belong together.
    """

    DTYPES: ClassVar = {
        "span": "i8", "process": "i4", "member": "i4", "rank": "i4", "place": "u1", "is_own": "?", "role": "u1",
        "op_id": "i4", "group_id": "i4", "sequence": "i8", "peer": "i4", "tag": "i8",
        "start_ns": "i8", "end_ns": "i8", "done_ns": "i8", "bytes": "i8", "begun_by": "i8",
        "set_id": "i8",
    }  # fmt: skip
    span: Column
    process: Column
    member: Column
    rank: Column
    place: Column
    is_own: Column
    role: Column
    op_id: Column
    group_id: Column
    sequence: Column
    peer: Column
    tag: Column
    start_ns: Column
    end_ns: Column
    done_ns: Column
    bytes: Column
    begun_by: Column
    set_id: Column


def calls_of(trace: Trace) -> tuple[Calls, tuple[str, ...], tuple[Group, ...]]:
    """Return the communication calls (not matched yet), the names of operations, and the groups.

    Args:
        trace: of one rank or several.
    """
    rows, facts = _calls(trace)
    if not facts:
        return Calls.empty(), (), ()
    spans, ranks = trace.spans, ranks_of(trace)
    process = trace.threads.process[spans.thread[rows]]
    order = np.lexsort((spans.start_ns[rows], process))
    rows, process = rows[order], process[order]
    facts = [facts[i] for i in order.tolist()]
    known = ranks.rank[process]
    told = np.array([f.rank for f in facts])
    ops, op_id = _interned([f.op for f in facts])
    groups, group_id = _interned([Group(f.group, f.ranks) for f in facts])
    start_ns = spans.start_ns[rows]
    end_ns = start_ns + spans.dur_ns[rows]
    member = ranks.member[process]
    flags = spans.flags[rows]
    begun_by, done_ns = _waits(facts, member, start_ns, end_ns)
    done_ns[flags & Flag.OPEN.value != 0] = -1
    role = np.array([_role(f) for f in facts])
    role[flags & Flag.RAISED.value != 0] = Role.OTHER
    columns = {
        "member": member,
        "place": np.array([f.place for f in facts]),
        "role": role,
        "group_id": group_id,
        "peer": np.array([f.peer for f in facts]),
        "tag": np.array([f.tag for f in facts]),
    }
    calls = Calls(
        **columns, span=rows, process=process, rank=np.where(known >= 0, known, told), op_id=op_id,
        sequence=_sequence(columns, np.array([f.sequence for f in facts])),
        is_own=np.array([f.is_own for f in facts]), start_ns=start_ns, end_ns=end_ns, done_ns=done_ns,
        bytes=np.array([f.bytes for f in facts]), begun_by=begun_by,
        set_id=np.full(len(rows), -1),
    )  # fmt: skip
    return calls, ops, groups


def _calls(trace: Trace) -> tuple[Int64, list[Facts]]:
    """The outermost communication spans, and what they and the spans in them say."""
    spans = trace.spans
    rows = _candidates(trace)
    texts = list(zip(spans.name_id[rows].tolist(), spans.args_id[rows].tolist(), strict=True))
    said = {
        key: facts_of(trace.strings[key[0]], trace.strings[key[1]] if key[1] >= 0 else "")
        for key in set(texts)
    }
    found = {
        row: facts for row, key in zip(rows.tolist(), texts, strict=True) if (facts := said[key])
    }
    is_one = np.zeros(len(spans), "?")
    is_one[list(found)] = True
    top = outermost(is_one, spans.parent)
    families: dict[int, Facts] = {}
    for row, facts in found.items():  # a parent stands before what lies in it
        head = int(top[row])
        families[head] = families[head].filled(facts) if head in families else facts
    pairs = _placed(trace, {row: facts for row, facts in families.items() if facts.op})
    pairs = [(row, part) for row, facts in pairs for part in _parts(facts)]
    return np.array([row for row, _ in pairs], "i8"), [facts for _, facts in pairs]


def _candidates(trace: Trace) -> Int64:
    """Rows whose name or arguments look like communication; each text is looked at once."""
    spans = trace.spans
    if not len(spans):
        return np.empty(0, "i8")
    name = np.array([LIBRARY_NAME.match(text) is not None for text in trace.strings], "?")
    own = np.array([*(text.startswith(OWN) for text in trace.strings), False], "?")[spans.args_id]
    told = np.flatnonzero(own)
    return np.sort(
        np.concatenate([told, _not_in(trace, np.flatnonzero(name[spans.name_id] & ~own), told)])
    )


def _not_in(trace: Trace, rows: Int64, calls: Int64) -> Int64:
    """Leave out the spans of a library that begin while one of these calls goes on in their thread: they are its own.

    They need not lie in it: torch's span of a message lasts until that has arrived.
    """
    spans = trace.spans
    kept = np.ones(len(rows), "?")
    for thread in np.unique(spans.thread[calls]).tolist():
        mine = calls[spans.thread[calls] == thread]  # ascending, by start
        going_on = Covered(spans.start_ns[mine], spans.start_ns[mine] + spans.dur_ns[mine])
        here = spans.thread[rows] == thread
        start_ns = spans.start_ns[rows[here]]
        kept[here] = going_on.within(start_ns, start_ns + 1) == 0
    return rows[kept]


def _placed(trace: Trace, families: dict[int, Facts]) -> list[tuple[int, Facts]]:
    """Say what was seen in a thread of the library, and leave out what it says once more beside a call."""
    spans, strings = trace.spans, trace.strings
    named = {row: strings[int(spans.name_id[row])] for row in families}
    calling = {int(spans.thread[r]) for r, name in named.items() if name.startswith("c10d::")}
    placed = []
    for row, facts in families.items():
        if not named[row].startswith(WORKERS):
            placed.append((row, facts))
        elif int(spans.thread[row]) not in calling:
            placed.append((row, replace(facts, place=Place.WORKER, is_async=False)))
    return placed


def _parts(facts: Facts) -> list[Facts]:
    """A send_receive of which both sides are known is a send and a receive."""
    if facts.op != "send_receive" or facts.place is not Place.CALL:
        return [facts]
    return [
        replace(facts, op="send"),
        replace(facts, op="receive", peer=facts.source, tag=facts.source_tag),
    ]


def _role(facts: Facts) -> Role:
    if facts.op in COLLECTIVES:
        return Role.COLLECTIVE
    return {"send": Role.SEND, "receive": Role.RECEIVE, "wait": Role.WAIT}.get(facts.op, Role.OTHER)


def _interned(values: Sequence[T]) -> tuple[tuple[T, ...], Int64]:
    rows: dict[T, int] = {}
    ids = np.array([rows.setdefault(value, len(rows)) for value in values], "i8")
    return tuple(rows), ids


def _sequence(columns: dict[str, Int64], told: Int64) -> Int64:
    """Number the calls that must come in the same order, by the library's numbers where it tells them all."""
    collective = columns["role"] == Role.COLLECTIVE
    keys = dict(columns)
    for name in ("peer", "tag"):  # the root of a collective does not decide its order
        keys[name] = np.where(collective, -1, columns[name])
    ids, count = group_ids(list(keys.values()))
    order = np.argsort(ids, kind="stable")
    first = np.searchsorted(ids[order], np.arange(count))
    number = np.empty(len(ids), "i8")
    number[order] = np.arange(len(ids)) - first[ids[order]]
    all_told = np.ones(count, "?")
    np.logical_and.at(all_told, ids, (told >= 0) & collective)
    return np.where(all_told[ids], told, number)


def _waits(
    facts: list[Facts], member: Int64, start_ns: Int64, end_ns: Int64
) -> tuple[Int64, Int64]:
    """Return per wait the call that it waits for, and per call when it was done; −1: not known."""
    begun_by = np.full(len(facts), -1, "i8")
    done_ns = np.where(np.array([f.is_async for f in facts]), -1, end_ns)
    going: dict[tuple[int, int], list[int]] = {}
    for row in np.argsort(start_ns, kind="stable").tolist():
        call = facts[row]
        for request in call.requests:
            key = (int(member[row]), request)
            if call.op != "wait":  # a send_receive has two rows
                before = going.get(key, [])
                same = before and start_ns[before[0]] == start_ns[row]
                going[key] = [*before, row] if same else [row]
                continue
            for begun in going.pop(key, []):
                done_ns[begun] = max(int(end_ns[row]), int(end_ns[begun]))
                begun_by[row] = max(begun_by[row], begun)
    return begun_by, done_ns

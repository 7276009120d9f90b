"""Which call of one rank belongs to which of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.communication_calls import Calls, Group, Role
from tinytrace.tracer.groups import first_rows, group_ids

Int64 = NDArray[Any]  # of integers
SAME_BYTES = frozenset({"all_reduce", "reduce", "broadcast"})  # in all ranks


@dataclass(frozen=True)
class Sets:
    """Calls that belong together.

    Attributes:
        set_id: (calls,) the number of its set; −1: in none.
        is_complete: (sets,) bool: every member of the group is in it.
        is_certain: (sets,) bool: nothing speaks against it; false where later calls of its group did not match.
        warnings: what could not be matched.
    """

    set_id: Int64
    is_complete: NDArray[np.bool_]
    is_certain: NDArray[np.bool_]
    warnings: tuple[str, ...]


def match(
    calls: Calls, ops: tuple[str, ...], groups: tuple[Group, ...], without: NDArray[np.bool_]
) -> Sets:
    """Match calls by their order; see `analysis.collectives`.

    Args:
        calls: ``set_id`` is not read.
        ops: names of operations.
        groups: communicators.
        without: bool per call: it is not to be matched.
    """
    one_recording = _first_of_its_rank(calls)
    can = one_recording & ~without
    collective = calls.role == Role.COLLECTIVE
    message = (calls.role == Role.SEND) | (calls.role == Role.RECEIVE)
    addressed = message & (calls.peer >= 0) & (calls.rank >= 0)
    addressed &= ~_perhaps_taken(calls, addressed)
    rows = np.flatnonzero(can & (collective | addressed))
    part = calls.take(rows)
    key, count = group_ids(_keys(part))
    members = np.bincount(key, minlength=count)
    first = first_rows(key, count)
    kept, certain, warnings = _before_they_differ(part, key, count, ops, groups)
    is_set = (members > 1) & kept
    number = np.where(is_set, np.cumsum(is_set) - 1, -1)
    set_id = np.full(len(calls), -1, "i8")
    set_id[rows] = number[key]
    complete = (members >= _expected(part, groups)[first])[is_set]
    several = len(set(part.member.tolist())) > 1
    if several:
        warnings += _alone(part, key, is_set, kept, groups)
        warnings += _without_address(int((message & can & ~addressed).sum()))
    warnings += _twice(calls, one_recording)
    return Sets(set_id, complete, certain[is_set], tuple(warnings))


def _perhaps_taken(calls: Calls, addressed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool per call: a message that a receive of which the sender is not known may have got.

    Then it is not known either which of the following messages other receives have got.
    """
    taken = np.zeros(len(calls), "?")
    receiver = np.where(calls.role == Role.SEND, calls.peer, calls.rank)
    open_to_all = (calls.role == Role.RECEIVE) & ~addressed
    columns = (calls.group_id, calls.rank, calls.tag)
    for group, rank, tag in set(zip(*(c[open_to_all].tolist() for c in columns), strict=True)):
        of_it = (calls.group_id == group) & (receiver == rank)
        taken |= of_it & ((calls.tag == tag) | (tag < 0))
    return taken


def _first_of_its_rank(calls: Calls) -> NDArray[np.bool_]:
    """Bool per call: where several recordings say that they are the same rank, whether this is of the first."""
    first: dict[int, int] = {}
    for rank, member in sorted(set(zip(calls.rank.tolist(), calls.member.tolist(), strict=True))):
        if rank >= 0:
            first.setdefault(rank, member)
    ranks = np.array([*first, -1], "i8")
    members = np.array([*first.values(), -1], "i8")
    at = np.argsort(ranks)
    found = members[at][np.searchsorted(ranks[at], calls.rank)]
    return np.asarray((calls.rank < 0) | (found == calls.member))


def _keys(calls: Calls) -> list[Int64]:
    """What the calls of one set have in common."""
    message = calls.role != Role.COLLECTIVE
    sends = calls.role == Role.SEND
    sender = np.where(sends, calls.rank, calls.peer)
    receiver = np.where(sends, calls.peer, calls.rank)
    return [
        message, calls.place, calls.group_id, calls.sequence,
        np.where(message, sender, -1), np.where(message, receiver, -1), np.where(message, calls.tag, -1),
    ]  # fmt: skip


def _before_they_differ(
    calls: Calls, key: Int64, count: int, ops: tuple[str, ...], groups: tuple[Group, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[str]]:
    """Return per key whether no collective of its group has differed between the ranks so far, or ever does."""
    collective = calls.role == Role.COLLECTIVE
    same_bytes = np.array([op in SAME_BYTES for op in ops], "?")[calls.op_id] & (calls.bytes >= 0)
    differs = _spread(calls.op_id, key, count) | _spread(
        np.where(same_bytes, calls.bytes, -1), key, count, same_bytes
    )
    differs &= collective[first_rows(key, count)] if count else differs
    line, lines = group_ids([collective, calls.place, calls.group_id])
    end = np.full(lines, np.iinfo("i8").max)
    bad = differs[key]
    np.minimum.at(end, line[bad], calls.sequence[bad])
    kept = np.ones(count, "?")
    kept[key] = ~collective | (calls.sequence < end[line])
    certain = np.ones(count, "?")
    certain[key] = ~collective | (end[line] == np.iinfo("i8").max)
    warnings = []
    for row in first_rows(line, lines)[end < np.iinfo("i8").max].tolist():
        number = int(end[line[row]])
        at = bad & (line == line[row]) & (calls.sequence == number)
        said = sorted({
            f"rank {r}: {ops[o]}" + (f" of {b:,} bytes" if b >= 0 else "")
            for r, o, b in zip(calls.rank[at].tolist(), calls.op_id[at].tolist(), calls.bytes[at].tolist(),
                               strict=True)
        })  # fmt: skip
        warnings.append(
            f"collective {number} of {_named(groups[int(calls.group_id[row])])} differs between ranks "
            f"({'; '.join(said[:4])}): from there on its collectives are not matched"
        )
    return kept, certain, warnings


def _spread(
    values: Int64, key: Int64, count: int, known: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Whether the values of a key differ, those that are known."""
    if known is not None:
        values, key = values[known], key[known]
    least, most = np.full(count, np.iinfo("i8").max), np.full(count, -1)
    np.minimum.at(least, key, values)
    np.maximum.at(most, key, values)
    return np.asarray(most > least)


def _expected(calls: Calls, groups: tuple[Group, ...]) -> Int64:
    """Per call: how many calls its set has when it is whole."""
    size = np.array([len(group.ranks) for group in groups], "i8")
    if len(size):
        pairs, count = group_ids([calls.group_id, calls.member])
        seen = np.bincount(calls.group_id[first_rows(pairs, count)], minlength=len(size))
        size = np.where(size > 0, size, seen)
    return np.where(calls.role == Role.COLLECTIVE, size[calls.group_id] if len(size) else 0, 2)


def _alone(
    calls: Calls,
    key: Int64,
    is_set: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    groups: tuple[Group, ...],
) -> list[str]:
    """Say how many calls have no counterpart."""
    alone = ~is_set[key] & kept[key]
    warnings = []
    size = _expected(calls, groups)
    collective = calls.role == Role.COLLECTIVE
    for name, which in (
        ("collective calls", alone & collective & (size > 1)),
        ("sends", alone & (calls.role == Role.SEND)),
        ("receives", alone & (calls.role == Role.RECEIVE)),
    ):
        if which.any():
            ranks = sorted(set(calls.rank[which].tolist()))
            shown = ", ".join(map(str, ranks[:8])) + ("…" if len(ranks) > 8 else "")
            warnings.append(
                f"{int(which.sum()):,} {name} have no counterpart in another rank (of rank {shown})"
            )
    return warnings


def _without_address(count: int) -> list[str]:
    if not count:
        return []
    return [
        f"{count:,} sends and receives are not matched: some receive from anybody, and what they got is not known"
    ]


def _twice(calls: Calls, one_recording: NDArray[np.bool_]) -> list[str]:
    ranks = sorted(set(calls.rank[~one_recording].tolist()))
    return [
        f"rank {rank} is there more than once: only the calls of the first are matched"
        for rank in ranks
    ]


def _named(group: Group) -> str:
    return f"group {group.name}" if group.name else "an unnamed group"

"""Loops found in a sequence of operations that nobody marked: the outermost one that does the same each time.

How: docs/steps.md. Everything is linear in the number of operations, but for one sort by call site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import group_ids, numbered

MIN_PERIODS = 3  # twice may be chance, and a period has no end before the next one begins
MIN_EVIDENCE = 12  # periods × different ops in each: three times the same two ops is no loop yet
MIN_COVERAGE = 0.2  # of the op time: a loop that initialises weights is regular too
MIN_OPS = 0.5  # or of the ops: the first product of matrices, when BLAS starts, may take longer than a short run
OTHER = 0.1  # of the op time, or of the ops, before or after the loop: worth a look for another one
MIN_SAME = 0.6  # share of periods with exactly the same ops, each as often
MIN_ALIKE = 0.8  # or, of two lines in turns: share of periods of about equal length, and of ops that all have
INNER = 0.5  # a loop is an inner one if the loop around it has more ops of its own than that share
DOUBT = (0.25, 0.6)  # and between these shares, it may be one and may be none
FEW_ROUNDS = 8  # or if it makes no more rounds than that in each of the other: layers, heads, parts of a batch
SAME_LEVEL = 0.75  # loops whose counts differ by less are one loop, seen at different lines
SAME_REGULARITY = (
    0.05  # and of these the one with more lines, unless its periods are less alike by this
)
BURST = (
    3  # a distance that is longer by this than the lower quartile of distances ends a row of runs
)
N_SAMPLES = 8  # periods that are looked at one by one
MAX_COHORTS = 8  # of lines that ran equally often; more are different loops of equal length, rarely
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sequence:
    """The operations of a thread that lie in no other operation, in their order.

    Attributes:
        symbol: which call site and op, numbered from 0 without gaps.
        function: in which function the call site is, likewise.
        start_ns, end_ns: of each.
        optimizer: which of them are an optimizer's.
        update: per symbol: it changes a parameter, by the look of it.
        product: per symbol: it is a product of matrices.
    """

    symbol: Ints
    function: Ints
    start_ns: Ints
    end_ns: Ints
    optimizer: Mask
    update: Mask
    product: Mask


@dataclass(frozen=True, eq=False)
class Turns:
    """Lines that run in turns: each once between two runs of the first of them.

    Attributes:
        first, last: per period, the position in the sequence of the first and the last of these lines.
        lines: how many there are.
        has_optimizer: one of them is where an optimizer begins.
    """

    first: Ints
    last: Ints
    lines: int
    has_optimizer: bool

    @property
    def count(self) -> int:
        """How often they ran."""
        return len(self.first)


@dataclass(frozen=True, eq=False)
class Loop(Turns):
    """Such lines whose periods are alike.

    Attributes:
        same: share of periods with exactly the same ops.
        coverage: share of the op time of the sequence in periods that are alike.
        ops: share of the ops of the sequence in such periods.
        symbols: bool per symbol: it is in most of the periods that are alike.
        regular: bool per period but the last, which has no end yet: it is one of those.
        learns: products of matrices and updates of parameters run in it.
        more_between: in the periods that are not alike more updates run than in those that are.
    """

    same: float
    coverage: float
    ops: float
    symbols: Mask
    regular: Mask
    learns: bool
    more_between: bool


@dataclass(frozen=True, eq=False)
class Found:
    """The loop that was chosen.

    Attributes:
        loop: the loop.
        begin, end: per period, the positions of its first op and behind its last op.
        rival: a loop around it, or in it, that may be meant as well.
        by_updates: there is such a loop, but by the updates of parameters it was told apart.
    """

    loop: Loop
    begin: Ints
    end: Ints
    rival: Loop | None
    by_updates: bool


def find_loop(sequence: Sequence) -> Found | None:
    """Return the loop that the sequence is made of; None: nothing repeats regularly enough."""
    if len(sequence.symbol) < MIN_EVIDENCE:
        return None
    so_far = _SoFar(sequence)
    loops = [loop for raw in _in_turns(sequence) if (loop := _examined(sequence, so_far, raw))]
    if not loops:
        return None
    loops.sort(key=lambda loop: (-loop.count, -loop.lines))
    chosen, rival, by_updates = _outermost(loops)
    begin, end = _bounds(sequence, so_far, chosen)
    return Found(chosen, begin, end, rival, by_updates)


def other_loops(sequence: Sequence, found: Found) -> dict[str, Loop]:
    """Return what else was trained ``before`` and ``after`` the loop that was found.

    Loops that change no parameters, such as an evaluation at the end, are none, unless the one found does not either.
    """
    whole_ns, n = int((sequence.end_ns - sequence.start_ns).sum()), len(sequence.symbol)
    parts = {"before": slice(0, int(found.begin[0])), "after": slice(int(found.end[-1]), n)}
    others = {}
    for when, part in parts.items():
        spent_ns = int((sequence.end_ns[part] - sequence.start_ns[part]).sum())
        if spent_ns <= OTHER * whole_ns and part.stop - part.start <= OTHER * n:
            continue
        other = find_loop(_cut(sequence, part))
        if other is not None and other.loop.learns == found.loop.learns:
            others[when] = other.loop
    return others


def _cut(sequence: Sequence, part: slice) -> Sequence:
    """A piece of a sequence, its symbols numbered anew."""
    first, symbol = numbered(sequence.symbol[part])
    old = sequence.symbol[part][first]
    return Sequence(
        symbol=symbol,
        function=numbered(sequence.function[part])[1],
        start_ns=sequence.start_ns[part],
        end_ns=sequence.end_ns[part],
        optimizer=sequence.optimizer[part],
        update=sequence.update[old],
        product=sequence.product[old],
    )


def _outermost(loops: list[Loop]) -> tuple[Loop, Loop | None, bool]:
    """Choose the loop that is no inner one: an optimizer's if there is one, else by their ops, updates, and rounds.

    Returns:
        It, one that may be meant as well, and whether updates alone told it from another.
    """
    optimized = next((loop for loop in loops if loop.has_optimizer), None)
    if optimized:
        return optimized, None, False
    best, rival, by_updates = loops[0], None, False
    for loop in loops[1:]:
        own = np.count_nonzero(loop.symbols & ~best.symbols) / np.count_nonzero(loop.symbols)
        if own > INNER:
            # An outer loop that varies while the inner one hardly does may be an epoch.
            unsure = own < DOUBT[1] or (loop.same < MIN_SAME and best.ops > INNER)
            best, rival, by_updates = loop, best if unsure else None, False
        elif loop.count >= SAME_LEVEL * best.count:
            gain = loop.same - best.same
            if gain > SAME_REGULARITY or (gain > -SAME_REGULARITY and loop.lines > best.lines):
                best = loop
        elif best.learns and loop.learns and not best.more_between:  # an epoch
            by_updates = by_updates or bool(own > DOUBT[0]) or FEW_ROUNDS * loop.count >= best.count
        elif loop.learns:  # what runs in it several times changes nothing: parts of a batch, cells
            best, rival, by_updates = loop, None, True
        elif FEW_ROUNDS * loop.count >= best.count and loop.lines:
            best, rival = loop, best
        elif own > DOUBT[0] and rival is None:
            rival = loop
    return best, rival, by_updates


class _SoFar:
    """Sums over all ops before each position (n + 1).

    Attributes:
        fingerprint: of a random number per symbol. Two stretches hold the same ops, each as often, if and (but
            for 1 in 2⁶⁴) only if their differences agree.
        spent_ns: of durations.
        updates: of ops that are updates.
    """

    def __init__(self, sequence: Sequence) -> None:
        n_symbols = int(sequence.symbol.max()) + 1
        random = np.random.default_rng(0).integers(0, 2**64, n_symbols, "u8")
        self.fingerprint = np.append(np.zeros(1, "u8"), np.cumsum(random[sequence.symbol]))
        self.updates = np.append(0, np.cumsum(sequence.update[sequence.symbol]))
        self.spent_ns = np.append(0, np.cumsum(sequence.end_ns - sequence.start_ns))

    def between(self, begin: Ints, end: Ints) -> NDArray[np.uint64]:
        """Return what tells apart which ops run in these stretches, and how often."""
        return np.asarray(self.fingerprint[end] - self.fingerprint[begin], "u8")


def _occurrences(labels: Ints, positions: Ints) -> Iterator[Ints]:
    """Yield, per label that occurs often enough, its positions in order."""
    narrow = labels.astype("u2") if len(labels) and labels.max() < 2**16 else labels  # radix sort
    order = np.argsort(narrow, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for end, size in zip(ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True):
        if size > MIN_PERIODS:
            yield positions[order[end - size : end]]


def _in_turns(sequence: Sequence) -> list[Turns]:
    """Lines that run in turns; and functions entered, and rows of runs begun, in turns with them or each other."""
    found: dict[int, list[Turns]] = {}
    lines = list(_occurrences(sequence.symbol, np.arange(len(sequence.symbol))))
    for positions in sorted(lines, key=_first):
        cohorts = found.setdefault(len(positions), [])
        for number, one in enumerate(cohorts):
            if _take_turns(one.first, positions):
                last = np.maximum(one.last, positions)
                cohorts[number] = Turns(one.first, last, one.lines + 1, False)
                break
        else:
            if len(cohorts) < MAX_COHORTS:
                cohorts.append(Turns(positions, positions, 1, False))
    entered = np.flatnonzero(np.diff(sequence.function, prepend=-1))
    begun = list(_occurrences(sequence.function[entered], entered))
    begun += [starts for positions in lines for starts in _bursts(positions)]
    optimizer = np.flatnonzero(np.diff(sequence.optimizer.astype("i1"), prepend=0) == 1)
    for positions in [*sorted(begun, key=_first), optimizer]:
        is_optimizer = positions is optimizer
        cohorts = found.setdefault(len(positions), [])
        for number, one in enumerate(cohorts):
            if _take_turns(one.first, positions) or _take_turns(positions, one.first):
                cohorts[number] = replace(one, has_optimizer=one.has_optimizer or is_optimizer)
                break
        else:
            if is_optimizer or len(cohorts) < MAX_COHORTS:
                cohorts.append(Turns(positions, positions, 0, is_optimizer))
    return [one for cohorts in found.values() for one in cohorts if one.count > MIN_PERIODS]


def _first(positions: Ints) -> int:
    return int(positions[0])


def _bursts(positions: Ints) -> Iterator[Ints]:
    """Yield where rows of runs of a line begin: a line in a loop over layers runs in a row, once a step.

    And rows of rows, if there are. A row begins after a distance that is much longer than most of the short ones.
    """
    while True:
        distance = np.diff(positions)
        long = distance > BURST * np.partition(distance, len(distance) // 4)[len(distance) // 4]
        if np.count_nonzero(long) < MIN_PERIODS:
            return
        positions = positions[np.append(True, long)]
        yield positions


def _take_turns(first: Ints, then: Ints) -> bool:
    return bool((first <= then).all() and (then[:-1] < first[1:]).all())


def _examined(sequence: Sequence, so_far: _SoFar, raw: Turns) -> Loop | None:
    """Say how regular the periods are; None: not enough."""
    bounds = raw.first
    dur_ns = np.diff(so_far.spent_ns[bounds])
    if not _is_much(so_far, dur_ns, np.diff(bounds)):
        return None
    first, form = numbered(np.diff(so_far.fingerprint[bounds]))
    often = np.bincount(form, minlength=len(first))
    regular = form == int(np.argmax(often))
    same = float(regular.mean())
    size = np.diff(bounds)
    if same < MIN_SAME:
        if raw.lines < 2:
            return None
        regular = np.abs(size - np.median(size)) <= 0.5 * np.median(size)
        if regular.mean() < MIN_ALIKE:
            return None
    if not _is_much(so_far, dur_ns[regular], size[regular]):
        return None
    coverage = int(dur_ns[regular].sum()) / max(1, int(so_far.spent_ns[-1]))
    in_share = _presence(sequence.symbol, raw.first[:-1], raw.first[1:], regular)
    symbols = in_share > 0.5
    n_symbols = int(np.count_nonzero(symbols))
    alike = np.count_nonzero(in_share == 1) / np.count_nonzero(in_share)
    if n_symbols < 2 or raw.count * n_symbols < MIN_EVIDENCE:
        return None
    if same < MIN_SAME and alike < MIN_ALIKE:
        return None
    learns = bool((symbols & sequence.update).any() and (symbols & sequence.product).any())
    return Loop(
        raw.first,
        raw.last,
        raw.lines,
        raw.has_optimizer,
        same,
        coverage,
        int(size[regular].sum()) / len(sequence.symbol),
        symbols,
        regular,
        learns,
        learns and _more_between(so_far, bounds, regular),
    )


def _more_between(so_far: _SoFar, bounds: Ints, regular: Mask) -> bool:
    """Whether updates run in what the other periods have beside: a step of which this loop is a part."""
    updates = np.diff(so_far.updates[bounds])
    if regular.all():
        return False
    return bool(np.median(updates[~regular]) > np.median(updates[regular]))


def _is_much(so_far: _SoFar, dur_ns: Ints, size: Ints) -> bool:
    """Whether stretches with so much op time, and so many ops, are much of the sequence."""
    whole_ns, whole = int(so_far.spent_ns[-1]), len(so_far.spent_ns) - 1
    return int(dur_ns.sum()) > MIN_COVERAGE * whole_ns or int(size.sum()) > MIN_OPS * whole


def _presence(symbol: Ints, begin: Ints, end: Ints, of: Mask) -> NDArray[np.float64]:
    """Per symbol, the share of some of these stretches, spread evenly, that it is in."""
    rows = np.flatnonzero(of)
    rows = rows[np.linspace(0, len(rows) - 1, min(N_SAMPLES, len(rows))).astype("i8")]
    n = int(symbol.max()) + 1
    there = np.zeros(n)
    for low, high in zip(begin[rows].tolist(), end[rows].tolist(), strict=True):
        there += np.bincount(symbol[low:high], minlength=n) > 0
    return there / max(1, len(rows))


def _bounds(sequence: Sequence, so_far: _SoFar, loop: Loop) -> tuple[Ints, Ints]:
    """Per period, where it begins and ends: before the first of the loop's lines and behind the last.

    Between the last line of a period and the first of the next one are the end of the one (say, the update of
    each parameter, a line that runs many times) and the beginning of the other (say, the layers). What comes
    before the first period of all tells them apart: the ops there that are also between periods are the
    beginning of a period. Where the very same ops, as many, are before a round as before the first, it begins
    with them; an op may run at the end of a period as well (the layers of two networks).
    """
    symbol, n = sequence.symbol, len(sequence.symbol)
    before, after = loop.last[:-1] + 1, loop.first[1:]
    between = _presence(symbol, before, after, loop.regular) > 0.5
    other = np.flatnonzero(~between[symbol[: loop.first[0]]])
    head = symbol[other[-1] + 1 if len(other) else 0 : loop.first[0]]
    of_head = np.zeros(len(between), "?")
    of_head[head] = True
    position = np.arange(n + 1)
    latest_other = np.maximum.accumulate(np.where(of_head[symbol], -1, position[:-1]))
    begin = np.append(latest_other, -1)[loop.first - 1] + 1
    begin = np.where(loop.first > 0, begin, 0)
    begin[1:] = np.maximum(begin[1:], before)
    same = np.maximum(loop.first - len(head), 0)
    is_same = so_far.between(same, loop.first) == so_far.between(same[:1], loop.first[:1])
    begin[1:] = np.where(is_same[1:] & (same[1:] >= before), same[1:], begin[1:])
    of_tail = np.append(_presence(symbol, before, begin[1:], loop.regular) > 0.5, False)
    foreign = np.where(of_tail[np.append(symbol, -1)], n, position)
    next_foreign = np.minimum.accumulate(foreign[::-1])[::-1]
    end = np.minimum(next_foreign[loop.last + 1], np.append(begin[1:], n))
    return begin, end


def make_sequence(
    callsite: Ints,
    name: Ints,
    *,
    function: Ints,
    optimizer: Mask,
    update: Mask,
    product: Mask,
    start_ns: Ints,
    end_ns: Ints,
) -> Sequence:
    """Return the sequence of these ops; all columns (n,), in order of start, n at least 1."""
    symbol, n = group_ids([callsite, name])
    functions, _ = group_ids([function])
    of_symbol = [np.bincount(symbol[mask], minlength=n) > 0 for mask in (update, product)]
    return Sequence(symbol, functions, start_ns, end_ns, optimizer, *of_symbol)

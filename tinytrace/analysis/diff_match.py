"""Finding in one trace what is in another, after the program was edited or moved.

Everything here treats both sides alike: what is matched does not depend on which trace comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinytrace.analysis.diff_calls import Key
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Trace

MOST_ANCHORS = 1000  # per function; more would take seconds, and say nothing new
Function = tuple[str | None, str | None]
_WHOLE_FILE = "\0"


@dataclass(frozen=True)
class Pair:
    """Groups of calls that are the same in both traces: of one side none, one, or several.

    Attributes:
        before, after: numbers of groups.
        same_operands: both have the same signature.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    same_operands: bool


@dataclass
class Lines:
    """Which line of the first program became which line of the second, per function.

    Attributes:
        anchors: lines of which that is known, by what is called in them. Those of a whole file are there, too,
            under the name of no function.
    """

    anchors: dict[Function, set[tuple[int, int]]] = field(default_factory=dict)
    _sorted: dict[Function, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, function: Function, before: int, after: int) -> None:
        """Remember that a line became another one."""
        for where in (function, (function[0], _WHOLE_FILE)):
            self.anchors.setdefault(where, set()).add((before, after))
            self._sorted.pop(where, None)

    def agree(self, function: Function, before: int, after: int) -> bool | None:
        """Whether the lines around say that one line became the other; None: nothing is known there.

        Those of the function, if any is known, otherwise those of the file.
        """
        if function not in self.anchors:
            function = (function[0], _WHOLE_FILE)
        anchors = self._sorted.get(function)
        if anchors is None:
            anchors = self._sorted[function] = _uncrossed(self.anchors.get(function, set()))
        if not anchors:
            return None
        return after - before == _shift(anchors, before, 0) == _shift(anchors, after, 1)


def _shift(anchors: list[tuple[int, int]], line: int, side: int) -> int:
    """By how much the nearest anchor at or above a line was shifted; the first one, if there is none."""
    ordered = sorted(anchors, key=lambda anchor: (anchor[side], anchor[1 - side]))
    above = [anchor for anchor in ordered if anchor[side] <= line]
    nearest = above[-1] if above else ordered[0]
    return nearest[1] - nearest[0]


def _uncrossed(anchors: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, without those that are out of order with half of the others or more (code that moved)."""
    ordered = sorted(anchors)[:MOST_ANCHORS]
    before, after = np.array(ordered, "i8").reshape(-1, 2).T
    above = (before[:, None] < before) & (after[:, None] < after)
    crossed = len(ordered) - 1 - (above | above.T).sum(1)
    return [
        anchor
        for anchor, n in zip(ordered, crossed.tolist(), strict=True)
        if n == 0 or 2 * n < len(ordered) - 1
    ]


def pair_lines(
    before: Iterable[int], after: Iterable[int], function: Function, lines: Lines
) -> list[tuple[int, int]]:
    """Pair the lines of one function that do the same; the fewer of both sides all find one.

    As many on both sides: in order. Otherwise those that the lines around agree on (where nothing is known:
    equal numbers) first, and the rest in order.

    >>> pair_lines([10, 20], [13, 23], (None, None), Lines())
    [(10, 13), (20, 23)]
    >>> pair_lines([10, 20], [20], (None, None), Lines())
    [(20, 20)]
    """
    left, right = sorted(before), sorted(after)
    if len(left) == len(right):
        return list(zip(left, right, strict=True))
    pairs = [
        (a, b)
        for a in left
        for b in right
        if (a == b if (agreed := lines.agree(function, a, b)) is None else agreed)
    ]
    left = [a for a in left if a not in {pair[0] for pair in pairs}]
    right = [b for b in right if b not in {pair[1] for pair in pairs}]
    return sorted([*pairs, *zip(left, right, strict=False)])


def match(before: Sequence[Key], after: Sequence[Key], files: Files) -> tuple[list[Pair], Lines]:
    """Match groups of calls.

    First those of the same kind, name, signature, file and function, whatever the line. Of the rest those
    that differ in the signature only: all that a line calls by that name is one pair. What then is left is in
    one trace alone.

    Args:
        before: groups of the first trace.
        after: groups of the second.
        files: which of its files are the same.

    Returns:
        The pairs, and what became of the lines.
    """
    lines, pairs = Lines(), list[Pair]()
    used: tuple[set[int], set[int]] = (set(), set())
    for with_signature in (True, False):
        buckets = _buckets(before, after, files, used, with_signature)
        # Where there is no doubt first: these lines say what became of those around them.
        for clear in (True, False):
            for ident, (left, right) in buckets.items():
                if not left or not right or (len(left) == len(right)) != clear:
                    continue
                function: Function = (ident[-2], ident[-1])
                for a, b in pair_lines(left, right, function, lines):
                    pairs.append(Pair(tuple(left[a]), tuple(right[b]), with_signature))
                    used[0].update(left[a])
                    used[1].update(right[b])
                    if clear and len(left) == 1:
                        lines.add(function, a, b)
    for number in range(len(before)):
        if number not in used[0]:
            pairs.append(Pair((number,), (), True))
    for number in range(len(after)):
        if number not in used[1]:
            pairs.append(Pair((), (number,), True))
    return pairs, lines


def _buckets(
    before: Sequence[Key],
    after: Sequence[Key],
    files: Files,
    used: tuple[set[int], set[int]],
    with_signature: bool,
) -> dict[tuple[Any, ...], tuple[dict[int, list[int]], dict[int, list[int]]]]:
    """What calls are of, without the line → per side: line → groups."""
    found: dict[Any, Any] = defaultdict(lambda: (defaultdict(list), defaultdict(list)))
    for side, keys in enumerate((before, after)):
        for number, key in enumerate(keys):
            if number not in used[side]:
                signature = key.signature if with_signature else None
                file = files.name(key.file, side)
                ident = (key.kind, key.name, signature, file, key.function)
                found[ident][side][key.line].append(number)
    return found


class Files:
    """Files of two traces that are the same one: equal paths, the same end of the path, or the script itself.

    Of paths that differ, those that have most of their last parts in common belong together, if that is
    mutual and without a tie. The scripts that were run (``meta["command"]``) do, whatever their names.

    Args:
        before: the first trace.
        after: the second one.
        keys: of their calls: these may name files of their own.

    Attributes:
        renamed: the scripts, if they have different names.
    """

    def __init__(
        self, before: Trace, after: Trace, keys: tuple[Sequence[Key], Sequence[Key]] = ((), ())
    ) -> None:
        left, right = _files_of(before, keys[0]), _files_of(after, keys[1])
        self._after_name: dict[str, str] = {}  # of the second trace → of the first
        self.renamed: tuple[str, str] | None = None
        left_only, right_only = left - right, right - left
        scripts = _script(before, left_only), _script(after, right_only)
        for a, b in _common_ends(left_only, right_only):
            self._after_name[b] = a
        taken = set(self._after_name.values())
        if (
            scripts[0]
            and scripts[1]
            and scripts[0] not in taken
            and scripts[1] not in self._after_name
        ):
            self._after_name[scripts[1]] = scripts[0]
            self.renamed = (scripts[0], scripts[1])

    def name(self, file: str | None, side: int) -> str | None:
        """Return one name for a file of the first (0) or second (1) trace, whichever it is seen in."""
        return file if file is None or side == 0 else self._after_name.get(file, file)


def _files_of(trace: Trace, keys: Sequence[Key]) -> set[str]:
    named = {key.file for key in keys if key.file is not None}
    return named | {trace.strings[i] for i in distinct(trace.frames.file_id).tolist() if i >= 0}


def _script(trace: Trace, files: set[str]) -> str | None:
    """The file among these that was run, by the command line."""
    command = trace.meta.get("command")
    if not isinstance(command, list):
        return None
    for word in command:
        if isinstance(word, str) and word.endswith(".py"):
            found = [file for file in files if _parts(file)[:1] == _parts(word)[:1]]
            return found[0] if len(found) == 1 else None
    return None


def _parts(path: str) -> list[str]:
    """The parts of a path, the last one first."""
    return path.replace("\\", "/").split("/")[::-1]


def _common_ends(left: set[str], right: set[str]) -> list[tuple[str, str]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in right:
        by_name[_parts(path)[0]].append(path)
    candidates = sorted(
        ((_in_common(a, b), a, b) for a in left for b in by_name[_parts(a)[0]]), reverse=True
    )
    pairs: list[tuple[str, str]] = []
    done: set[str] = set()  # a path can be on one side only here
    at = 0
    while at < len(candidates):
        level = candidates[at][0]
        same = []
        while at < len(candidates) and candidates[at][0] == level:
            if not {*candidates[at][1:]} & done:
                same.append(candidates[at][1:])
            at += 1
        seen = [path for pair in same for path in pair]
        pairs += [pair for pair in same if seen.count(pair[0]) == seen.count(pair[1]) == 1]
        done |= set(seen)
    return pairs


def _in_common(a: str, b: str) -> int:
    n = 0
    for x, y in zip(_parts(a), _parts(b), strict=False):
        if x != y:
            break
        n += 1
    return n

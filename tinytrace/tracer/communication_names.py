"""How communication is written down in a trace: one place, for adapters that record it and analyses that read it.

A communication span has the name that the program called (``all_reduce``, ``Comm.Allreduce``), a kind of
`records.Kind.SPAN`, and arguments whose first key is `KEY`; its value is the operation in the words of
`COLLECTIVES` and `OTHERS`, whatever library carried it out. All further arguments are those of `ARGUMENTS`.

No argument counts calls: a name with its arguments is kept once (`marks.MAX_LABELS`), so that each call must look
like the one before. Which call of one rank belongs to which of another, their order tells; and what a later wait
belongs to, ``requests`` tells: small numbers, each free again when that is done.
"""

from __future__ import annotations

KEY = "communication"

# Nobody leaves before all have come: each result needs something of everyone.
SYNCHRONISING = frozenset({"barrier", "all_reduce", "all_gather", "reduce_scatter", "all_to_all"})
# Nobody leaves before the root has come (one_to_all); the root does not leave before all have come (all_to_one).
ONE_TO_ALL = frozenset({"broadcast", "scatter"})
ALL_TO_ONE = frozenset({"reduce", "gather"})
# Each waits for those before it at most.
OTHER_COLLECTIVES = frozenset({"scan", "exscan"})
COLLECTIVES = SYNCHRONISING | ONE_TO_ALL | ALL_TO_ONE | OTHER_COLLECTIVES
# "send_receive" is both at once; "wait" ends what an earlier call began; "probe" waits for a message to be there.
OTHERS = frozenset({"send", "receive", "send_receive", "wait", "probe"})

ARGUMENTS = {
    "group": "name of the communicator or process group, the same in all of its processes",
    "ranks": "its members by their rank in the job, such as '0-3,6'",
    "rank": "of the caller, in the job",
    "bytes": "of the buffer that the caller gives; where it gives none, of that which it gets",
    "peer": "rank in the job that it sends to, receives from; the root of a collective",
    "tag": "of a message",
    "source": "of a send_receive: rank in the job that it receives from",
    "source_tag": "of a send_receive: tag of what it receives",
    "queued": "true of what is done later, nobody knows when: by a GPU, or with too many requests at once",
    "requests": "numbers of what goes on when the call has returned; a wait has those of what it waits for",
}
# Kinds of flows between ranks: from a send to its receive; from the call of a collective that came first to the
# others. Both ends are of one transfer, so that it does not matter which of them is drawn as the beginning.
MESSAGE_FLOW, COLLECTIVE_FLOW = "message", "collective"
EITHER_WAY = frozenset({MESSAGE_FLOW, COLLECTIVE_FLOW})


def ranks_text(ranks: list[int] | tuple[int, ...]) -> str:
    """Return ranks as short text, in their order.

    Example:
        >>> ranks_text([0, 1, 2, 3, 6]), ranks_text([5]), ranks_text([2, 0])
        ('0-3,6', '5', '2,0')
    """
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def ranks_of(text: str, most: int = 1 << 20) -> tuple[int, ...]:
    """Return the ranks in what `ranks_text` made; () for anything else.

    Example:
        >>> ranks_of("0-3,6"), ranks_of("?"), ranks_of("")
        ((0, 1, 2, 3, 6), (), ())
    """
    ranks: list[int] = []
    for run in text.split(","):
        first, _, last = run.strip().partition("-")
        last = last or first
        if not (first.isdecimal() and last.isdecimal()) or len(first) > 9 or len(last) > 9:
            return ()
        a, b = int(first), int(last)
        if b < a or len(ranks) + b - a >= most:
            return ()
        ranks += range(a, b + 1)
    return tuple(ranks)

"""What could be won at most: how long a run, or a step, would take if its ops ran at their roofs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import Account, Accounts, main_thread
from tinytrace.analysis.roofline import Judged

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A bound: no program of these ops is faster, and one may well not come near.

    Attributes:
        wall_ns: as it is, of the run or of a step.
        at_roof_ns: if every op that was judged ran at its roof. All else, Python between ops too, would stay.
        top_at_roof_ns: if the ops in the table alone did.
        judged_ns: the time in which judged ops ran, in this thread: what the bound speaks of.
    """

    wall_ns: int
    at_roof_ns: int
    top_at_roof_ns: int
    judged_ns: int


def what_if(
    accounts: Accounts,
    judged: Judged,
    in_table: NDArray[np.bool_],
    account: Account | None,
    windows: tuple[Ints, Ints] | None = None,
) -> WhatIf | None:
    """Return the bound for an account; None: there is none, or no op of its thread was judged.

    Args:
        accounts: of the trace.
        judged: n verdicts, one per part.
        in_table: (n,) whether a part is in the table of top ops.
        account: of the windows; None: there is none.
        windows: starts and ends, ns; None: the whole run.
    """
    parts = accounts.parts
    thread = main_thread(parts.trace)
    if thread is None or account is None:
        return None
    spent_ns = accounts.op_ns(thread, windows)
    known = ~np.isnan(judged.roof_ns) & (judged.judged_ns > 0)
    if not spent_ns[known].any():
        return None
    share = np.zeros(len(parts))
    np.divide(judged.roof_ns, judged.judged_ns, out=share, where=known)
    saved_ns = np.where(known, spent_ns * np.clip(1 - share, 0, 1), 0.0)
    n = account.n_windows
    return WhatIf(
        wall_ns=account.wall_ns,
        at_roof_ns=max(0, account.wall_ns - int(saved_ns.sum() / n)),
        top_at_roof_ns=max(0, account.wall_ns - int(saved_ns[in_table].sum() / n)),
        judged_ns=int(spent_ns[known].sum() / n),
    )

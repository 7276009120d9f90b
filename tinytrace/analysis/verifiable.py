"""What `verify` is asked for: a finding, a rule, a rewrite, or all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.findings import RULES, Finding, findings
from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.rewrites import REWRITES
from tinytrace.errors import UsageError
from tinytrace.tracer.trace import Trace


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified.

    Attributes:
        name: what was given; None: nothing, which stands for all rewrites of all ops.
        rewrites: their names, in the order of `REWRITES`; (): the findings have none.
        findings: those that were meant; all of the trace where no name was given, none where that of a rewrite was.
    """

    name: str | None
    rewrites: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def of_findings(self) -> bool:
        """Whether only ops of the findings are meant."""
        return self.name is not None and self.name not in REWRITES


def asked_for(trace: Trace, name: str | None = None) -> Asked:
    """Return what a name stands for.

    Args:
        trace: any trace.
        name: the id of a finding (``F1``), the name of a rule, or the name of a rewrite; None: all.

    Raises:
        UsageError: the name is none of these.

    Example:
        >>> asked_for(Trace(), "float32").rewrites
        ('float32',)
    """
    if name in REWRITES:
        return Asked(name, (name,), ())
    found = findings(trace)
    if name is None:
        return Asked(None, tuple(REWRITES), found)
    chosen = tuple(f for f in found if f.id == name.upper() or f.rule == name)
    if not chosen and name not in RULES:
        ids = {0: "there are none", 1: "F1"}.get(len(found), f"F1 to F{len(found)}")
        raise UsageError(
            f"{name!r} is no finding of this trace ({ids}), no rule and no rewrite: there are {', '.join(REWRITES)}"
        )
    names = {rewrite for finding in chosen for rewrite in finding.rewrites}
    return Asked(name, tuple(rewrite for rewrite in REWRITES if rewrite in names), chosen)


def parts_asked_for(asked: Asked, parts: OpParts) -> NDArray[np.bool_]:
    """Return per part of the ops whether it is meant."""
    if not asked.of_findings:
        return np.ones(len(parts), "?")
    n_frames = len(parts.trace.frames)
    calls = {call for finding in asked.findings if finding.rewrites for call in finding.calls}
    wanted = [signature * n_frames + frame for signature, frame in calls]
    known = (parts.signature_id >= 0) & (parts.callsite_id >= 0)
    mine = np.isin(parts.signature_id * n_frames + parts.callsite_id, np.array(wanted, "i8"))
    return np.asarray(known & mine, "?")

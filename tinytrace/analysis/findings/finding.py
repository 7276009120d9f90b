"""`Finding`: one thing that is slow, with what shows it, what can be won, and what to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        id: ``F1``, ``F2``… in the order of a trace's findings; "": it stands alone.
        rule: the name of the rule, by which docs/findings.md explains it.
        title: what is slow, in one sentence.
        file: path; None: not known.
        line: 0: not known.
        function: None: not known.
        evidence: facts of the trace, with numbers and units.
        ceiling_ns: the most that can be won, over the whole run, if the remedy cost nothing beyond the roofs. A
            bound, no forecast: what is won is less. None: what is won is not time but `won`.
        ceiling_share: the same, of the time of the run that was not spent importing modules; 0 to 1.
        confidence: how sure it is that the remedy applies.
        why_confidence: what that rests on.
        remedy: what to try.
        code: how to write it; names stand for those of the program.
        calls: the operations that it is about, where rewrites belong to its rule: pairs of a row of
            ``Trace.signatures`` and a row of ``Trace.frames``.
        rewrites: the names of the rewrites (`tinytrace.analysis.rewrites`) of these calls that can be timed.
        no_rewrite: why there are none.
        won: what is won: ``time``, ``memory`` or ``a gradient``.
    """

    id: str
    rule: str
    title: str
    file: str | None
    line: int
    function: str | None
    evidence: tuple[str, ...]
    ceiling_ns: int | None
    ceiling_share: float
    confidence: Confidence
    why_confidence: str
    remedy: str
    code: str
    calls: tuple[tuple[int, int], ...] = ()
    rewrites: tuple[str, ...] = ()
    no_rewrite: str | None = None
    won: str = "time"

    @property
    def place(self) -> str | None:
        """File without folder, and line: ``train.py:42``; None: not known.

        Example:
            >>> text = ("F1", "pow", "slow", "/a/train.py", 42, "f", (), 9, 0.1, "high", "", "", "")
            >>> Finding(*text).place
            'train.py:42'
        """
        if self.file is None:
            return None
        name = self.file.replace("\\", "/").rpartition("/")[2]
        return f"{name}:{self.line}" if self.line else name

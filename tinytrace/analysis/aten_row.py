"""What a row of the table of ATen operations says."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tinytrace.analysis.aten_calls import OutputRule
from tinytrace.analysis.aten_traffic import AtenTraffic
from tinytrace.analysis.aten_work import AtenWork


class Role(Enum):
    """What a call means for the operations that were recorded inside it."""

    PRIMITIVE = "primitive"  # does the work itself: what runs inside is part of it
    COMPOSITE = (
        "composite"  # is made of others, which are counted; itself only where none was recorded
    )
    VIEW = "view"  # does nothing but look at memory, allocate it, or call others


class AtenRow(NamedTuple):
    """Operations that are counted alike.

    Attributes:
        ops: their names, separated by spaces.
        schemas: the arguments of each overload, separated by ``|``; ``=``: the value decides what the call costs.
        outputs: what is written, from the arguments.
        work: FLOPs and so on; None: deliberately uncounted.
        traffic: bytes.
        formula: what ``work`` says, for people; for an uncounted row, why.
        role: see `Role`.
    """

    ops: str
    schemas: str
    outputs: OutputRule
    work: AtenWork | None
    traffic: AtenTraffic
    formula: str
    role: Role = Role.PRIMITIVE

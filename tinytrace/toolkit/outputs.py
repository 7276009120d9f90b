"""What models return, and whether two of them return the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.in_turns import ALIKE, compared
from tinytrace.toolkit.accuracy import array_of

LARGEST_BYTES = 16_000_000  # of an output that is kept to be compared


@dataclass(frozen=True, eq=False)
class Output:
    """What a model returned.

    Attributes:
        shape: its dimensions; None: it is no array of numbers.
        values: the numbers; None: there are none, or more than 16 MB of them.
    """

    shape: tuple[int, ...] | None = None
    values: NDArray[Any] | None = None


def output_of(value: Any) -> Output:
    """Keep what a model returned, as far as it can be compared.

    Args:
        value: anything.

    Example:
        >>> output_of(np.ones((2, 3))).shape
        (2, 3)
        >>> output_of("text").shape is None
        True
    """
    try:
        values = array_of(value)
    except (TypeError, ValueError):  # a ragged list, a tensor that gives no array
        return Output()
    if values.dtype.kind not in "biufc":
        return Output()
    small = values.nbytes <= LARGEST_BYTES
    return Output(values.shape, values.copy() if small else None)


def outputs_differ(one: Output, other: Output) -> str | None:
    """Say how two models differ in what they return to the same input; None: in nothing that is known.

    Args:
        one: of the baseline.
        other: of the other one.

    Example:
        >>> outputs_differ(output_of(np.ones((2, 3))), output_of(np.ones((3, 2))))
        'returns (3, 2) where the baseline returns (2, 3): they do not compute the same'
    """
    if one.shape is None or other.shape is None:
        return None
    if one.shape != other.shape:
        return f"returns {other.shape} where the baseline returns {one.shape}: they do not compute the same"
    if one.values is None or other.values is None:
        return None
    apart, _ = compared(one.values, other.values)
    if apart is None or apart <= ALIKE:
        return None
    size = (
        "in a nan, or beyond any bound"
        if np.isinf(apart)
        else f"by up to {apart:.2g} of the largest"
    )
    return f"returns other numbers than the baseline: {size}"

"""How often a model is right: `accuracy_of`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.errors import UsageError
from tinytrace.toolkit.calling import as_callable


@dataclass(frozen=True)
class Accuracy:
    """How often a model was right.

    Attributes:
        share: 0…1; NaN: not measured, or what was measured is no number.
        correct: per sample whether it was right; None: not known by sample.
        note: how it was measured, or that it was not.
    """

    share: float = math.nan
    correct: NDArray[np.bool_] | None = None
    note: str = "not measured"


NOT_MEASURED = Accuracy()


def accuracy_of(model: Any, accuracy: Any) -> Accuracy:
    """Measure how often a model is right.

    Args:
        model: any.
        accuracy: ``accuracy(model)`` → share 0…1, or per sample whether it was right; or ``(inputs, labels)``, and the
            largest output is the answer; None: it is not measured.

    Raises:
        UsageError: it is neither, or outputs and labels do not fit.
        Exception: whatever the model raises.

    Example:
        >>> accuracy_of(lambda x: x, (np.eye(3), np.array([0, 1, 1]))).note
        'of 3 samples'
    """
    if accuracy is None:
        return NOT_MEASURED
    values = np.asarray(accuracy(model) if callable(accuracy) else _right(model, accuracy))
    if values.ndim == 0:
        share = float(values)
        return Accuracy(share, None, "not a number" if math.isnan(share) else "one figure")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise UsageError("accuracy must say of each sample whether it was right, or be one number")
    if not values.size:
        raise UsageError("accuracy was asked for on no sample")
    return Accuracy(float(values.mean()), values.astype("?"), f"of {len(values):,} samples")


def _right(model: Any, pair: Any) -> NDArray[Any]:
    try:
        inputs, labels = pair
    except (TypeError, ValueError):
        raise UsageError("accuracy must be a function of the model, or (inputs, labels)") from None
    outputs, wanted = array_of(as_callable(model)(inputs)), array_of(labels)
    if outputs.shape[:-1] != wanted.shape:
        raise UsageError(
            f"outputs {outputs.shape} and labels {wanted.shape} do not fit: one label per row is needed"
        )
    return np.asarray(outputs.argmax(axis=-1) == wanted)


def array_of(value: Any) -> NDArray[Any]:
    """Return an array, or that which a tensor has as its ``data``.

    Example:
        >>> array_of([1, 2]).shape
        (2,)
    """
    if isinstance(value, (np.ndarray, list, tuple)):
        return np.asarray(value)
    data = getattr(value, "data", value)
    if callable(
        getattr(data, "cpu", None)
    ):  # a tensor of PyTorch, perhaps of a type that NumPy has not
        data = data.cpu()
        data = data.float() if str(data.dtype) == "torch.bfloat16" else data
    return np.asarray(data)

"""Which end of an arrow between spans is drawn as its beginning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.communication_names import EITHER_WAY
from tinytrace.tracer.trace import Trace

Ints = NDArray[Any]


def drawable(trace: Trace) -> tuple[Ints, Ints]:
    """Return the arrows that viewers draw, as rows of their beginnings and ends.

    They draw to a slice that begins after the first one only. Where both ends are of one transfer between ranks (who
    receives may well have waited since before the message was sent), the earlier one is the beginning.
    """
    flows, start_ns = trace.flows, trace.spans.start_ns
    either = np.array([text in EITHER_WAY for text in trace.strings], "?")[flows.kind_id]
    swap = either & (start_ns[flows.from_span] > start_ns[flows.to_span])
    source = np.where(swap, flows.to_span, flows.from_span)
    target = np.where(swap, flows.from_span, flows.to_span)
    forward = start_ns[source] < start_ns[target]
    return source[forward], target[forward]

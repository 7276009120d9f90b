"""Arrows between spans, as far as the format can draw them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.exporters.flow_ends import drawable
from tinytrace.tracer.trace import Trace


def drawn_flows(trace: Trace, nests: NDArray[np.bool_]) -> dict[int, bytes]:
    """Return what is added to the events at the ends of flows, by row.

    An event has one ``bind_id``, and an arrow is drawn to it from the last event before it that gives out
    that id. So an event may send to several, and either send or receive, once; and the sender must begin
    first (`flow_ends`). A flow that cannot be drawn so is in the file's table of flows alone.
    """
    sends: set[int] = set()
    receives: dict[int, int] = {}
    for source, target in zip(*(rows.tolist() for rows in drawable(trace)), strict=True):
        free = source not in receives and target not in receives and target not in sends
        if free and nests[source] and nests[target]:
            sends.add(source)
            receives[target] = source
    texts = {row: f',"bind_id":"{row + 1:#x}","flow_out":true' for row in sends}
    texts |= {
        row: f',"bind_id":"{source + 1:#x}","flow_in":true' for row, source in receives.items()
    }
    return {row: text.encode() for row, text in texts.items()}

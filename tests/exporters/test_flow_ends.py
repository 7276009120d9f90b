"""Arrows are drawn forward in time; which end that is."""

from __future__ import annotations

import pytest

from tests.builders import START_NS, TraceBuilder
from tinytrace.exporters.flow_ends import drawable


@pytest.mark.parametrize(
    ("kind", "drawn"), [("message", [(0, 1)]), ("collective", [(0, 1)]), ("backward", [])]
)
def test_the_earlier_end_of_a_transfer_is_its_beginning_and_other_arrows_go_one_way(
    kind: str, drawn: list[tuple[int, int]]
) -> None:
    builder = TraceBuilder()
    for number in range(2):
        builder.thread(builder.process(number), number)
    waiting = builder.span(0, START_NS, 900, "receive")
    late = builder.span(1, START_NS + 500, 100, "send")
    builder.flow(late, waiting, kind)
    found = zip(*(rows.tolist() for rows in drawable(builder.build())), strict=True)
    assert list(found) == drawn

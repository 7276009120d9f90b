"""Recording the stand-ins: imported anew for every test, since they change their own classes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.recorded import Recorded, record
from tinytrace.tracer.records import Kind

FRAMEWORKS = "tests.frameworks"


def forget() -> None:
    """Have the frameworks imported anew: they change their own classes."""
    for name in [n for n in sys.modules if n.startswith(f"{FRAMEWORKS}.")]:
        del sys.modules[name]


@pytest.fixture
def anew() -> Iterator[None]:
    forget()
    yield
    forget()


def framework(name: str) -> Any:
    return importlib.import_module(f"{FRAMEWORKS}.{name}")


class Spans(Recorded):
    """The spans of frameworks as text."""

    def kind(self, row: int) -> Kind:
        return Kind(int(self.trace.spans.kind[row]))

    def of(self, *kinds: Kind) -> list[str]:
        return [self.name(row) for row in self.rows if self.kind(row) in kinds]

    def tree(self, row: int = -1) -> str:
        """Spans that are no ops: ``name(inside)``."""
        inside = " ".join(
            text for r in self.inside(row) if (text := self.tree(r) if self.kind(r) else "")
        )
        return inside if row < 0 else self.name(row) + (f"({inside})" if inside else "")

    def arrows(self) -> list[tuple[str, str]]:
        flows = self.trace.flows
        pairs = zip(flows.from_span.tolist(), flows.to_span.tolist(), strict=True)
        return [(self.name(a), self.name(b)) for a, b in pairs]


def spans_of(which: str, program: Callable[[], object]) -> Spans:
    return Spans(record(which, program))

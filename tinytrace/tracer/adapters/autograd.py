"""HIPS autograd: its primitives call NumPy, whose operations are recorded anyway; here, whose they are.

Files of the package are no call sites: operations belong to the line of the program, those of a gradient to the
line that asks for it. Its two passes are spans.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.marks import Marks
from tinytrace.tracer.records import Flag, Kind


def install(adapting: Adapting, core: ModuleType) -> None:
    """See both passes.

    Args:
        adapting: of this recording.
        core: ``autograd.core``, which looks up by name what it calls: ``trace(node, function, x)`` runs the
            function on boxes, ``backward_pass(g, node)`` walks back.
    """
    adapting.internal(core)
    recorder, marks = adapting.recorder, Marks(adapting.recorder)

    def forward(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        name = getattr(args[1], "__name__", "") if len(args) > 1 else ""
        return recorder.begin(Kind.FORWARD, marks.label(f"forward {name}".strip(), {})) or None

    def backward(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        return recorder.begin(Kind.BACKWARD, marks.label("backward", {})) or None

    def end(token: int, result: Any, raised: bool) -> None:
        recorder.end(token, Flag.RAISED if raised else 0)

    adapting.wrap(core, "trace", forward, end)
    adapting.wrap(core, "backward_pass", backward, end)

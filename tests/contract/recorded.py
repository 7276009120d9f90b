"""Recording a small program on a core, and what was recorded as text that a person can read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cores import core
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import LAYOUT_MASK, LAYOUT_SWAPPED, Flag, Kind, Layout
from tinytrace.tracer.session import Session
from tinytrace.tracer.trace import Operand, Trace

FILE = "program.py"  # the file that `run` gives its programs
SHORT = {
    "float64": "", "float32": ":f4", "float16": ":f2", "int64": ":i8", "int32": ":i4", "int16": ":i2",
    "int8": ":i1", "uint8": ":u1", "uint64": ":u8", "bool": ":?", "complex128": ":c16",
    "complex64": ":c8",
}  # fmt: skip


def record(name: str, program: Callable[[], object], **options: Any) -> Trace:
    """Call a function under a session on this core; returns the trace. Its exception travels on."""
    with tempfile.TemporaryDirectory() as folder, core(name):
        chosen = {"sampler": "none", "children": False, **options}
        session = Session(Options(Path(folder) / "trace.json", **chosen), ["program"])
        session.start()
        try:
            program()
        finally:
            session.stop()
        try:
            return session.trace()
        finally:
            session.discard()


def run(name: str, source: str, namespace: dict[str, Any]) -> Trace:
    """Record the running of a source text as the module ``program.py``."""
    code = compile(source, FILE, "exec")
    return record(name, lambda: exec(code, namespace))


def operand(o: Operand) -> str:
    """Write an operand: shape (``.`` = 0-d), dtype unless float64, layout unless C, ``=n`` = alias.

    ``s``: a NumPy scalar; ``p``: a Python scalar; ``o``: something else, with its size if it is a tuple or
    list of numbers.
    """
    layout = o.layout & LAYOUT_MASK
    if layout == Layout.PYTHON_SCALAR:
        return f"p:{o.dtype}"
    dtype = SHORT.get(o.dtype, f":{o.dtype}")
    if layout == Layout.OTHER:
        return f"o{o.shape[0]}{dtype}" if o.shape else "o"
    if layout == Layout.NUMPY_SCALAR:
        return f"s{dtype}"
    text = ("x".join(map(str, o.shape)) or ".") + dtype
    if layout == Layout.F:
        text += ":F"
    elif layout == Layout.STRIDED:
        text += ":S" + "/".join(map(str, o.strides))
    if o.layout & LAYOUT_SWAPPED:
        text += ":swapped"
    return text + (f"={o.alias}" if o.alias >= 0 else "")


class Recorded:
    """The ops of a trace as a forest.

    Attributes:
        trace: the trace.
        rows: rows of its spans, in order.
    """

    def __init__(self, trace: Trace) -> None:
        """Look at a trace."""
        self.trace = trace
        self.rows = range(len(trace.spans))
        self._inside: dict[int, list[int]] = {}
        for row, parent in enumerate(trace.spans.parent.tolist()):
            self._inside.setdefault(parent, []).append(row)

    def name(self, row: int) -> str:
        """Return the op's name."""
        return self.trace.strings[int(self.trace.spans.name_id[row])]

    def site(self, row: int) -> tuple[str, int, str]:
        """Return file, line and function of the call site."""
        frames, at = self.trace.frames, int(self.trace.spans.callsite_id[row])
        if at < 0:
            return "", 0, ""
        strings = self.trace.strings
        return strings[frames.file_id[at]], int(frames.line[at]), strings[frames.name_id[at]]

    def flags(self, row: int) -> Flag:
        """Return the span's flags."""
        return Flag(int(self.trace.spans.flags[row]))

    def inside(self, row: int) -> list[int]:
        """Return the spans right inside one; those at the top for −1."""
        return self._inside.get(row, [])

    def text(self, row: int) -> str:
        """Write a span: ``name[inputs->outputs; attributes]``, ``!`` if it raised, then ``(inside)``."""
        at = int(self.trace.spans.signature_id[row])
        text = self.name(row) + "!" * bool(self.flags(row) & Flag.RAISED)
        if at >= 0:
            sig = self.trace.signatures[at]
            operands = (
                ",".join(map(operand, sig.inputs)) + "->" + ",".join(map(operand, sig.outputs))
            )
            text += f"[{operands}{'; ' * bool(sig.attributes)}{sig.attributes}]"
        inside = self.inside(row)
        return text + (f"({' '.join(map(self.text, inside))})" if inside else "")

    def by_line(self) -> dict[int, str]:
        """Write the outermost spans of each line of ``program.py``."""
        found: dict[int, list[str]] = {}
        for row in self.inside(-1):
            file, line, _ = self.site(row)
            found.setdefault(line if file == FILE else 0, []).append(self.text(row))
        return {line: " ".join(texts) for line, texts in found.items()}

    def leaves(self) -> list[int]:
        """Return the ops in which no other ran."""
        kinds = self.trace.spans.kind
        return [r for r in self.rows if kinds[r] == Kind.OP and not self.inside(r)]

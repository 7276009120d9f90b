"""An optimizer that makes a temporary for every operation on every parameter."""

from __future__ import annotations

from collections.abc import Iterator

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.elementwise import elementwise, fresh, fused_ns
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import size, time
from tinytrace.analysis.places import function_name
from tinytrace.analysis.step_finding import is_optimizer

NAME = "optimizer with temporaries"
MIN_OPS = 4  # plain gradient descent has two: the scaled gradient, and the difference


def in_optimizer(case: Case, frame: int) -> bool:
    """Whether a frame is in an optimizer, by the names of its function and its file."""
    file_id = int(case.trace.frames.file_id[frame])
    file = case.trace.strings[file_id] if file_id >= 0 else ""
    return is_optimizer(function_name(case.trace, frame) or "", file)


def find(case: Case) -> Iterator[Finding]:
    """Optimizers of 4 such ops and more; ceiling: all but what one op, or the arithmetic at its roof, would take."""
    for site in case.sites(elementwise(case), by="function"):
        if not in_optimizer(case, site.frame):
            continue
        chain = fresh(case, site, 1)
        if chain is None or len(chain.parts) < MIN_OPS:
            continue
        made = int((case.new_bytes[chain.parts] * case.parts.calls[chain.parts]).sum())
        shapes = {case.signature(i).outputs[0].shape for i in chain.parts.tolist()}
        yield case.finding(
            NAME,
            chain.frame,
            f"{case.function(chain.frame)} makes a new array for every operation on every parameter",
            evidence=(
                f"{chain.calls:,} calls that return a new array take {time(chain.self_ns)}",
                f"{size(made)} of temporaries, for parameters of {len(shapes)} shapes",
            ),
            ceiling_ns=chain.self_ns - fused_ns(case, chain),
            confidence="medium",
            why="sizes are recorded; an out= that is no input of the same call cannot be told from a new array",
            remedy="Keep all parameters in one flat array, of which the layers hold views, and update it in place, in "
            "pieces that stay in cache.",
            code="np.multiply(g, g, out=buffer)  # v += (1 - b2) * (g * g - v)\nbuffer -= v\nbuffer *= 1 - b2\n"
            "v += buffer",
            parts=chain.parts,
        )

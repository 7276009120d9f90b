"""Which rewrites of operations belong to which rule: those whose gain `tinytrace.analysis.verify` can time.

Others have none: their remedy is a decision, or needs what a trace does not hold. `NONE` says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinytrace.analysis.findings import (
    constants,
    copies,
    data_wait,
    device_stalls,
    exposed_communication,
    float64_leak,
    fresh_memory,
    launch_bound,
    memory_growth,
    optimizers,
    oversubscribed,
    powers,
    products,
    python_loop,
    revisited_graph,
    sample_loader,
    saving,
    scatter,
    slow_products,
    strided,
    taking_turns,
    temporaries,
    tiny_ops,
    waiting,
)
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.rewrites import REWRITES, can_be_rewritten
from tinytrace.tracer.trace import Signature

ON_A_DEVICE = "it is about a device, which is not timed here"
OF_RULE: dict[str, tuple[str, ...]] = {
    float64_leak.NAME: ("float32",),
    fresh_memory.NAME: ("out",),
    optimizers.NAME: ("out",),
    powers.NAME: ("products", "products_signed"),
    products.WITHOUT_BLAS: ("blas_dtype",),
    strided.NAME: ("contiguous", "copy"),
    temporaries.NAME: ("out",),
}
NONE: dict[str, str] = {
    constants.NAME: "once it is made once, nothing is left to time: all but one call is won",
    copies.NAME: "without the copy nothing is left to time: all of it is won",
    data_wait.NAME: "waiting is no operation",
    device_stalls.PAGEABLE: ON_A_DEVICE,
    device_stalls.SYNCHRONISING: ON_A_DEVICE,
    exposed_communication.NAME: ON_A_DEVICE,
    launch_bound.NAME: ON_A_DEVICE,
    memory_growth.NAME: "what is won is memory, no time",
    oversubscribed.NAME: "BLAS takes its threads when it is loaded: run the program with fewer, and compare the "
    "traces (python -m tinytrace diff)",
    products.SKINNY_PRODUCT: "which products can be put together is not recorded",
    python_loop.NAME: "what the loop computes is not recorded",
    revisited_graph.NAME: "the nodes of the graph are not recorded",
    sample_loader.NAME: "the array of all samples is not recorded",
    saving.NAME: "saving is no operation on arrays",
    slow_products.ODD_SIZES: ON_A_DEVICE,
    slow_products.ORDINARY_UNITS: ON_A_DEVICE,
    scatter.NAME: "how often an index occurs is not recorded, and the gain depends on it",
    taking_turns.NAME: "threads are no operation",
    tiny_ops.NAME: "which calls can be made one is not recorded",
    waiting.NAME: "waiting is no operation",
}
NOT_AGAIN = "none of its operations can be made again from what is recorded of it"


def with_rewrites(finding: Finding, signatures: Sequence[Signature]) -> Finding:
    """Return a finding with the rewrites that apply to one of its calls, or why there are none.

    Args:
        finding: of a rule.
        signatures: of the trace.
    """
    mine = [signatures[number] for number in {signature for signature, _ in finding.calls}]
    names = tuple(
        name
        for name in OF_RULE.get(finding.rule, ())
        if any(can_be_rewritten(REWRITES[name], signature) for signature in mine)
    )
    return replace(
        finding, rewrites=names, no_rewrite=None if names else NONE.get(finding.rule, NOT_AGAIN)
    )

"""Matrix products far from their roof: of a type without BLAS, or too thin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Mask
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, time
from tinytrace.analysis.roofline import INEFFICIENT
from tinytrace.analysis.signature_roofs import arithmetic_dtype
from tinytrace.analysis.slow_reasons import SKINNY
from tinytrace.tracer.trace import Signature

WITHOUT_BLAS = "product without BLAS"
SKINNY_PRODUCT = "thin product"
PRODUCTS = frozenset(["matmul", "dot", "inner", "vdot", "tensordot", "vecdot", "matvec", "vecmat"])
HAS_BLAS = frozenset(["float32", "float64", "complex64", "complex128"])


def find_without_blas(case: Case) -> Iterator[Finding]:
    """Products of integers, float16, long doubles; ceiling: all but what float32 takes at its roof."""
    for site in case.sites(case.where(_misses_blas)):
        signature = case.signature(int(site.parts[0]))
        roof = case.peaks.gemm_gflops.get("float32") if case.peaks else None
        flops = float(np.nansum(case.parts.flops[site.parts]))
        least_ns = flops / roof.value if roof else 0.0  # 10⁹ per second are one per ns
        reached = flops / site.self_ns if site.self_ns else 0.0
        yield case.finding(
            WITHOUT_BLAS,
            site.frame,
            f"{signature.op} of {arithmetic_dtype(signature)} in {case.function(site.frame)} does without BLAS",
            evidence=(
                f"{site.calls:,} calls take {time(site.self_ns)}: {reached:.3g} GFLOP/s",
                f"{' and '.join(array(o) for o in signature.inputs)}",
                f"float32 reaches {roof.value:.3g} GFLOP/s on this machine"
                if roof
                else "the trace has no roofs",
            ),
            ceiling_ns=site.self_ns - least_ns,
            confidence="high",
            why="BLAS has float32, float64 and their complex forms only",
            remedy="Convert to float32 before the product: integers up to 2**24 stay exact (sums as well, as long as "
            "they stay below that; float64: 2**53).",
            code="y = x.astype(np.float32) @ weight.astype(np.float32)",
            parts=site.parts,
        )


def find_skinny(case: Case) -> Iterator[Finding]:
    """Products with a thin side, below 60 % of both roofs; ceiling: all but the nearer roof."""
    if case.peaks is None:
        return
    sites = case.sites(_skinny(case))
    judged = case.verdicts(sites)
    for number, site in enumerate(sites):
        verdict = judged[number]
        if verdict.roof_ns is None or (verdict.roof_percent or 100) >= INEFFICIENT:
            continue
        signature = case.signature(int(site.parts[0]))
        yield case.finding(
            SKINNY_PRODUCT,
            site.frame,
            f"{signature.op} in {case.function(site.frame)} has a side of {_side(signature)}, too thin for BLAS",
            evidence=(
                f"{site.calls:,} calls take {time(site.self_ns)}, {time(verdict.roof_ns)} at the roof",
                f"{' and '.join(array(o) for o in signature.inputs)}: {verdict.roof_percent:.0f} % of the roof",
            ),
            ceiling_ns=verdict.judged_ns - verdict.roof_ns,
            confidence="low",
            why="thin products rarely reach a roof; whether several can be made one is not known",
            remedy="Put several together: a larger batch, or the heads or gates of a layer side by side in one matrix.",
            code="qkv = x @ np.concatenate([wq, wk, wv], axis=1)  # the weights once, not per call",
        )


def _misses_blas(signature: Signature) -> bool:
    arrays = [o for o in signature.inputs if o.is_array and o.shape]
    plain = (
        signature.op in PRODUCTS
        and len(arrays) > 1
        and not any(o.dtype == "object" for o in arrays)
    )
    return plain and arithmetic_dtype(signature) not in HAS_BLAS


def _side(signature: Signature) -> int:
    return min((size for o in signature.inputs if o.is_array for size in o.shape[-2:]), default=0)


def _skinny(case: Case) -> Mask:
    return case.where(lambda s: s.op in PRODUCTS and not _misses_blas(s) and 0 < _side(s) < SKINNY)

"""Nominal roofs of devices: what their makers write, for traces of devices that are not here.

Nobody reaches these figures: they are clock rates times units. What is judged by them is labelled *nominal*. Only
dense figures (without the factor of two of structured sparsity), only those that are sure; where one is missing,
there is no verdict by it. Rates of matrix units are those with accumulation in float32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NominalRoofs:
    """What one device can do at most, by its datasheet.

    Attributes:
        name: of the product.
        source: where the figures are from.
        gbps: bandwidth of its memory, 10⁹ bytes per second.
        vector_tflops: float32 outside of matrix units, 10¹² FLOPs per second; None: not listed.
        matrix_tflops: per dtype, of the matrix units, dense; ``tf32``: products of float32 that may be rounded.
    """

    name: str
    source: str
    gbps: float
    vector_tflops: float | None = None
    matrix_tflops: dict[str, float] = field(default_factory=dict)


def _both(tflops: float) -> dict[str, float]:
    """float16 and bfloat16 have the same rate."""
    return {"float16": tflops, "bfloat16": tflops}


_AMPERE = "NVIDIA A100 datasheet (2021)"
_HOPPER = "NVIDIA H100 datasheet (2024)"
_A100 = {"tf32": 156.0, **_both(312.0), "float64": 19.5}
_H100 = {"tf32": 494.7, **_both(989.4), "float8": 1978.9, "float64": 67.0}
_MI300X = {"float32": 163.4, "tf32": 653.7, **_both(1307.4), "float8": 2614.9, "float64": 163.4}

# What `cudaDeviceProp.name` (HIP: `hipDeviceProp_t.name`) is, or begins with. The first that fits counts.
_TABLE: tuple[tuple[str, NominalRoofs], ...] = (
    (r"Tesla V100-SXM[23]",
     NominalRoofs("V100 SXM2", "NVIDIA V100 datasheet (2020)", 900, 15.7, {"float16": 125.0})),
    (r"Tesla V100S-PCIE",
     NominalRoofs("V100S PCIe", "NVIDIA V100 datasheet (2020)", 1134, 16.4, {"float16": 130.0})),
    (r"Tesla V100-PCIE",
     NominalRoofs("V100 PCIe", "NVIDIA V100 datasheet (2020)", 900, 14.0, {"float16": 112.0})),
    (r"(NVIDIA )?A100-SXM4-80GB", NominalRoofs("A100 80GB SXM", _AMPERE, 2039, 19.5, _A100)),
    (r"(NVIDIA )?A100 80GB PCIe", NominalRoofs("A100 80GB PCIe", _AMPERE, 1935, 19.5, _A100)),
    (r"(NVIDIA )?A100-PG509-200",  # a board of 40 GB
     NominalRoofs("A100 40GB", "NVIDIA A100 datasheet (2020)", 1555, 19.5, _A100)),
    (r"(NVIDIA )?A100-(SXM4|PCIE)-40GB",
     NominalRoofs("A100 40GB", "NVIDIA A100 datasheet (2020)", 1555, 19.5, _A100)),
    (r"NVIDIA H100 80GB HBM3", NominalRoofs("H100 SXM", _HOPPER, 3350, 67.0, _H100)),
    (r"NVIDIA H100 PCIe",
     NominalRoofs("H100 PCIe", "NVIDIA H100 datasheet (2022)", 2039, 51.0,
                  {"tf32": 378.0, **_both(756.0), "float8": 1513.0})),
    (r"NVIDIA H200$", NominalRoofs("H200 SXM", "NVIDIA H200 datasheet (2024)", 4800, 67.0, _H100)),
    (r"NVIDIA B200",
     NominalRoofs("B200", "NVIDIA HGX B200 datasheet (2025), an eighth of the board", 8000, 75.0,
                  {"tf32": 1125.0, **_both(2250.0), "float8": 4500.0})),
    (r"NVIDIA L40S",
     NominalRoofs("L40S", "NVIDIA L40S datasheet (2023)", 864, 91.6,
                  {"tf32": 183.0, **_both(362.0), "float8": 733.0})),
    (r"NVIDIA L4$",
     NominalRoofs("L4", "NVIDIA L4 datasheet (2023)", 300, 30.3,
                  {"tf32": 60.0, **_both(121.0), "float8": 242.5})),
    (r"(Tesla|NVIDIA) T4$|Tesla T4",
     NominalRoofs("T4", "NVIDIA T4 product brief (2019)", 320, 8.1, {"float16": 65.0})),
    (r"NVIDIA A10$",
     NominalRoofs("A10", "NVIDIA A10 datasheet (2021)", 600, 31.2, {"tf32": 62.5, **_both(125.0)})),
    (r"NVIDIA A10G", NominalRoofs("A10G", "AWS G5 instances (2021): bandwidth alone", 600)),
    (r"NVIDIA GeForce RTX 3090$",
     NominalRoofs("RTX 3090", "NVIDIA GA102 whitepaper (2020)", 936, 35.6, {"tf32": 35.6, **_both(71.0)})),
    (r"NVIDIA GeForce RTX 4090$",
     NominalRoofs("RTX 4090", "NVIDIA Ada whitepaper (2022)", 1008, 82.6,
                  {"tf32": 82.6, **_both(165.2), "float8": 330.3})),
    (r"AMD Instinct MI250X",
     NominalRoofs("MI250X, one of its two dies", "AMD MI250X datasheet (2021), halved", 1638, 23.9,
                  {"float32": 47.9, **_both(191.5), "float64": 47.9})),
    (r"AMD Instinct MI300X", NominalRoofs("MI300X", "AMD MI300X datasheet (2023)", 5300, 163.4, _MI300X)),
    (r"AMD Instinct MI325X", NominalRoofs("MI325X", "AMD MI325X datasheet (2024)", 6000, 163.4, _MI300X)),
)  # fmt: skip


def nominal_roofs(model: str | None) -> NominalRoofs | None:
    """Return the nominal roofs of a device by the name that its driver gives; None: not known here.

    Args:
        model: as in ``deviceProperties`` of torch.profiler's header.

    Example:
        >>> nominal_roofs("NVIDIA H100 80GB HBM3").gbps, nominal_roofs("NVIDIA X9000")
        (3350, None)
    """
    if model is None:
        return None
    for pattern, roofs in _TABLE:
        if re.match(pattern, model):
            return roofs
    return None

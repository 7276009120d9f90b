"""How long calls took, of any number of them in bounded memory: counts in buckets that grow by a constant factor.

The DDSketch of Masson, Rim and Lee ("DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019), without its limit on the number of buckets: durations are 64-bit integers, of which there
are 2,185 at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR = 0.01
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)  # from one bucket's end to the next one's
_LOG_GROWTH = math.log(GROWTH)
WIDTH = 4096  # more than there are buckets: bucket and group in one number


@dataclass(frozen=True, slots=True)
class Sketch:
    """Durations, as counts by bucket: bucket b holds those in (`GROWTH`ᵇ⁻¹, `GROWTH`ᵇ] ns, 0 ns counts as 1.

    Adding is exact, associative and commutative.

    Example:
        >>> both = sketch_of([100, 200]) + sketch_of([300])
        >>> both.count, round(both.quantile(0.5))
        (3, 198)
    """

    buckets: dict[int, int] = field(default_factory=dict)

    def __add__(self, other: Sketch) -> Sketch:
        """Return the sketch of the durations of both."""
        buckets = dict(self.buckets)
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
        return Sketch(buckets)

    @property
    def count(self) -> int:
        """How many durations."""
        return sum(self.buckets.values())

    def quantile(self, q: float) -> float | None:
        """Return the duration, ns, that a share of them did not exceed; None: there are none.

        It is within 1 % (`RELATIVE_ERROR`) of the ⌈q·n⌉-th smallest duration.

        Args:
            q: 0…1; 0.5 is the median.
        """
        rank, seen = max(1, math.ceil(q * self.count)), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                # As far from the bucket's beginning as from its end, relative to either.
                return float(2 * GROWTH**bucket / (GROWTH + 1))
        return None

    def to_json(self) -> dict[str, int]:
        """Return counts by bucket, in order."""
        return {str(bucket): self.buckets[bucket] for bucket in sorted(self.buckets)}


def sketch_of(durations_ns: Any) -> Sketch:
    """Return the sketch of some durations, ns."""
    values = np.asarray(durations_ns, "i8")
    return next(sketches(np.zeros(len(values), "i8"), 1, values))


def sketches(ids: NDArray[np.int64], count: int, durations_ns: Any) -> Iterator[Sketch]:
    """Yield the sketch of each group of durations.

    Args:
        ids: per duration the number of its group.
        count: how many groups.
        durations_ns: integers.
    """
    values = np.maximum(np.asarray(durations_ns, "f8"), 1.0)
    bucket = np.ceil(np.log(values) / _LOG_GROWTH - 1e-9).astype(
        "i8"
    )  # an exact power is in its own
    codes = np.sort(ids * WIDTH + bucket)
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    counts = np.diff(begins, append=len(codes)).tolist()
    found: list[dict[int, int]] = [{} for _ in range(count)]
    for code, n in zip(codes[begins].tolist(), counts, strict=True):
        found[code // WIDTH][code % WIDTH] = n
    return map(Sketch, found)

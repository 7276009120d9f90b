"""What to record, and where to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinytrace.errors import UsageError
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES

SAMPLERS = ("thread", "py-spy", "none")
HARDWARE = ("auto", "on", "off")
MAX_RATE_HZ = 10_000


@dataclass(frozen=True)
class Options:
    """What to record and where to.

    Attributes:
        output: the trace file; the run folder lies beside it until the trace is written.
        rate_hz: samples per second, 1…10,000.
        sampler: ``thread`` (a thread of this process), ``py-spy`` (from outside), ``none``.
        native: with py-spy: C frames too.
        budget_bytes: size that the trace file should not exceed.
        disk_limit_bytes: what the files of a process take at most while recording.
        ops: record NumPy's operations.
        children: record the processes that the program starts.
        hardware_counters: read those of the CPU: ``auto`` (where it is safe and cheap), ``on``, ``off``.
        steps: of torch's operations, only those of these steps of the optimizer, the second number not included; None:
            from the beginning, as many as a bound allows.
    """

    output: Path
    rate_hz: float = 1000.0
    sampler: str = "thread"
    native: bool = False
    budget_bytes: int = 200_000_000
    disk_limit_bytes: int = 2_000_000_000
    ops: bool = True
    children: bool = True
    hardware_counters: str = "auto"
    steps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without doing anything.

        Raises:
            UsageError: a value that makes no sense.
        """
        if self.sampler not in SAMPLERS:
            raise UsageError(f"no such sampler: {self.sampler}; there are {', '.join(SAMPLERS)}")
        if self.hardware_counters not in HARDWARE:
            raise UsageError(
                f"hardware_counters must be {', '.join(HARDWARE)}, not {self.hardware_counters}"
            )
        if not 1 <= self.rate_hz <= MAX_RATE_HZ:
            raise UsageError(f"the rate must be 1 to {MAX_RATE_HZ} Hz, not {self.rate_hz:g}")
        if self.steps is not None and not 0 <= self.steps[0] < self.steps[1]:
            raise UsageError(
                f"steps go from one number to a greater one, not {self.steps[0]}:{self.steps[1]}"
            )
        if self.disk_limit_bytes < MIN_DISK_LIMIT_BYTES:
            least = f"{MIN_DISK_LIMIT_BYTES:,} bytes"
            raise UsageError(
                f"the disk limit must be at least {least}, not {self.disk_limit_bytes:,}"
            )

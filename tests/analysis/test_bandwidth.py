"""The sweep, on a machine whose bandwidths are known; and its forms, on NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytrace.analysis import bandwidth
from tinytrace.analysis.bandwidth import BLAS_FORMS, FORMS, Buffer, Cache, footprints, plateaus
from tinytrace.analysis.counting import count
from tinytrace.analysis.peaks import Level
from tinytrace.analysis.probes import Probe, Stopwatch, Timed
from tinytrace.tracer.trace import Operand, Signature

KIB, MIB, GIB = 2**10, 2**20, 2**30
CACHES: tuple[Cache, ...] = (("L1", 32 * KIB), ("L2", MIB), ("L3", 16 * MIB))
GBPS = {"L1": 400.0, "L2": 200.0, "L3": 80.0, "DRAM": 16.0}


class FakeMachine:
    """A clock that forms move: a call costs a dispatch, and its bytes at the bandwidth of their level."""

    def __init__(self, dispatch_ns: float = 200.0, caches: Sequence[Cache] = CACHES) -> None:
        self.now_ns = 0.0
        self.dispatch_ns = dispatch_ns
        self.caches = caches

    def clock(self) -> int:
        return round(self.now_ns)

    def gbps(self, footprint_bytes: int) -> float:
        name = next((n for n, size in self.caches if footprint_bytes <= size), "DRAM")
        return GBPS[name]

    def form(self, name: str, share: float) -> Callable[[Buffer, int], Probe]:
        """A form that reaches this share of the bandwidth."""

        def make(buffer: Buffer, footprint_bytes: int) -> Probe:
            def call() -> None:
                self.now_ns += (
                    self.dispatch_ns + footprint_bytes / self.gbps(footprint_bytes) / share
                )

            return Probe(name, footprint_bytes, call, footprint_bytes)

        return make

    def sweep(
        self, told: Sequence[Cache], largest: int = GIB, *, quick: bool = False
    ) -> list[Timed]:
        forms = [self.form("copy", 0.6), self.form("scale in place", 1.0), self.form("dot", 0.9)]
        sizes = footprints(told, largest, quick=quick)
        probes = bandwidth.probes(forms, sizes, np.empty(0))
        [timed] = Stopwatch(3, 100_000, self.clock).time([(1, probes)])
        return timed


def by_name(levels: Sequence[Level]) -> dict[str, Level]:
    return {level.name: level for level in levels}


@pytest.mark.parametrize("quick", [False, True])
def test_the_bandwidth_of_each_level_is_found(quick: bool) -> None:
    machine = FakeMachine(dispatch_ns=2.0)
    levels, notes = bandwidth.levels(machine.sweep(CACHES, quick=quick), CACHES, 2.0)
    assert notes == []
    assert [(level.name, level.size_bytes) for level in levels] == [*CACHES, ("DRAM", None)]
    for level in levels:
        assert level.gbps is not None
        assert level.gbps.value == pytest.approx(GBPS[level.name], rel=0.05)
        assert level.gbps.value <= GBPS[level.name]
        assert level.resolvable


def test_each_form_is_told_and_blas_apart() -> None:
    machine = FakeMachine(dispatch_ns=2.0)
    levels, _ = bandwidth.levels(machine.sweep(CACHES), CACHES, 2.0)
    memory = by_name(levels)["DRAM"]
    assert {name: round(peak.value, 1) for name, peak in memory.forms.items()} == {
        "copy": 9.6, "scale in place": 16.0, "dot": 14.4,
    }  # fmt: skip
    assert memory.blas_gbps == memory.forms["dot"]
    assert memory.gbps == memory.forms["scale in place"]


def test_a_level_that_calling_numpy_hides_is_not_resolvable_and_its_figure_a_lower_bound() -> None:
    machine = FakeMachine(dispatch_ns=300.0)
    levels, notes = bandwidth.levels(machine.sweep(CACHES), CACHES, 300.0)
    found = by_name(levels)
    assert [level.name for level in levels if not level.resolvable] == ["L1"]
    assert found["L1"].gbps is not None
    assert found["L1"].gbps.value < GBPS["L1"]
    assert notes == ["L1 is not resolvable: calling NumPy takes longer than what it holds"]


def test_footprints_that_lie_in_the_next_smaller_cache_in_good_part_do_not_count() -> None:
    def timed(footprint: int, gbps: float) -> Timed:
        probe = Probe("copy", footprint, lambda: None, footprint)
        return Timed(probe, (footprint / gbps,))

    points = [timed(MIB, 200), timed(2 * MIB, 150), timed(4 * MIB, 81), timed(8 * MIB, 80)]
    points += [timed(32 * MIB, 50), timed(64 * MIB, 16), timed(91 * MIB, 15)]
    levels, _ = bandwidth.levels(points, CACHES[1:], 1.0)
    assert [round(level.gbps.value) for level in levels if level.gbps] == [200, 81, 16]


def test_little_memory_means_fewer_levels_and_says_so() -> None:
    machine = FakeMachine(dispatch_ns=2.0)
    levels, notes = bandwidth.levels(machine.sweep(CACHES, 63 * MIB), CACHES, 2.0)
    assert by_name(levels)["DRAM"].gbps is None
    assert not by_name(levels)["DRAM"].resolvable
    assert notes == [
        "memory bandwidth was not measured: 4 times the last cache is more than may be taken of the free memory"
    ]


def test_where_the_system_tells_no_caches_the_plateaus_are_the_levels() -> None:
    machine = FakeMachine(dispatch_ns=2.0)
    levels, notes = bandwidth.levels(machine.sweep(()), (), 2.0)
    assert len(notes) == 1
    assert [level.name for level in levels] == ["L1", "L2", "L3", "DRAM"]
    for level, (_, size) in zip(levels, CACHES, strict=False):
        assert level.size_bytes is not None
        assert size / 1.5 <= level.size_bytes <= size
    for level in levels:
        assert level.gbps is not None
        assert level.gbps.value == pytest.approx(GBPS[level.name], rel=0.05)


def test_levels_are_named_from_memory_up_where_one_is_hidden() -> None:
    levels, _ = bandwidth.levels(FakeMachine(300.0).sweep(()), (), 300.0)
    assert [level.name for level in levels] == ["L2", "L3", "DRAM"]


def test_nothing_measured_is_nothing_known() -> None:
    levels, notes = bandwidth.levels([], CACHES, 100.0)
    assert [level.gbps for level in levels] == [None] * 4
    assert len(notes) == 1


@given(
    st.lists(st.tuples(st.integers(3, 8), st.floats(1.4, 5)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_plateaus_are_found_under_noise(steps: list[tuple[int, float]], random: object) -> None:
    rate, curve, ends = 1000.0, list[float](), list[int]()
    for length, ratio in steps:
        curve += [rate * random.uniform(0.97, 1.03) for _ in range(length)]  # type: ignore[attr-defined]
        ends.append(len(curve))
        rate /= ratio
    assert plateaus(curve) == ends


def test_the_slope_between_two_plateaus_is_no_plateau() -> None:
    assert plateaus([200, 200, 200, 130, 80, 80, 80]) == [3, 7]
    assert plateaus([]) == []
    assert plateaus([5.0]) == [1]


def test_the_full_sweep_goes_from_8_kb_to_beyond_four_times_the_last_cache() -> None:
    sizes = footprints(CACHES, GIB, quick=False)
    assert sizes[0] < 12 * KIB
    assert 64 * MIB in sizes
    assert sizes[-1] > 64 * MIB
    assert all(b / a < 1.5 for a, b in itertools.pairwise(sizes))
    assert footprints(CACHES, 10 * MIB, quick=False)[-1] <= 10 * MIB
    assert footprints((), GIB, quick=True)[-1] == 256 * MIB


# The operands of the forms, as they would be recorded: n elements of float64 each; and which are the same.
SIGNATURES = {
    "copy": ("copyto", (-1, -1), 1),
    "add": ("add", (-1, -1, -1), 2),
    "sum": ("add.reduce", (-1,), 1),
    "max": ("maximum.reduce", (-1,), 1),
    "scale in place": ("multiply", (-1, 0), 1),
    "add in place": ("add", (-1, -1, 0), 2),
    "dot": ("dot", (-1, -1), 2),
}


@pytest.mark.parametrize("form", [*FORMS, BLAS_FORMS[0]], ids=lambda form: form.__name__)
def test_bytes_are_counted_as_those_of_ops_are(form: Callable[[Buffer, int], Probe]) -> None:
    footprint = 48 * KIB
    probe = form(bandwidth.aligned(footprint), footprint)
    op, aliases, n_inputs = SIGNATURES[probe.name]
    arrays = len({i if alias < 0 else alias for i, alias in enumerate(aliases)})
    operand = Operand("float64", (footprint // 8 // arrays,))
    operands = [Operand("float64", operand.shape, alias=alias) for alias in aliases]
    scalar = [Operand("float64", ())] if op.endswith("reduce") or op == "dot" else []
    counts = count(Signature(op, (*operands, *scalar), n_inputs))
    assert counts.bytes_read is not None
    assert counts.bytes_written is not None
    written = counts.bytes_written - 8 * len(scalar)  # the result of a sum is not worth counting
    assert probe.work == counts.bytes_read + written


@pytest.mark.parametrize("form", [*FORMS, *BLAS_FORMS], ids=lambda form: form.__name__)
def test_forms_run_at_any_footprint_within_their_memory(
    form: Callable[[Buffer, int], Probe],
) -> None:
    buffer = bandwidth.aligned(64 * KIB)
    for footprint in (8 * KIB, 33_333, 64 * KIB):
        probe = form(buffer, footprint)
        probe.call()
        assert 0.9 * footprint < probe.work <= 2.1 * footprint
    assert np.isfinite(buffer).all()


def test_memory_begins_at_a_page_and_is_written() -> None:
    buffer = bandwidth.aligned(10_000)
    assert buffer.ctypes.data % 4096 == 0
    assert buffer.nbytes == 10_000
    assert (buffer == 1.0).all()

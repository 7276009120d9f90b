"""Our figures are those that other programs find, where these are exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.agreement_flops import CASES, EVALUATIONS, torch_flops
from benchmarks.agreement_memory import peaks
from tests.cores import CORES, core
from tinytrace.toolkit.flops import count_flops

OBJECTS = (
    300 * 200
)  # bytes at most of arrays' own objects: some hundred arrays, none larger than 200 bytes


@pytest.mark.parametrize("recorder", CORES)
@pytest.mark.parametrize("name", CASES)
def test_flops_are_those_of_a_sum_by_hand_and_products_those_of_torchs_counter(
    name: str, recorder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # which torch's counter else sets
    case = CASES[name]
    with core(recorder):
        found = count_flops(case.model)
    assert found == case.by_hand
    assert found.by_op["matmul"] == torch_flops(case)
    assert found.transcendentals == (EVALUATIONS if name == "attention" else 0)


def test_the_peak_of_array_memory_is_what_memray_saw_allocated(tmp_path: Path) -> None:
    if "c" not in CORES:  # only tracemalloc can tell then, which memray's own records are among
        return
    ours, theirs = peaks("training", tmp_path / "training.bin")
    assert ours > 100_000_000
    # memray sees the objects of arrays as well, and not the few bytes that NumPy keeps for small arrays.
    assert abs(theirs - ours) <= OBJECTS

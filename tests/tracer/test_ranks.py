"""Which rank of a job a process is, and where its trace goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinytrace.tracer.communication_names import ranks_of, ranks_text
from tinytrace.tracer.ranks import clock_domain, entries, file_of_rank, monotonic_offset_ns, rank_of


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8"}, "torchrun"),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8"}, "Open MPI"),
        ({"PMI_RANK": "3", "PMI_SIZE": "8"}, "PMI"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, "Slurm"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "8"}, "Slurm"),
    ],
)
def test_every_launcher_says_which_rank_it_has_started(
    environment: dict[str, str], launcher: str
) -> None:
    assert rank_of(environment) == {"rank": 3, "world_size": 8, "launcher": launcher}


def test_torchrun_inside_of_srun_is_what_the_program_goes_by() -> None:
    environment = {"RANK": "5", "WORLD_SIZE": "16", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}
    found = rank_of(environment)
    assert found is not None
    assert found["rank"] == 5


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "3"},
        {"RANK": "8", "WORLD_SIZE": "8"},
        {"RANK": "-1", "WORLD_SIZE": "8"},
        {"RANK": "1e9", "WORLD_SIZE": "many"},
        {"RANK": "0", "WORLD_SIZE": "99999999999"},
        {"RANK": "0", "WORLD_SIZE": "1"},
    ],
)
def test_nonsense_and_a_job_of_one_are_no_ranks(environment: dict[str, str]) -> None:
    assert rank_of(environment) is None


def test_a_folder_gets_a_file_per_rank(tmp_path: Path) -> None:
    job = {"RANK": "0", "WORLD_SIZE": "2"}
    assert file_of_rank(str(tmp_path), job) == tmp_path / "trace-rank0.json"
    assert file_of_rank(str(tmp_path), {}) == tmp_path


def test_a_time_namespace_is_noticed(tmp_path: Path) -> None:
    offsets = tmp_path / "timens_offsets"
    offsets.write_text("monotonic        3600         5\nboottime            0         0\n")
    assert monotonic_offset_ns(offsets) == 3600 * 10**9 + 5
    assert monotonic_offset_ns(tmp_path / "not there") == 0
    assert clock_domain()["host"]


def test_a_launcher_that_was_recorded_has_the_ranks_as_its_children() -> None:
    metas = [{}, *({"rank": {"rank": r, "world_size": 2}} for r in (0, 1)), {"rank": {"rank": 1}}]
    found = entries(metas, [-1, 0, 0, 2])
    assert [(e["rank"], e["process"], e["processes"]) for e in found] == [
        (0, 1, [1]),
        (1, 2, [2, 3]),
    ]


def test_ranks_as_text_come_back() -> None:
    for ranks in ((), (0,), (0, 1, 2), (5, 3, 4), tuple(range(0, 40, 3))):
        assert ranks_of(ranks_text(ranks)) == ranks

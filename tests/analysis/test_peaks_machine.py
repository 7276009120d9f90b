"""What roofs hold for: found out here, in folders like those of Linux, and from answers like those of macOS."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytrace.analysis.peaks_machine import Machine, cache_sizes, caches_by_sysctl, caches_in
from tinytrace.tracer.machine import machine, numerics, usable_cpus
from tinytrace.tracer.trace import Trace

HERE = Machine.here()


def cpu_folder(folder: Path, *caches: tuple[str, str, str], cpu: str = "cpu0") -> Path:
    """A folder like /sys/devices/system/cpu, with (level, type, size)."""
    for i, (level, kind, size) in enumerate(caches):
        index = folder / cpu / "cache" / f"index{i}"
        index.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (index / name).write_text(f"{text}\n")
    return folder


def test_linux_tells_the_data_caches_of_a_core(tmp_path: Path) -> None:
    folder = cpu_folder(
        tmp_path, ("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"),
        ("3", "Unified", "32M"), ("4", "Unified", "128M"),
    )  # fmt: skip
    assert caches_in(folder) == (("L1", 48 << 10), ("L2", 1 << 20), ("L3", 32 << 20))


def test_a_machine_without_a_third_level_has_two(tmp_path: Path) -> None:
    folder = cpu_folder(tmp_path, ("1", "Data", "32K"), ("2", "Unified", "512K"))
    assert caches_in(folder) == (("L1", 32 << 10), ("L2", 512 << 10))


def test_the_first_cpu_that_is_described_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu0").mkdir()
    assert caches_in(cpu_folder(tmp_path, ("1", "Data", "32K"), cpu="cpu1")) == (("L1", 32 << 10),)


@pytest.mark.parametrize(
    "size", ["", "K", "-1K", "0K", "lots", "1e3K", "9" * 40 + "K", "٣K", "32 K"]
)
def test_sizes_that_make_no_sense_are_not_known(size: str, tmp_path: Path) -> None:
    folder = cpu_folder(tmp_path, ("1", "Data", size), ("2", "Unified", "1M"))
    assert caches_in(folder) == (("L2", 1 << 20),)


def test_a_cache_that_is_smaller_than_the_one_before_is_none(tmp_path: Path) -> None:
    folder = cpu_folder(
        tmp_path, ("1", "Data", "1M"), ("2", "Unified", "512K"), ("3", "Unified", "4M")
    )
    assert caches_in(folder) == (("L1", 1 << 20), ("L3", 4 << 20))


def test_no_folder_no_caches(tmp_path: Path) -> None:
    assert caches_in(tmp_path / "nothing") == ()
    (tmp_path / "cpu0" / "cache" / "index0").mkdir(parents=True)
    assert caches_in(tmp_path) == ()


def test_macos_tells_those_of_the_fast_cores() -> None:
    silicon = {"hw.perflevel0.l1dcachesize": "131072\n", "hw.l1dcachesize": "65536\n",
               "hw.perflevel0.l2cachesize": "16777216\n"}  # fmt: skip
    assert caches_by_sysctl(lambda name: silicon.get(name, "")) == (
        ("L1", 131072),
        ("L2", 16777216),
    )
    intel = {"hw.l1dcachesize": "32768", "hw.l2cachesize": "262144", "hw.l3cachesize": "12582912"}
    assert [size for _, size in caches_by_sysctl(lambda name: intel.get(name, ""))] == [
        32768, 262144, 12582912,
    ]  # fmt: skip


def test_this_machine_has_caches_that_grow() -> None:
    sizes = [size for _, size in cache_sizes()]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "rubbish"}, None),
        ({"cpu.max": "-1 0"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_cpus_are_those_of_the_affinity_and_the_quota(
    files: dict[str, str], cpus: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert usable_cpus(tmp_path) == (cpus or usable_cpus(tmp_path / "nothing"))


def test_numerics_are_those_of_this_process() -> None:
    found = numerics()
    assert found["numpy"] == np.__version__
    assert found["threads"] >= 1


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "another"}, {"architecture": "riscv"}, {"cpus": 999}, {"caches": ()},
        {"numpy": "0.1"}, {"blas": "another"}, {"threads": 999},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_the_fingerprint_is_another_for_any_other_machine(change: dict[str, Any]) -> None:
    assert replace(HERE, **change).fingerprint != HERE.fingerprint
    assert Machine.here().fingerprint == HERE.fingerprint
    assert len(HERE.fingerprint) == 16


def test_a_trace_of_this_machine_has_its_fingerprint() -> None:
    trace = Trace(meta={"machine": machine(), "numerics": numerics()})
    assert Machine.of(trace) == HERE
    other = Trace(meta={"machine": machine(), "numerics": {**numerics(), "threads": 77}})
    assert Machine.of(other) == replace(HERE, threads=77)


@pytest.mark.parametrize(
    "meta",
    [
        {}, {"machine": None}, {"machine": {**machine(), "cpu": "another"}}, {"numerics": None},
        {"numerics": {}}, {"numerics": {**numerics(), "threads": 0}}, {"numerics": {**numerics(), "threads": True}},
        {"numerics": {**numerics(), "threads": "2"}}, {"machine": {**machine(), "usable_cpus": None}},
    ],
)  # fmt: skip
def test_a_trace_of_another_machine_or_none_has_none_here(meta: dict[str, Any]) -> None:
    whole = {"machine": machine(), "numerics": numerics()}
    assert Machine.of(Trace(meta={**whole, **meta} if meta else {})) is None


def test_nothing_is_asked_of_sysctl_on_linux() -> None:
    assert sys.platform != "linux" or cache_sizes() == caches_in(Path("/sys/devices/system/cpu"))

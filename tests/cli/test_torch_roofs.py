"""`python -m tinytrace calibrate --torch`, and the same after a program has ended; with roofs that are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tinytrace as tt
from tests.cli.commands import run_commands
from tests.peaks_by_hand import PEAKS
from tinytrace.analysis import peaks_cache
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.reader import load
from tinytrace.analysis.torch_devices import torch_threads
from tinytrace.analysis.torch_machine import TorchMachine
from tinytrace.analysis.torch_measure import machines_here
from tinytrace.cli.elsewhere import Elsewhere
from tinytrace.cli.quick_peaks import quick_torch_peaks

THREADS = 5  # no other test measures so many


@pytest.fixture
def kept() -> Iterator[TorchMachine]:
    """Roofs of the CPU with this number of threads, made by hand and kept."""
    with torch_threads(THREADS):
        (place, *_) = machines_here()
    roofs = replace(
        PEAKS, fingerprint=place.fingerprint, machine=place.described(), threads=THREADS
    )
    path = peaks_cache.store(roofs)
    yield place
    path.unlink()


def test_kept_roofs_are_printed_and_told_per_device(kept: TorchMachine, tmp_path: Path) -> None:
    command = ["calibrate", "--torch", "--threads", str(THREADS)]
    table, as_json, picture = run_commands(
        [command, [*command, "--json"], [*command, "--plot", "roofs.png"]], tmp_path
    )
    assert table.code == 0
    words = " ".join(table.out.split())
    assert f"PyTorch {torch.__version__}, threads: {THREADS}" in words
    assert "the cost of calling PyTorch hides the rest" in words
    found = {device: Peaks.from_json(told) for device, told in json.loads(as_json.out).items()}
    assert found["cpu"].fingerprint == kept.fingerprint
    assert found["cpu"].gemm_gflops == PEAKS.gemm_gflops
    assert (picture.code, picture.out) == (2, "")
    assert "leave --torch or --plot out" in picture.line


def test_a_fresh_interpreter_tells_the_roofs_of_what_the_program_had(kept: TorchMachine) -> None:
    elsewhere = Elsewhere(sys.executable, dict(os.environ))
    places = [kept, replace(kept, device="cuda:0", name="a GPU that is not here any more")]
    [(device, found)] = quick_torch_peaks(places, elsewhere).items()
    assert (device, found.gemm_gflops) == ("cpu", PEAKS.gemm_gflops)
    with pytest.raises(RuntimeError, match="not known"):
        quick_torch_peaks([], elsewhere)


def test_a_recorded_program_that_ran_torch_has_its_roofs(
    kept: TorchMachine, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(
        f"import torch, numpy, tinytrace as tt\ntorch.set_num_threads({THREADS})\n"
        "with tt.op('aten::mm'):\n    torch.ones(3, 3) @ torch.ones(3, 3)\n"
    )
    command = [sys.executable, "-m", "tinytrace", "-o", "trace.json", "train.py"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    roofs = Peaks.of(load(tmp_path / "trace.json"))
    assert roofs is not None
    assert roofs.torch["cpu"].fingerprint == kept.fingerprint
    assert roofs.gemm_gflops != roofs.torch["cpu"].gemm_gflops


def test_a_recording_says_which_torch_the_program_had() -> None:
    with tt.Profiler(sampler="none") as profiler:
        torch.ones(3)
    told = profiler.trace.meta["torch"]
    assert told == {
        "torch": torch.__version__, "threads": torch.get_num_threads(), "devices": [],
    }  # fmt: skip

"""Roofs into a trace, or a warning that says why there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import tinytrace as tt
from tests.builders import trace_of
from tests.peaks_by_hand import roofs
from tinytrace.analysis import peaks_cache
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.peaks_attach import ADVICE, NOT_KNOWN, with_peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.tracer.machine import machine, numerics
from tinytrace.tracer.trace import Trace

OWN = replace(
    trace_of("add[9,9->9]:5"),
    meta={"machine": machine(), "numerics": {**numerics(), "threads": 55}},
)
HERE = replace(Machine.here(), threads=55)


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def measured(here: Machine) -> Peaks:
    return roofs(here.fingerprint, here.threads)


def refuses(here: Machine) -> Peaks:
    raise AssertionError("measured although some are kept")


def test_kept_ones_are_taken() -> None:
    peaks_cache.store(measured(HERE))
    trace = with_peaks(OWN, refuses)
    assert Peaks.of(trace) == measured(HERE)
    assert trace.warnings == ()
    assert OWN.meta.keys() == {"machine", "numerics"}


def test_else_they_are_measured_for_the_threads_that_the_program_had() -> None:
    assert Peaks.of(with_peaks(OWN, measured)) == measured(HERE)


def test_nothing_kept_and_nobody_to_measure_is_said_with_what_to_do() -> None:
    assert with_peaks(OWN) == replace(OWN, warnings=(f"{NOT_KNOWN}: {ADVICE}",))


def test_whatever_goes_wrong_is_said() -> None:
    def fails(here: Machine) -> Peaks:
        raise OSError(11, "no more processes")

    assert with_peaks(OWN, fails).warnings == (f"{NOT_KNOWN}: [Errno 11] no more processes",)


def test_roofs_of_another_machine_are_not_measured_here() -> None:
    other = replace(OWN, meta={**OWN.meta, "machine": {**machine(), "cpu": "another"}})
    trace = with_peaks(other, refuses)
    assert trace.warnings == (f"{NOT_KNOWN}: it is another one than this",)


def test_a_trace_without_numpy_stays_as_it_is() -> None:
    assert with_peaks(Trace(), refuses) == Trace()


def test_an_unknown_blas_is_taken_for_the_one_that_is_here_and_that_is_said() -> None:
    trace = with_peaks(replace(OWN, meta={"machine": machine()}), measured)
    assert Peaks.of(trace) == measured(Machine.here())
    [warning] = trace.warnings
    assert warning.endswith(f"taken for those found later, BLAS threads: {Machine.here().threads}")


def test_recording_inside_a_program_takes_kept_roofs_and_measures_nothing(tmp_path: Path) -> None:
    import numpy as np

    with tt.trace(sampler="none") as recording:
        np.add(np.ones(3), 1)
    assert recording.result is not None
    about_roofs = [text for text in recording.result.warnings if text.startswith(NOT_KNOWN)]
    assert about_roofs == [f"{NOT_KNOWN}: {ADVICE}"]
    peaks_cache.store(measured(Machine.here()))
    with tt.trace(sampler="none") as recording:
        np.add(np.ones(3), 1)
    assert recording.result is not None
    assert Peaks.of(recording.result) == measured(Machine.here())

"""``report``, ``roofline``, ``diff`` and ``export`` on every real trace of torch.profiler."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.device_events import launched, op, trace_of_events
from tests.kineto_files import ALL, ROOT, WITH_DEVICES, loaded
from tinytrace.analysis.diff import diff
from tinytrace.analysis.report import report_of
from tinytrace.analysis.roofline_points import roofline_of
from tinytrace.cli.diff_text import print_diff
from tinytrace.cli.report_text import print_report
from tinytrace.cli.roofline_plot import draw
from tinytrace.cli.roofline_text import print_roofline
from tinytrace.exporters import export
from tinytrace.exporters.html import content_of, html_page
from tinytrace.exporters.registry import BUILT_IN_SUFFIXES
from tinytrace.tracer.trace import Trace

SMALL = ("hta_simple_add", "tracelens_h100_bert_small")


def report_text(trace: Trace) -> str:
    file = io.StringIO()
    print_report(report_of(trace), file)
    return file.getvalue()


def roofline_text(trace: Trace) -> str:
    file = io.StringIO()
    print_roofline(roofline_of(trace, 20), file)
    return file.getvalue()


@pytest.mark.parametrize("name", ALL)
def test_the_report_of_a_real_trace_begins_with_its_devices(name: str) -> None:
    report = report_of(loaded(name))
    text = report_text(loaded(name))
    assert bool(report.devices) == (name in WITH_DEVICES)
    if report.devices is None:
        assert "no work of a GPU is in it" in text
        return
    lines = text.splitlines()
    first = [line for line in lines[:3] if line.startswith("GPU ")]
    assert len(first) == len(report.devices.sections)
    assert ("Roofs are NOMINAL, not measured" in text) == ("sampled" not in name)
    assert "nan" not in text
    page = html_page(content_of(loaded(name), name)).decode()
    assert "Where the time of the GPUs went" in page
    assert "Times and roofs are measured" not in page


@pytest.mark.parametrize("name", ALL)
def test_the_roofline_of_a_real_trace_is_of_its_device_and_says_that_its_roofs_are_nominal(
    name: str,
) -> None:
    text = roofline_text(loaded(name))
    if name not in WITH_DEVICES:
        assert "No roofs" in text
    elif "sampled" in name:
        assert "No roofs: no datasheet of GPU" in text
    else:
        assert text.startswith("Roofline of GPU")
        assert "Roofs are NOMINAL, not measured" in text


def test_what_the_first_lines_say_of_a_launch_bound_device() -> None:
    lines = report_text(loaded("tracelens_h100_bert_small")).splitlines()
    assert lines[1] == (
        "GPU 0 (NVIDIA H100 80GB HBM3) works 7 % of a step (4.43 ms); it is launch-bound: 93 % it waits for the host "
        "(48 % in Python and waits, 45 % in torch's ops and launches)."
    )


def test_the_picture_of_a_device_is_drawn(tmp_path: Path) -> None:
    draw(roofline_of(loaded("tracelens_h100_bert_small")), tmp_path / "roofline.svg")
    text = (tmp_path / "roofline.svg").read_text()
    assert "NOMINAL" in text
    assert "989,400" in text


def test_the_comparison_of_the_real_pair_names_what_moved_its_device() -> None:
    found = diff(loaded("hta_diff_control"), loaded("hta_diff_test"))
    file = io.StringIO()
    print_diff(found, Path("before"), Path("after"), file)
    text = file.getvalue()
    assert (
        "Device: GPU 3 (NVIDIA A100-PG509-200) -> GPU 1 (Tesla V100-SXM2-16GB), a step 77.5 ms"
        in text
    )
    assert "The devices are different ones" in text
    assert "CompiledFunctionBackward" in text


@pytest.mark.parametrize("suffix", BUILT_IN_SUFFIXES)
@pytest.mark.parametrize("name", SMALL)
def test_every_format_takes_a_trace_with_devices(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace{suffix}"
    export(loaded(name), path)
    of_samples_alone = suffix in {".collapsed", ".folded"}  # of which there are none
    assert (path.stat().st_size > 0) != of_samples_alone


def test_a_device_that_is_not_known_is_named_and_not_judged() -> None:
    call = op("aten::mm", 0, 10, [512, 512], [512, 512])
    trace = trace_of_events(call, launched("gemm", 1, 20, 50), model="NVIDIA X9000")
    text = report_text(trace)
    assert "No verdicts on kernels: no datasheet of NVIDIA X9000 is known here." in text
    assert "No roofs: no datasheet of GPU 0 (NVIDIA X9000) is known here." in roofline_text(trace)


def test_the_manual_shows_what_the_report_says() -> None:
    manual = (ROOT / "docs" / "torch-traces.md").read_text(encoding="utf-8")
    shown = manual.partition("it begins:\n\n```\n")[2].partition("```")[0].splitlines()
    said = report_text(loaded("tracelens_h100_bert_small")).splitlines()
    assert len(shown) > 20
    assert shown == [line for line in said if not line.startswith("Warning: ")][: len(shown)]

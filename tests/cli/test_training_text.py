"""Counts of a training program in the report: as text, and for programs that grade."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from tests.contract.recorded import record
from tests.cores import CORES
from tests.frameworks.recording import anew, framework
from tinytrace.analysis.report import report_of
from tinytrace.cli.report_text import print_report
from tinytrace.tracer.trace import Trace

pytestmark = pytest.mark.usefixtures("anew")
__all__ = ["anew"]


def trained(*, with_conv: bool = False) -> Trace:
    def program() -> None:
        nn = framework("recursive")
        model, loss, conv = nn.Linear(3, 2), nn.Loss(), nn.Conv(3)
        optimizer = nn.SGD(model.parameters())
        for x in nn.Loader(np.ones((8, 3), np.float32), batch_size=4):
            loss(model(conv(x) if with_conv else x)).backward()
            optimizer.step()

    return record(CORES[0], program)


def text_of(trace: Trace) -> str:
    file = io.StringIO()
    print_report(report_of(trace), file)
    return file.getvalue()


def test_layers_nodes_and_calls_are_said() -> None:
    text = text_of(trained())
    assert "Layers by FLOPs (2 of 2)" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("Linear "))
    # 2 calls: forward 2 · (48 + 8), backward 2 · 96 FLOPs; 4 nodes.
    assert row == ["Linear", "Linear", "2", "112", "192", "4"]
    assert "Backward calls per node: 6 nodes, 6 calls." in text
    assert "4 calls of layers, 3 of loaders, 2 backward passes, 2 optimizer steps." in text


def test_a_layer_with_parameters_that_no_pass_came_to_has_a_0() -> None:
    text = text_of(trained(with_conv=True))
    row = next(line.split() for line in text.splitlines() if line.startswith("Conv "))
    assert row[-1] == "0"


def test_of_a_program_without_a_framework_nothing_is_said() -> None:
    trace = record(CORES[0], lambda: np.add(1, 2))
    assert "layers" not in text_of(trace).lower()
    assert report_of(trace).to_json()["training"] is None


def test_the_json_has_whole_numbers_that_another_run_has_as_well() -> None:
    one, other = (report_of(trained()).to_json()["training"] for _ in range(2))
    assert one == other == json.loads(json.dumps(one))
    assert one["backward_nodes"] == 6
    assert one["layers"][0]["path"] == "Linear"
    assert one["layers"][0]["backward"]["flops"] == 192
    assert all(type(value) is int for value in one["work"].values())

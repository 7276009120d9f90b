"""The snippets of the page that this project grew out of, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.toolkit.models import Network, Tensor, flops_of
from tinytrace import (
    MemoryTracker,
    Profiler,
    Timer,
    benchmark_suite,
    count_flops,
    measure_performance,
    plot_performance_comparison,
    profile,
)


def batch(samples: int = 16) -> Tensor:
    return Tensor(np.random.default_rng(3).standard_normal((samples, 64)))


@pytest.mark.parametrize("name", CORES)
def test_comprehensive_profiling(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with core(name):

        @profile
        def model_forward(model: Any, input: Any) -> None:
            with Timer() as t:  # noqa: SIM117
                with MemoryTracker() as m:
                    output = model(input)  # noqa: F841

            print(f"Time: {t.elapsed}ms")
            print(f"Memory: {m.peak_usage}MB")
            print(f"FLOPs: {count_flops(model, input)}")

        model_forward(Network(), batch())
    out, err = capsys.readouterr()
    time, memory, flops = out.splitlines()
    assert float(re.fullmatch(r"Time: (.+)ms", time)[1]) > 0  # type: ignore[index]
    # At least both hidden arrays of 16 x 32 floats at a time.
    assert float(re.fullmatch(r"Memory: (.+)MB", memory)[1]) >= 2 * 16 * 32 * 4 / 1e6  # type: ignore[index]
    assert flops == f"FLOPs: {flops_of(16) / 1e3:.3g} kFLOPs"
    assert "matmul" in err


def test_bottleneck_identification(capsys: pytest.CaptureFixture[str]) -> None:
    model, data_loader = Network(), [batch(512)] * 50
    profiler = Profiler()
    with profiler:
        model.train(data_loader)

    profiler.print_top_operations(n=10)
    lines = capsys.readouterr().out.splitlines()
    shares = [int(re.match(r"(\d+)% - \w", line)[1]) for line in lines]  # type: ignore[index]
    assert any(line.endswith("% - Matrix multiplication") for line in lines)
    assert lines[-1].endswith("outside of operations: Python, waiting")
    assert 95 <= sum(shares) <= 105


def test_a_b_testing() -> None:
    original_model, quantized_model = Network(), Network()
    baseline = measure_performance(original_model)
    optimized = measure_performance(quantized_model)

    improvement = {
        "speedup": optimized.time / baseline.time,
        "memory_reduction": baseline.memory / optimized.memory,
        "accuracy_delta": optimized.accuracy - baseline.accuracy,
    }
    assert improvement["speedup"] > 0
    assert improvement["memory_reduction"] == 1
    assert np.isnan(improvement["accuracy_delta"])
    assert baseline.inputs == "made up: float32 (1, 64), standard normal"


def test_practical_examples(tmp_path: Path) -> None:
    original_model = Network()

    def cached_transformer(x: Tensor) -> Tensor:
        return answer

    x = batch(40)
    answer = original_model(x)
    test_data = (x, answer.data.argmax(axis=1))
    models = {"baseline": original_model, "cached": cached_transformer}

    results = benchmark_suite(models, test_data, progress=False)
    figure = plot_performance_comparison(results)
    figure.savefig(tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000
    head, first, second, *_ = str(results).splitlines()
    assert head.split()[:4] == ["Model", "Time", "Memory", "Accuracy"]
    assert first.split()[0] == "baseline"
    assert "100.0%" in second
    assert results["cached"].speedup is not None
    assert tt.benchmark_suite is benchmark_suite

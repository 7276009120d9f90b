"""The snippets of the page that this project grew out of, word by word, on a model as its readers build them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.toolkit.models import Network, Tensor, flops_of

PROFILING = """
@profile
def model_forward(model, input):
    with Timer() as t:
        with MemoryTracker() as m:
            output = model(input)
    
    print(f"Time: {t.elapsed}ms")
    print(f"Memory: {m.peak_usage}MB")
    print(f"FLOPs: {count_flops(model, input)}")
"""  # noqa: W293 - as it stands there
BOTTLENECKS = """
profiler = Profiler()
with profiler:
    model.train(data_loader)

# Find top time consumers
profiler.print_top_operations(n=10)
# 45% - Matrix multiplication
# 23% - Attention computation
# 15% - Data loading
# ...
"""
A_B_TESTING = """
# Compare optimization techniques
baseline = measure_performance(original_model)
optimized = measure_performance(quantized_model)

improvement = {
    'speedup': optimized.time / baseline.time,
    'memory_reduction': baseline.memory / optimized.memory,
    'accuracy_delta': optimized.accuracy - baseline.accuracy
}
"""
SUITE = """
# Profile your optimizations
models = {
    'baseline': original_model,
    'quantized': quantized_model,
    'pruned': pruned_model,
    'cached': cached_transformer
}

results = benchmark_suite(models, test_data)
plot_performance_comparison(results)

# Output:
# Model        Time    Memory   Accuracy
# baseline     100ms   400MB    75.0%
# quantized    25ms    100MB    74.5%
# pruned       30ms    40MB     73.8%
# cached       20ms    450MB    75.0%
"""


def run(snippet: str, **given: Any) -> dict[str, Any]:
    """Run a snippet after ``from tinytrace import …`` of all that there is."""
    names = {name: getattr(tt, name) for name in tt.__all__} | given
    exec(compile(snippet, "<seed>", "exec"), names)
    return names


def batch(samples: int = 16) -> Tensor:
    return Tensor(np.random.default_rng(3).standard_normal((samples, 64)))


class Quantized(Network):
    """Computes in half precision, of weights that are kept so: half of the bytes."""

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            parameter.data = parameter.data.astype("f2")


@pytest.mark.parametrize("name", CORES)
def test_comprehensive_profiling(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with core(name):
        run(PROFILING)["model_forward"](Network(), batch())
    out, err = capsys.readouterr()
    time, memory, flops = out.splitlines()
    assert float(re.fullmatch(r"Time: (.+)ms", time)[1]) > 0  # type: ignore[index]
    # At least both hidden arrays of 16 x 32 floats at a time.
    assert float(re.fullmatch(r"Memory: (.+)MB", memory)[1]) >= 2 * 16 * 32 * 4 / 1e6  # type: ignore[index]
    assert flops == f"FLOPs: {flops_of(16) / 1e3:.3g} kFLOPs"
    assert "matmul" in err


def test_bottleneck_identification(capsys: pytest.CaptureFixture[str]) -> None:
    run(BOTTLENECKS, model=Network(), data_loader=[batch(512)] * 50)
    lines = capsys.readouterr().out.splitlines()
    shares = [int(re.match(r"<?(\d+)% - \w", line)[1]) for line in lines]  # type: ignore[index]
    assert any(line.endswith("% - Matrix multiplication") for line in lines)
    assert lines[-1].endswith("outside of operations: Python, waiting")
    assert 95 <= sum(shares) <= 105


def test_a_b_testing() -> None:
    found = run(A_B_TESTING, original_model=Network(), quantized_model=Quantized())
    baseline, optimized, improvement = (found[n] for n in ("baseline", "optimized", "improvement"))
    assert improvement["speedup"] == optimized.time / baseline.time
    assert (
        baseline.parameter_mb == 2 * optimized.parameter_mb == (64 * 32 + 32 + 320 + 10) * 4 / 1e6
    )
    # It keeps half of the bytes, and makes float32 of them again in every call: the snippet says so.
    assert improvement["memory_reduction"] < 1
    assert np.isnan(improvement["accuracy_delta"])  # there was nothing to be right about
    assert baseline.inputs == "made up: float32 (1, 64), standard normal"
    assert baseline.flops == flops_of(1)
    assert not baseline.flops.uncounted


def test_practical_examples(tmp_path: Path) -> None:
    original, x = Network(), batch(40)
    answer = original(x)

    def cached_transformer(x: Tensor) -> Tensor:
        return answer

    pruned = Network()
    for parameter in pruned.parameters():
        parameter.data[np.abs(parameter.data) < 0.15] = 0
    labels = answer.data.argmax(axis=1)
    found = run(
        SUITE, original_model=original, quantized_model=Quantized(), pruned_model=pruned,
        cached_transformer=cached_transformer, test_data=(x, labels),
    )  # fmt: skip
    results = found["results"]
    head, *rows = str(results).splitlines()
    assert head.split()[:4] == ["Model", "Time", "Memory", "Accuracy"]
    assert [row.split()[0] for row in rows[:4]] == ["baseline", "quantized", "pruned", "cached"]
    right = (pruned(x).data.argmax(axis=1) == labels).mean()
    assert [results[name].performance.accuracy for name in found["models"]] == [1, 1, right, 1]
    assert results["cached"].speedup.verdict.value == "faster"
    assert (
        results.why_here
        == "cached: cached_transformer is made inside a function and cannot be imported"
    )
    figure = tt.plot_performance_comparison(results)
    figure.savefig(tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000

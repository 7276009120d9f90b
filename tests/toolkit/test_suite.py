"""`benchmark_suite`: tables, files, ranks, and what happens when it is interrupted."""

from __future__ import annotations

import csv
import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toolkit.test_performance import Costed, X, advancing, linear
from tinytrace.errors import InputError, OutputError, UsageError
from tinytrace.toolkit.plots import plot_performance_comparison
from tinytrace.toolkit.suite import Suite, benchmark_suite

LABELS = linear(X).argmax(axis=1)


def measured(models: dict[str, Any] | None = None, **options: Any) -> Suite:
    given = models or {
        "base": Costed(4_000_000),
        "fast": Costed(1_000_000),
        "same": Costed(4_000_000),
    }
    settings: dict[str, Any] = {"rounds": 10, "progress": False, "clock": Costed.clock}
    return benchmark_suite(given, (X, LABELS), **settings | options)


def test_each_model_is_compared_with_the_first_one_and_ranked() -> None:
    found = measured()
    assert [row.name for row in found.rows] == ["base", "fast", "same"]
    assert found["base"].speedup is None
    fast, same = found["fast"].speedup, found["same"].speedup
    assert fast is not None
    assert same is not None
    assert (fast.verdict.value, same.verdict.value) == ("faster", "equivalent")
    assert [row.rank for row in found.rows] == [2, 1, 2]
    assert [row.on_front for row in found.rows] == [False, True, False]
    assert found["fast"].p_adjusted is not None
    assert found["fast"].p_adjusted >= fast.p_value
    assert found.finished
    assert found.rounds == 10
    with pytest.raises(KeyError):
        found["none"]


def test_the_table_has_the_columns_of_the_seed_and_says_how_it_divides() -> None:
    head, *rows = str(measured()).splitlines()
    assert head.split()[:4] == ["Model", "Time", "Memory", "Accuracy"]
    assert rows[1].split()[:7] == [
        "fast",
        "1.00",
        "ms",
        rows[1].split()[3],
        rows[1].split()[4],
        "100.0%",
        "1",
    ]
    assert any("above 1 is faster" in line for line in rows)


def test_names_are_text_in_every_form() -> None:
    name = '<script>|"\x1b[31m'
    found = measured({name: Costed(1_000_000)})
    assert "<script>" not in found.to_html()
    assert "&lt;script&gt;" in found.to_html()
    assert "\\|" in found.to_markdown().splitlines()[2]
    assert "\x1b" not in str(found) + found.to_markdown() + found.to_html()
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    assert float(rows[0]["time_ms"]) == pytest.approx(1, rel=0.05)
    assert rows[0]["speedup"] == ""


def test_a_model_that_raises_is_named_and_the_others_are_measured() -> None:
    def broken(x: object) -> None:
        raise ValueError("no such layer")

    found = measured({"broken": broken, "good": Costed(10**6), "better": Costed(10**5)})
    assert found["broken"].error == "ValueError: no such layer"
    assert found.baseline == "good"
    assert found["better"].speedup is not None
    assert "ValueError: no such layer" in str(found)
    with pytest.raises(UsageError, match="no model could be measured: broken: ValueError"):
        measured({"broken": broken})


def test_labels_are_told_from_a_second_input() -> None:
    found = benchmark_suite({"two": lambda a, b: a @ b}, (X, X.T), rounds=6, progress=False)
    assert np.isnan(found["two"].performance.accuracy)  # type: ignore[union-attr]
    assert not np.isnan(measured()["base"].performance.accuracy)  # type: ignore[union-attr]


def test_what_was_measured_is_saved_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    models = {"base": Costed(4_000_000), "fast": Costed(1_000_000)}
    first = measured(models, save=path)
    document = json.loads(path.read_text())
    assert document["times_ms"]["base"] == list(first.times["base"])
    assert document["machine"]["cpu_count"] >= 1
    assert document["rows"][1]["speedup"]["verdict"] == "faster"
    more = measured(models, save=path, rounds=15)
    assert list(more.times["base"][:10]) == list(first.times["base"])
    assert more.rounds == 15
    calls = Costed.now_ns
    again = measured(models, save=path, rounds=15)
    assert again.times == more.times
    assert Costed.now_ns - calls < 60_000_000  # some calls, but no rounds: these take 5 ms each
    assert [p.name for p in tmp_path.iterdir()] == ["suite.json"]


def test_a_file_of_other_models_or_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    measured({"base": Costed(10**6)}, save=path)
    with pytest.raises(InputError, match="other models"):
        measured({"other": Costed(10**6)}, save=path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"machine": {"cpu": "another"}}))
    with pytest.raises(InputError, match="another machine"):
        measured({"base": Costed(10**6)}, save=path)
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(document | {"times_ms": {"base": [1, 2], "\0again": [1]}}),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match="no file of results"):
            measured({"base": Costed(10**6)}, save=path)
    with pytest.raises(OutputError, match="cannot be written"):
        measured({"base": Costed(10**6)}, save=tmp_path / "none" / "suite.json")


def test_an_interrupted_suite_keeps_the_rounds_that_were_complete(tmp_path: Path) -> None:
    class Interrupted(Costed):
        calls = 0

        def __call__(self, x: np.ndarray) -> np.ndarray:
            Interrupted.calls += 1
            if Interrupted.calls == 40:
                raise KeyboardInterrupt
            return super().__call__(x)

    path = tmp_path / "suite.json"
    models = {"base": Costed(2_000_000), "slow": Interrupted(3_000_000)}
    found = measured(models, save=path, rounds=100)
    assert not found.finished
    assert 6 <= found.rounds < 100
    assert "interrupted" in str(found)
    assert len(json.loads(path.read_text())["times_ms"]["slow"]) == found.rounds


class RaisesAt(Costed):
    """Raises something at its n-th call."""

    def __init__(self, call: int, problem: BaseException) -> None:
        super().__init__(2_000_000)
        self.left, self.problem = call, problem

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.left -= 1
        if self.left == 0:
            raise self.problem
        return super().__call__(x)


def test_interrupted_too_early_it_keeps_the_rounds_and_goes_on_with_them(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    early = {"base": Costed(2_000_000), "other": RaisesAt(16, KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        measured(early, save=path, rounds=10)
    kept = json.loads(path.read_text())["times_ms"]["other"]
    assert 1 <= len(kept) < 6
    later = {"base": Costed(2_000_000), "other": Costed(2_000_000)}
    assert list(measured(later, save=path, rounds=10).times["other"][: len(kept)]) == kept


# Eight calls before the first round; then one a round, and of the first model two; three rounds warm up.
@pytest.mark.parametrize(("first", "call"), [("base", 8 + 3 + 8), ("fails", 8 + 6 + 2 * 8)])
def test_a_model_that_raises_in_a_late_round_keeps_what_it_did_until_then(
    first: str, call: int
) -> None:
    models = {"base": Costed(2_000_000), "fails": RaisesAt(call, ValueError("worn out"))}
    found = measured({name: models[name] for name in sorted(models, key=lambda n: n != first)})
    assert found["fails"].error == "ValueError: worn out"
    assert found.baseline == "base"
    assert found.rounds == 10
    kept = found.incomplete["fails"]
    assert len(kept) == 7
    one = found["fails"].performance
    assert one is not None
    assert one.times_ms == tuple(kept)
    row = next(line for line in str(found).splitlines() if line.startswith("fails"))
    assert row.endswith("ValueError: worn out")
    assert re.search(r"2\.0\d ms", row)


def test_a_suite_of_which_no_model_works_to_the_end_says_so() -> None:
    with pytest.raises(UsageError, match="no model worked to the end: one: ValueError: worn out"):
        measured({"one": RaisesAt(20, ValueError("worn out"))})


def test_models_that_return_other_shapes_or_no_accuracy_are_told() -> None:
    models = {"base": Costed(10**6), "sum": lambda x: linear(x).sum(axis=1)}
    found = benchmark_suite(
        models, X, rounds=8, progress=False, accuracy=lambda model: float("nan")
    )
    assert found["sum"].difference is not None
    assert "sum returns (32,) where the baseline returns (32, 10)" in str(found)
    assert str(found).count("not a number") == 2


def test_too_few_rounds_or_no_models_are_refused() -> None:
    with pytest.raises(UsageError, match="no models"):
        benchmark_suite({})
    with pytest.raises(UsageError, match="at least 9"):
        measured({str(i): Costed(10**6) for i in range(12)}, rounds=8)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"suite.{ending}"
    plot_performance_comparison(measured(), path)
    assert path.stat().st_size > 5_000
    with pytest.raises(OutputError, match="cannot be written"):
        plot_performance_comparison(measured(), tmp_path / "none" / "x.png")


def test_its_order_is_the_same_every_time() -> None:
    def order() -> list[str]:
        ran: list[str] = []
        models = {name: functools.partial(ran.append, name) for name in "abc"}
        benchmark_suite(models, rounds=8, progress=False, clock=advancing(10**6))
        return ran

    assert order() == order()


def test_the_programs_random_numbers_go_on_as_without_it() -> None:
    np.random.seed(5)
    expected = np.random.rand(3)
    np.random.seed(5)
    measured({"base": Costed(10**6)})
    assert np.random.rand(3).tolist() == expected.tolist()

"""Two saved files of results: what was done is compared exactly, times are told and never judged."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.toolkit.test_performance import Costed
from tinytrace.cli import check
from tinytrace.cli.saved_text import print_saved
from tinytrace.errors import InputError, UsageError
from tinytrace.toolkit.saved import UNPAIRED, SavedComparison, compare_saved

X = np.ones((32, 64), "f4")
W = np.ones((64, 10), "f4")


class More(Costed):
    """Does one addition more."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return super().__call__(x) + 1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite, the same in half of the time, and one in which a model does more."""
    folder = tmp_path_factory.mktemp("saved")
    for name, models in {
        "base": {"one": Costed(4_000_000), "two": Costed(1_000_000)},
        "quick": {"one": Costed(2_000_000), "two": Costed(1_000_000)},
        "more": {"one": More(4_000_000), "two": Costed(1_000_000)},
        "fewer": {"one": Costed(4_000_000), "other": Costed(1_000_000)},
    }.items():
        tt.benchmark_suite(
            models, X, rounds=8, progress=False, clock=Costed.clock, save=folder / f"{name}.json"
        )
    return folder


def text_of(found: SavedComparison) -> str:
    out = io.StringIO()
    print_saved(found, out)
    return out.getvalue()


def test_half_of_the_time_at_another_moment_is_told_and_is_no_verdict(files: Path) -> None:
    found = compare_saved(files / "base.json", files / "quick.json")
    assert found.outcome == "ok"
    assert found.rows[0].ratio == pytest.approx(2, rel=0.01)
    assert found.about_times == UNPAIRED
    text = str(found)
    assert text == text_of(found)
    assert "unpaired, drift not controlled: no verdict" in text
    assert not any(word in text for word in ("faster", "slower", "equivalent"))


def test_more_work_is_a_regression_on_any_machine(files: Path) -> None:
    document = json.loads((files / "more.json").read_text())
    document["machine"]["cpu"] = "another"
    (files / "elsewhere.json").write_text(json.dumps(document))
    for name in ("more", "elsewhere"):
        found = compare_saved(files / "base.json", files / f"{name}.json")
        assert found.outcome == "regression"
        # One addition of 32 x 10 float32 numbers on top of a product of 32 x 64 by 64 x 10.
        assert "one: more operations: 1 -> 2 (+100.00%)" in found.reasons
        assert "one: more FLOPs: 40,960 -> 41,280 (+0.78%)" in found.reasons
        assert not any(reason.startswith("two") for reason in found.reasons)
    assert found.about_times.startswith("not comparable: cpu: ")
    assert "Times are not comparable: cpu: " in text_of(found)
    allowed: Any = dict.fromkeys(("op_calls", "flops", "bytes", "allocations", "peak_bytes"), 5.0)
    assert compare_saved(files / "base.json", files / "more.json", allowed=allowed).outcome == "ok"


def test_what_is_in_one_file_only_is_named(files: Path) -> None:
    found = compare_saved(files / "base.json", files / "fewer.json")
    assert (found.gone, found.new) == (("two",), ("other",))
    assert found.outcome == "inconclusive"
    assert "two: not in the later results" in text_of(found)
    assert "Only in the later results: other." in text_of(found)


def test_the_command_tells_results_from_traces(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, quick, more = (str(files / f"{name}.json") for name in ("base", "quick", "more"))
    summary = files / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert check.main(["--baseline", base, quick]) == 0
    assert "Outcome: ok" in capsys.readouterr().out
    assert check.main(["--baseline", base, more]) == 1
    assert "more FLOPs: 40,960 -> 41,280" in capsys.readouterr().out
    assert check.main(["--baseline", base, more, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"][0]["exact"][0]["result"] == "more"
    allow = [f"--allow={name}=500" for name in ("op_calls", "flops", "bytes", "allocations")]
    assert check.main(["--baseline", base, more, *allow, "--allow=peak_bytes=500"]) == 0
    assert "tinytrace: regression" in summary.read_text()
    with pytest.raises(UsageError, match="decide nothing"):
        check.main(["--baseline", base, quick, "--timed"])
    trace = str(files / "trace.json")
    with tt.trace(trace, sampler="none"):
        X @ W
    with pytest.raises(InputError, match="one is a trace and the other results"):
        check.main(["--baseline", base, trace])
    with pytest.raises(UsageError, match="is a figure of results"):
        check.main(["--baseline", trace, trace, "--allow=peak_bytes=1"])


def test_of_commands_nothing_but_times_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tinytrace.cli import bench

    path = str(tmp_path / "bench.json")
    assert bench.main(["true", "--rounds", "6", "--save", path]) == 0
    assert check.main(["--baseline", path, path]) == 2
    out = capsys.readouterr().out
    assert "true: nothing is known but times, and these decide nothing" in out
    document = json.loads(Path(path).read_text())
    document["machine"]["python"] = "2.7"
    Path(path).write_text(json.dumps(document))
    assert bench.main(["true", "--rounds", "6", "--baseline", path]) == 0
    assert "earlier results, not comparable: python: 2.7 and 3" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"rows": None}, {"rows": [3, {"name": "one"}]}, {"rows": {}}])
def test_rows_that_are_no_rows_are_nothing_known(files: Path, change: dict[str, Any]) -> None:
    document = json.loads((files / "base.json").read_text())
    (files / "odd.json").write_text(json.dumps(document | change))
    assert compare_saved(files / "base.json", files / "odd.json").outcome == "inconclusive"

"""scikit-learn's estimators, and the program's own: their work is seen, and all else of them is as it was."""

from __future__ import annotations

import copy
import inspect
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import LabelEncoder, StandardScaler

from tests.contract.recorded import Recorded, record
from tests.cores import CORES
from tests.launch.both import Ended, Place, process_names
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

X = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 2


class Doubling(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, X: Any, y: Any = None) -> Doubling:
        if y is not None and len(y) == 1:
            raise ValueError("one")
        return self

    def transform(self, X: Any) -> Any:
        return np.multiply(X, 2.0)


class Tripling(Doubling):
    def fit(self, X: Any, y: Any = None) -> Tripling:
        super().fit(X, y)
        return self


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def tree(trace: Trace) -> list[str]:
    """The spans, outermost first, two blanks per level."""
    recorded, lines = Recorded(trace), []

    def walk(row: int, depth: int) -> None:
        if trace.spans.kind[row] == Kind.SPAN:
            raised = "!" * bool(recorded.flags(row) & Flag.RAISED)
            lines.append("  " * depth + recorded.name(row) + raised)
        for inside in recorded.inside(row):
            walk(inside, depth + 1)

    for row in recorded.inside(-1):
        walk(row, 0)
    return lines


def fit_and_predict() -> None:
    model = make_pipeline(StandardScaler(), Doubling(), LogisticRegression())
    model.fit(X, Y)
    model.predict(X)


def test_the_work_of_a_pipeline_nests(core: str) -> None:
    lines = tree(record(core, fit_and_predict))
    # Newer versions have an encoder of labels in there.
    assert [line for line in lines if "LabelEncoder" not in line] == [
        "Pipeline.fit",
        "  StandardScaler.fit_transform",
        "    StandardScaler.fit",
        "      StandardScaler.partial_fit",
        "    StandardScaler.transform",
        "  Doubling.fit_transform",
        "    Doubling.fit",
        "    Doubling.transform",
        "  LogisticRegression.fit",
        "Pipeline.predict",
        "  StandardScaler.transform",
        "  Doubling.transform",
        "  LogisticRegression.predict",
        "    LogisticRegression.decision_function",
    ]


def test_spans_say_what_data_they_were_given_and_where(core: str) -> None:
    def program() -> None:
        LabelEncoder().fit(Y.tolist())
        Doubling().transform(X=X)

    trace = record(core, program)
    rows = [r for r in range(len(trace.spans)) if trace.spans.kind[r] == Kind.SPAN]
    args = [trace.strings[trace.spans.args_id[r]] for r in rows]
    assert args == ['{"y": "list of 12"}', '{"X": "ndarray float64 (12, 2)"}']
    assert {Recorded(trace).site(r)[2].rpartition(".")[2] for r in rows} == {"program"}


def test_operations_of_numpy_are_inside(core: str) -> None:
    trace = record(core, lambda: Doubling().transform(X))
    (row,) = Recorded(trace).inside(-1)
    assert Recorded(trace).text(row) == "Doubling.transform(multiply[12x2,p:float->12x2])"


def test_a_method_that_calls_the_inherited_one_is_one_call(core: str) -> None:
    assert tree(record(core, lambda: Tripling().fit(X))) == ["Tripling.fit"]


def test_an_exception_is_noted_and_travels_on(core: str) -> None:
    def program() -> None:
        with pytest.raises(ValueError, match="one"):
            Doubling().fit(X, [1])
        Doubling().fit(X)

    assert tree(record(core, program)) == ["Doubling.fit!", "Doubling.fit"]


def test_classes_that_are_defined_while_recording_are_seen(core: str) -> None:
    def program() -> None:
        class Late(ClassifierMixin, Doubling):  # type: ignore[misc]
            def predict(self, X: Any) -> Any:
                return np.zeros(len(X), int)

            def get_feature_names_out(self) -> Any: ...

            def transform(self, X: Any) -> Any:  # which `set_output` replaces
                return super().transform(X)

        Late().fit(X, Y)
        Late().set_output(transform="default").transform(X)
        Late().score(X, Y)

    assert tree(record(core, program)) == [
        "Late.fit",
        "Late.transform",
        "Late.score",
        "  Late.predict",
    ]


def test_a_mixin_in_a_class_that_is_no_estimator_is_left_alone(core: str) -> None:
    class NoEstimator(ClassifierMixin):  # type: ignore[misc]
        def predict(self, X: Any) -> Any:
            return np.zeros(len(X), int)

    assert tree(record(core, lambda: NoEstimator().score(X, Y))) == []


def test_conditional_methods_are_there_when_they_are_there(core: str) -> None:
    def program() -> None:
        classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
        assert hasattr(classifier, "predict_proba")
        assert not hasattr(classifier, "transform")
        Pipeline.predict_log_proba(classifier, X)

    lines = tree(record(core, program))
    assert "Pipeline.predict_log_proba" in lines


def test_estimators_are_copied_pickled_and_described_as_ever(core: str) -> None:
    def program() -> list[Any]:
        model = make_pipeline(StandardScaler(), Doubling(), LogisticRegression()).fit(X, Y)
        again = pickle.loads(pickle.dumps(model))
        found.append(
            (again.predict(X).tolist(), repr(clone(model)), sorted(copy.deepcopy(model).get_params(deep=False)),
             str(inspect.signature(model.fit)), inspect.getsource(Doubling.transform), Doubling.fit.__qualname__,
             pickle.dumps(clone(model)), inspect.isfunction(Pipeline.fit))
        )  # fmt: skip
        return found

    found: list[Any] = []
    record(core, program)
    program()
    assert found[0] == found[1]


def test_everything_is_as_before_afterwards(core: str) -> None:
    classes = {*Pipeline.__mro__, *LogisticRegression.__mro__, *Tripling.__mro__} - {object}
    before = {cls: dict(vars(cls)) for cls in classes}
    bound = vars(Pipeline)["predict"].fn
    record(core, fit_and_predict)
    assert {cls: {k: vars(cls)[k] for k in before[cls]} for cls in classes} == before
    assert vars(Pipeline)["predict"].fn is bound


IN_WORKERS = """
import os
import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.base import BaseEstimator

class Mine(BaseEstimator):
    def __init__(self, times=2):
        self.times = times
    def fit(self, X, y=None):
        self.fitted_ = float(np.multiply(X, self.times).sum())
        return self

X = np.arange(8.0)
for backend in ("loky", "threading"):
    with parallel_config(backend, n_jobs=2):
        print(Parallel()(delayed(Mine(t).fit)(X) for t in (1, 2, 3))[2].fitted_)
"""


def by_process(trace: Trace) -> dict[str, list[str]]:
    names = process_names(trace)
    found: dict[str, list[str]] = {name: [] for name in names}
    for row in np.flatnonzero(trace.spans.kind == Kind.SPAN).tolist():
        process = names[trace.threads.process[trace.spans.thread[row]]]
        found[process].append(trace.strings[trace.spans.name_id[row]])
    return found


@pytest.mark.parametrize("each", CORES)
def test_workers_of_joblib_are_in_the_trace_with_classes_of_the_script(
    tmp_path: Path, each: str
) -> None:
    place = Place.make(tmp_path, train=IN_WORKERS)
    place.core = each
    assert place.record("train.py") == Ended(0, b"84.0\n84.0\n", b"")
    found = by_process(place.trace())
    in_threads = found.pop("train.py")
    assert in_threads == ["Mine.fit"] * 3
    assert list(chain(*found.values())) == ["Mine.fit"] * 3
    assert all(name.startswith("LokyProcess-") for name in found), found

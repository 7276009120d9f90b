"""Suites in fresh processes: what can be had in one, and what happens when one ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.toolkit.models import Network, Tensor, flops_of
from tests.toolkit.test_performance import X, linear
from tinytrace.errors import InputError, UsageError
from tinytrace.toolkit.processes import NotSendableError, Worker, WorkerError, packed
from tinytrace.toolkit.suite import Suite, benchmark_suite

ROUNDS = 6
MODULE = '''
import os, signal
from pathlib import Path
import numpy as np

LOG = Path(os.environ["TINYTRACE_TEST_LOG"])

class Says:
    """Notes the processes that it runs in."""
    def __init__(self, name="says"):
        self.name = name
        with LOG.open("a") as log:
            log.write(f"{name} {os.getpid()}\\\\n")
    def __call__(self, x):
        return x + 1

def made():
    return Says("made")

def ends(x):
    os._exit(7)

def killed(x):
    os.kill(os.getpid(), signal.SIGSEGV)

class Ends(Says):
    """From its fifth process on it raises in the middle of a round."""
    def __init__(self):
        super().__init__("ends")
        self.left = 3 if LOG.read_text().count("ends") > 4 else 10**9
    def __call__(self, x):
        self.left -= 1
        if not self.left:
            raise RuntimeError("no more")
        return x + 1
'''


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    path.touch()
    (tmp_path / "tinytrace_test_models.py").write_text(MODULE.replace("\\\\n", "\\n"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINYTRACE_TEST_LOG", str(path))
    return path


def measured(models: Mapping[str, object], **options: object) -> Suite:
    settings: dict[str, object] = {"rounds": ROUNDS, "progress": False}
    return benchmark_suite(models, X, **settings | options)  # type: ignore[arg-type]


def test_each_model_has_a_process_of_its_own_in_every_round_and_the_first_one_two(
    log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    method = multiprocessing.get_start_method(allow_none=True)
    path = tmp_path / "suite.json"
    models = {"one": "tinytrace_test_models:Says", "two": "tinytrace_test_models:made"}
    found = measured(models, save=path)
    assert (found.fresh_process, found.why_here, found.where) == (True, None, "fresh processes")
    lines = log.read_text().split("\n")[:-1]
    assert len(set(lines)) == len(lines) == (ROUNDS * 3) + 2  # and one of each to look at it first
    assert sum(line.startswith("made") for line in lines) == ROUNDS + 1
    assert str(os.getpid()) not in log.read_text()
    assert (
        multiprocessing.get_start_method(allow_none=True) == method
    )  # which is the program's to choose
    assert capfd.readouterr() == ("", "")
    assert not re.search("not measured|not a number", str(found))
    document = json.loads(path.read_text())
    assert document["fresh_process"] is True
    more = measured(models, save=path, rounds=ROUNDS + 1)
    assert list(more.times["one"][:ROUNDS]) == list(found.times["one"])
    assert more.rounds == ROUNDS + 1
    with pytest.raises(InputError, match="in fresh processes, which this is not"):
        measured(models, save=path, fresh=False)


def test_what_is_found_out_there_is_what_is_found_out_here() -> None:
    x = Tensor(X)
    labels = Network()(x).data.argmax(axis=1)
    models = {"net": Network(), "name": "tests.toolkit.models:Network"}
    there = benchmark_suite(models, (x, labels), rounds=ROUNDS, progress=False)
    here = benchmark_suite(models, (x, labels), rounds=ROUNDS, progress=False, fresh=False)
    assert (there.fresh_process, here.fresh_process) == (True, False)
    assert here.why_here == "it was asked for"
    for name in models:
        one, other = there[name].performance, here[name].performance
        assert one is not None
        assert other is not None
        assert one.flops == other.flops == flops_of(32)
        assert one.parameters == other.parameters
        assert one.accuracy == other.accuracy == 1.0
        assert one.memory == pytest.approx(other.memory, rel=0.05)
        assert there[name].difference is None


def test_what_another_process_cannot_have_stays_here_and_it_is_said_why() -> None:
    found = measured({"named": linear, "lambda": lambda x: x + 1})
    assert not found.fresh_process
    assert found.why_here == "lambda: <lambda> is made inside a function and cannot be imported"
    assert "Not in fresh processes: lambda: <lambda> is made inside" in str(found)
    with pytest.raises(
        UsageError, match=r"fresh processes cannot be had: lambda: <lambda> is made"
    ):
        measured({"lambda": lambda x: x}, fresh=True)


def test_where_no_process_can_be_started_all_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = measured({"linear": linear})
    assert found.why_here == "no process can be started: No such file or directory"


def test_what_is_not_found_there_stays_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "__module__", "tinytrace_no_such_module")
    monkeypatch.setitem(sys.modules, "tinytrace_no_such_module", sys.modules[__name__])
    found = measured({"gone": linear})
    assert found.why_here is not None
    assert "a fresh process does not find it: ModuleNotFoundError" in found.why_here


@pytest.mark.usefixtures("log")
def test_a_process_that_ends_is_one_line_and_the_others_are_measured() -> None:
    names = {name: f"tinytrace_test_models:{name}" for name in ("ends", "killed", "Says", "none")}
    found = measured(names, rounds=7)  # as many as four models need
    assert found["ends"].error == "its process ended by exit code 7"
    assert found["killed"].error is not None
    assert found["killed"].error.startswith("its process ended by signal 11 (Segmentation fault)")
    assert (
        found["none"].error
        == "UsageError: tinytrace_test_models:none: tinytrace_test_models has no 'none'"
    )
    assert found.baseline == "Says"
    assert found["Says"].rank == 1


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("first", ["Ends", "Says"])
def test_what_a_model_did_until_it_raised_is_kept(first: str, tmp_path: Path) -> None:
    names = ["Ends", "Says"] if first == "Ends" else ["Says", "Ends"]
    models = {name: f"tinytrace_test_models:{name}" for name in names}
    found = measured(models, save=tmp_path / "suite.json")
    assert found["Ends"].error == "RuntimeError: no more"
    assert found.finished
    assert found.baseline == "Says"
    assert found.rounds == ROUNDS
    document = json.loads((tmp_path / "suite.json").read_text())
    kept = document["incomplete_ms"]["Ends"]
    # One of its processes is for a first look, and the first model has two a round.
    assert len(kept) == (1 if first == "Ends" else 3)
    assert found.incomplete["Ends"] == kept
    assert "RuntimeError: no more" in str(found)


def test_only_what_can_be_imported_is_packed() -> None:
    assert packed(linear, "model")
    for thing in (lambda: 0, [lambda: 0], threading.Lock()):
        with pytest.raises(NotSendableError, match=r"^thing(:| cannot be pickled:) "):
            packed(thing, "thing")


def test_a_worker_ends_with_its_pipe_and_knows_no_interrupt() -> None:
    worker = Worker()
    try:
        worker.ask("load", packed(linear, "model"), packed(X, "data"))
        assert worker.answer().times >= 1
        worker._process.send_signal(signal.SIGINT)
        worker.ask("time", 3)
        assert worker.answer() > 0
        worker.ask("time", "no number")
        with pytest.raises(WorkerError, match="TypeError"):
            worker.answer()
    finally:
        worker.close()
    assert worker._process.returncode == 0


PROGRAM = """
import numpy as np, tinytrace as tt
class Mine:
    def __call__(self, x): return x + 1
found = tt.benchmark_suite({"a": Mine(), "b": Mine()}, np.ones((4, 4)), rounds=6, progress=False)
print(found.fresh_process, found.why_here)
"""


INTERRUPTED = """
import os, signal, sys, time, numpy as np, tinytrace as tt
class Mine:
    left = int(sys.argv[1])
    def __call__(self, x):
        Mine.left -= 1
        if not Mine.left:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.002)  # a block is one call, which the numbers of calls in the test rely on
        return x + 1
x = np.ones(1000)
print(tt.benchmark_suite({"a": Mine(), "b": Mine()}, x, rounds=40, save="suite.json", progress=False))
"""


@pytest.mark.parametrize(
    ("call", "told"), [(35, "too few to tell anything: they are kept"), (120, "")]
)
def test_ctrl_c_keeps_the_rounds_and_ends_a_program_that_has_too_few(
    call: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "program.py", str(call)], capture_output=True, text=True, check=False,
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    kept = len(json.loads((tmp_path / "suite.json").read_text())["times_ms"]["a"])
    if told:
        assert 1 <= kept < 6
        assert f"tinytrace: interrupted after {kept} round" in done.stderr
        assert told in done.stderr
        assert done.returncode == -signal.SIGINT
    else:
        assert 6 <= kept < 40
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{kept} rounds, all models in each" in done.stdout
        assert "It was interrupted: these are the rounds that were complete." in done.stdout


def test_a_program_is_not_run_again_for_what_it_defines_itself(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "False a: Mine is defined in the program itself, which a fresh process does not run: put it into a module"
    ]

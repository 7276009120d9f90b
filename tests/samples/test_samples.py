"""The sample programs learn, their gradients are right, and they stay plain NumPy programs."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import train_cnn
import train_mlp
import train_transformer
from digits import load_digits, minibatches
from training import Adam, Model, accuracy, softmax_cross_entropy, train

SAMPLES = Path(__file__).parents[2] / "samples"
SCRIPTS = sorted(p.name for p in SAMPLES.glob("train_*.py") if p.name != "train_torch.py")
# model, learning rate, epochs that must be enough, accuracy that must be reached
COURSES = {
    "mlp": (train_mlp.MODEL, 1e-3, 2, 0.92),
    "cnn": (train_cnn.MODEL, 3e-3, 2, 0.92),
    "transformer": (train_transformer.MODEL, 2e-3, 4, 0.90),
}
MODELS = {name: course[0] for name, course in COURSES.items()}


@pytest.mark.parametrize("name", COURSES)
def test_a_few_epochs_teach_it_to_read_digits_it_has_not_seen(name: str) -> None:
    model, learning_rate, epochs, enough = COURSES[name]
    digits = load_digits()
    parameters = train(model, digits, epochs=epochs, seed=0, learning_rate=learning_rate)
    assert accuracy(model, parameters, digits.test_images, digits.test_labels) >= enough


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_untrained_model_does_not_read(model: Model) -> None:
    digits = load_digits()
    parameters = model.initialize(np.random.default_rng(0))
    assert accuracy(model, parameters, digits.test_images, digits.test_labels) < 0.4


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_gradients_agree_with_finite_differences(model: Model) -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.random((3, 8, 8)), np.array([2, 0, 9])
    parameters = {n: p.astype(np.float64) for n, p in model.initialize(rng).items()}
    _, gradients = model.loss_and_gradients(parameters, images, labels)
    assert gradients.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert gradients[name].shape == parameter.shape
        for index in {tuple(rng.integers(parameter.shape)) for _ in range(4)}:
            value, h = parameter[index], 1e-6
            parameter[index] = value + h
            above, _ = model.loss_and_gradients(parameters, images, labels)
            parameter[index] = value - h
            below, _ = model.loss_and_gradients(parameters, images, labels)
            parameter[index] = value
            assert gradients[name][index] == pytest.approx((above - below) / (2 * h), abs=1e-7)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_everything_is_float32_before_and_after_a_step(model: Model) -> None:
    digits = load_digits()
    assert digits.train_images.dtype == np.float32
    parameters = model.initialize(np.random.default_rng(0))
    _, gradients = model.loss_and_gradients(
        parameters, digits.train_images[:8], digits.train_labels[:8]
    )
    Adam(parameters).step(gradients, 1e-3)
    scores = model.predict(parameters, digits.train_images[:8])
    arrays = [scores, *parameters.values(), *gradients.values()]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_the_transformer_of_pytorch_trains() -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "train_torch.py"), "--epochs", "1", "--width", "16"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert re.fullmatch(r"epoch 1: loss 2\.\d{4}, test accuracy [\d.]+%\n", done.stdout)


def test_loss_of_equal_scores_is_the_logarithm_of_the_number_of_classes() -> None:
    loss, gradient = softmax_cross_entropy(np.full((2, 10), 1000.0), np.array([3, 4]))
    assert loss == pytest.approx(np.log(10))
    assert gradient.sum() == pytest.approx(0)


def test_first_step_of_adam_moves_by_the_learning_rate_against_the_gradient() -> None:
    parameters = {"w": np.array([1.0, 1.0])}
    Adam(parameters).step({"w": np.array([0.3, -20.0])}, 0.01)
    assert parameters["w"] == pytest.approx([0.99, 1.01], abs=1e-6)


def test_digits_are_the_ones_that_the_readme_describes() -> None:
    with np.load(SAMPLES / "data" / "digits.npz") as file:
        rows = np.hstack([file["images"], file["labels"][:, None]])
    assert rows.shape == (1797, 65)
    assert rows.dtype == np.uint8
    digest = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
    assert hashlib.sha256(rows.tobytes()).hexdigest() == digest


def test_no_picture_is_both_trained_on_and_tested() -> None:
    digits = load_digits()
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    trained = {image.tobytes() for image in digits.train_images}
    assert not trained & {image.tobytes() for image in digits.test_images}


def test_minibatches_are_every_picture_once() -> None:
    images, labels = np.arange(10.0), np.arange(10)
    batches = list(minibatches(np.random.default_rng(0), images, labels, 4))
    assert [len(y) for _, y in batches] == [4, 4, 2]
    assert sorted(np.concatenate([y for _, y in batches])) == list(range(10))
    assert all(np.array_equal(x, y) for x, y in batches)


@pytest.mark.parametrize("script", SCRIPTS)
def test_program_prints_the_same_losses_and_accuracy_for_the_same_seed(script: str) -> None:
    command = [sys.executable, str(SAMPLES / script), "--epochs", "1", "--seed", "5"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert first.stdout == second.stdout
    loss, share = first.stdout.splitlines()
    assert loss.startswith("epoch  1/1  loss ")
    assert share.startswith("test accuracy ") and share.endswith("% of 360 pictures")
    assert first.stderr == ""


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_samples_are_plain_programs_that_know_nothing_of_the_profiler(path: Path) -> None:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    ours = {p.stem for p in SAMPLES.glob("*.py")}
    allowed = {"numpy", "torch"} if path.name == "train_torch.py" else {"numpy"}
    assert roots - ours - set(sys.stdlib_module_names) <= allowed

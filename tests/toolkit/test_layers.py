"""FLOPs by layer: of models that mark nothing themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.toolkit.models import Linear, Network, Tensor
from tinytrace.toolkit.flops import count_flops
from tinytrace.toolkit.layers import layers_marked, layers_of

X = np.ones((2, 8))


class Scale:
    """Is called, and has no forward."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x * 2


class Attention:
    """Has layers as attributes and in a dict."""

    def __init__(self) -> None:
        self.q_proj = Linear(8, 8)
        self.more = {"scale": Scale()}

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = np.asarray(self.q_proj.forward(Tensor(x)).data)
        return self.more["scale"](y - 1)


class Block:
    def __init__(self) -> None:
        self.attn = Attention()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.attn.forward(x) + x)


class Model:
    def __init__(self) -> None:
        self.blocks = [Block(), Block()]
        self.name = "model"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for block in self.blocks:
            x = block(x)
        return x / 2


PATHS = [
    "blocks.0", "blocks.0.attn", "blocks.0.attn.q_proj", "blocks.0.attn.more.scale",
    "blocks.1", "blocks.1.attn", "blocks.1.attn.q_proj", "blocks.1.attn.more.scale",
]  # fmt: skip


def test_layers_are_found_by_what_they_can_do_and_named_by_their_paths() -> None:
    assert list(layers_of(Model())) == PATHS
    assert list(layers_of(Network())) == ["layers.0", "layers.1"]


@pytest.mark.parametrize("name", CORES)
def test_each_layer_has_what_it_computed_itself(name: str) -> None:
    with core(name):
        found = count_flops(Model(), X)
    # A product of 2 x 8 by 8 x 8 and its bias; one operation per number of 2 x 8 everywhere else.
    each = {"": 16, "blocks": 16, "attn": 16, "q_proj": 2 * 2 * 8 * 8 + 16, "more.scale": 16}
    expected = {"": each[""]}
    for block in ("blocks.0", "blocks.1"):
        expected |= {block: each["blocks"], f"{block}.attn": each["attn"]}
        expected |= {f"{block}.attn.{layer}": each[layer] for layer in ("q_proj", "more.scale")}
    assert found.by_layer == expected
    assert sum(found.by_layer.values()) == found


def test_the_classes_are_afterwards_what_they_were() -> None:
    before = [dict(vars(kind)) for kind in (Linear, Scale, Attention, Block, Model)]
    count_flops(Model(), X)
    with pytest.raises(ZeroDivisionError), layers_marked(Model()):
        assert vars(Block)["__call__"] is not before[3]["__call__"]
        _ = 1 / 0
    after = [dict(vars(kind)) for kind in (Linear, Scale, Attention, Block, Model)]
    assert before == after


def test_a_layer_at_two_places_has_its_first_name_and_others_of_its_class_have_none() -> None:
    shared, other = Scale(), Scale()

    class Twice:
        def __init__(self) -> None:
            self.first = shared
            self.again = [shared]

        def forward(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(self.first(x) + self.again[0](x) + other(x))

    found = count_flops(Twice(), X)
    assert found.by_layer == {"first": 32, "": 48}


def test_marks_of_the_models_own_are_nearer() -> None:
    class Marked:
        def forward(self, x: np.ndarray) -> np.ndarray:
            with tt.span("mine"):
                return np.asarray(x + 1)

    class Outer:
        def __init__(self) -> None:
            self.inner = Marked()

        def forward(self, x: np.ndarray) -> np.ndarray:
            return self.inner.forward(x)

    assert count_flops(Outer(), X).by_layer == {"mine": 16}
    assert count_flops(Outer().forward, X).by_layer == {"mine": 16}


def test_what_cannot_be_marked_is_run_all_the_same() -> None:
    class Loop:
        def __init__(self) -> None:
            self.me: Any = self
            self.ufunc = np.add
            self.bound = X.sum
            self.table: dict[Any, Any] = {3: Scale(), "x": [None, 3, "text"]}

        def forward(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(self.ufunc(x, self.table[3](x)))

    assert count_flops(Loop(), X).by_layer == {"table.3": 16, "": 16}


def test_layers_are_told_when_a_whole_model_is_measured() -> None:
    found = tt.measure_performance(Network(), Tensor(np.ones((4, 64))), rounds=6)
    assert found.flops is not None
    assert set(found.flops.by_layer) == {"layers.0", "layers.1", ""}

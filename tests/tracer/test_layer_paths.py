"""Names of layers: found by walking through the outermost one, as rarely and as little as can be."""

from __future__ import annotations

from typing import Any

import pytest

from tinytrace.tracer.adapters import layer_paths
from tinytrace.tracer.adapters.layer_paths import LayerPaths


class Layer:
    def __init__(self, **members: Any) -> None:
        vars(self).update(members)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Slotted:
    __slots__ = ("inner",)
    inner: list[Layer]


class Names:
    """Gives out labels; knows their names."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def label(self, name: str, arguments: str) -> int:
        self.given.append(name)
        return len(self.given)

    def paths(self) -> LayerPaths:
        return LayerPaths(self.label, {Layer, Slotted}, set())

    def of(self, label: int) -> str:
        return self.given[label - 1]


def test_a_layer_is_named_once_and_found_again() -> None:
    names = Names()
    paths, inner = names.paths(), Layer()
    model = Layer(block=Layer(inner=inner))
    first = paths.of(inner, model)
    assert names.of(first) == "block.inner"
    given = len(names.given)
    assert paths.of(inner, model) == first
    assert len(names.given) == given


def test_a_layer_that_is_in_two_places_has_the_nearer_one() -> None:
    names, shared = Names(), Layer()
    model = Layer(deep=Layer(deeper=shared), near=shared)
    assert names.of(names.paths().of(shared, model)) == "near"


def test_layers_in_slots_are_found_and_empty_slots_are_none() -> None:
    names, model = Names(), Slotted()
    paths = names.paths()
    assert names.of(paths.of(model, model)) == "Slotted"
    model.inner = [Layer()]
    assert names.of(paths.of(model.inner[0], model)) == "inner.0"


def test_layers_made_anew_in_every_call_are_rarely_searched_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, model, walks = Names(), Layer(), []
    paths = names.paths()
    walk = LayerPaths._walk

    def counted(self: LayerPaths, outermost: Any) -> None:
        walks.append(outermost)
        walk(self, outermost)

    monkeypatch.setattr(LayerPaths, "_walk", counted)
    kept = []
    for _ in range(1_000):
        kept.append(Layer())
        assert names.of(paths.of(kept[-1], model)) == "Layer"
    # After the nth in vain, 2ⁿ calls pass.
    assert len(walks) == 10


def test_a_layer_with_the_address_of_one_that_is_gone_is_another() -> None:
    names, model = Names(), Layer(one=Layer())
    paths = names.paths()
    old = id(model.one)
    assert names.of(paths.of(model.one, model)) == "one"
    others = []
    del model.one
    for _ in range(100):
        others.append(Layer())
        if id(others[-1]) == old:
            break
    vars(model)["two"] = others[-1]
    assert names.of(paths.of(model.two, model)) == "two"


def test_large_lists_and_dictionaries_are_not_searched() -> None:
    names, inner = Names(), Layer()
    vocabulary = dict.fromkeys(range(layer_paths.MAX_MEMBERS + 1), inner)
    assert names.of(names.paths().of(inner, Layer(vocabulary=vocabulary))) == "Layer"


def test_a_model_that_contains_itself_is_walked_once() -> None:
    names, inner = Names(), Layer()
    model = Layer(inner=inner)
    vars(model).update(itself=model, all=[model, inner, [model]])
    assert names.of(names.paths().of(inner, model)) == "inner"

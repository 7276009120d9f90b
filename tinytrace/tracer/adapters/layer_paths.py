"""The names of layers: where each lies in the outermost one that is running, such as ``blocks.2.attn.q_proj``."""

from __future__ import annotations

from _weakref import ref
from collections.abc import Callable
from typing import Any

from tinytrace.tracer.adapters.classes import mro, name_of
from tinytrace.tracer.adapters.objects import attributes, dictionary

MAX_LAYERS = 10_000  # of a model; what lies further is called by its class
MAX_MEMBERS = 10_000  # of a list or a dictionary of layers: a vocabulary is none
MAX_KNOWN = 100_000  # layers of all models
MAX_VAIN = 16  # doublings of the calls after which a walk that found nothing is tried again


class LayerPaths:
    """Finds the labels of layers.

    Args:
        label: gives the id of a name with arguments as JSON.
        layers: the classes of layers, of which there may come more.
        tensors: the classes of tensors, likewise.
    """

    def __init__(
        self, label: Callable[[str, str], int], layers: set[type], tensors: set[type]
    ) -> None:
        """Know none yet."""
        self._label = label
        self._layers = layers
        self._tensors = tensors
        # By id: the layer, weakly, or its class where that cannot be; whether it is the outermost; its label.
        self._known: dict[int, tuple[Any, bool, int]] = {}
        # By id of the outermost: walks that did not find who was asked for, and calls to let pass before the next.
        # Programs make layers anew in each call, such as ``ReLU()(x)``.
        self._vain: dict[int, tuple[int, int]] = {}

    def of(self, layer: Any, outermost: Any) -> int:
        """Return a layer's label, found by a walk through the outermost layer that is running.

        Example:
            >>> class Linear: "A layer."
            >>> class Model: "Another."
            >>> model = Model()
            >>> model.blocks = [Linear(), Linear()]
            >>> names = []
            >>> def label(name, arguments):
            ...     names.append(name)
            ...     return len(names)
            >>> paths = LayerPaths(label, {Linear, Model}, set())
            >>> paths.of(model, model), paths.of(model.blocks[1], model), names
            (1, 3, ['Model', 'blocks.0', 'blocks.1'])
        """
        known = self._known.get(id(layer))
        if known is not None and known[1] == (layer is outermost) and _is_same(known[0], layer):
            return known[2]
        if layer is outermost:
            return self._keep(layer, name_of(type(layer)), is_outermost=True)
        vain, wait = self._vain.get(id(outermost), (0, 0))
        if wait:
            self._vain[id(outermost)] = vain, wait - 1
            return self._keep(layer, name_of(type(layer)), is_outermost=False)
        self._walk(outermost)
        known = self._known.get(id(layer))
        if known is not None and not known[1] and _is_same(known[0], layer):
            return known[2]
        if len(self._vain) >= MAX_LAYERS:
            self._vain.clear()
        self._vain[id(outermost)] = min(vain + 1, MAX_VAIN), 1 << vain
        return self._keep(layer, name_of(type(layer)), is_outermost=False)

    def _keep(self, layer: Any, name: str, *, is_outermost: bool) -> int:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        trainable = sum(
            type(value) in self._tensors and (dictionary(value) or {}).get("requires_grad") is True
            for _, value in attributes(layer)
        )
        cls = name_of(type(layer)).replace("\\", "").replace('"', "")
        label = self._label(name, f'{{"class": "{cls}", "trainable": {trainable}}}')
        try:
            held: Any = ref(layer)
        except TypeError:  # without a place for weak references
            held = type(layer)
        self._known[id(layer)] = held, is_outermost, label
        return label

    def _walk(self, outermost: Any) -> None:
        """Name all layers that are in one, those nearest to it first."""
        seen, found = {id(outermost)}, 0
        near: list[tuple[str, Any]] = [("", outermost)]
        while near and found < MAX_LAYERS:
            further: list[tuple[str, Any]] = []
            for path, thing in near:
                for name, value in _members(thing):
                    is_layer = self._is_layer(value)
                    if not is_layer and type(value) not in (list, tuple, dict):
                        continue
                    if id(value) in seen:
                        continue
                    seen.add(id(value))
                    inner = f"{path}.{name}" if path else name
                    if is_layer:
                        found += 1
                        self._keep(value, inner, is_outermost=False)
                    further.append((inner, value))
            near = further

    def _is_layer(self, value: Any) -> bool:
        cls = type(value)
        return cls in self._layers or any(base in self._layers for base in mro(cls))


def _is_same(held: Any, layer: Any) -> bool:
    return held is type(layer) if issubclass(type(held), type) else held() is layer


def _members(thing: Any) -> list[tuple[str, Any]]:
    """What an object holds, or what is in a list or a dictionary."""
    kind = type(thing)
    if kind in (dict, list, tuple) and len(thing) > MAX_MEMBERS:
        return []
    if kind is dict:
        return [(str(k), v) for k, v in list(thing.items()) if type(k) in (str, int)]
    if kind in (list, tuple):
        return [(str(i), v) for i, v in enumerate(thing)]
    return list(attributes(thing))

"""What is recorded of the calls in a NumPy framework: spans of layers, nodes, optimizers and loaders, and arrows.

One span per call: a class's ``forward`` that calls that of its base class for the same object is one call.
"""

from __future__ import annotations

import _thread
from _weakref import ref
from typing import Any

from tinytrace.tracer.adapters.classes import Role, mro, name_of, namespace
from tinytrace.tracer.adapters.layer_paths import LayerPaths
from tinytrace.tracer.adapters.objects import attribute, dictionary, node_of
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.wrapping import After, Before

FIRST_SWEEP = 4_096  # nodes that are known before those that are gone are forgotten
RAISED = int(Flag.RAISED)
INSIDE = "inside"  # a call that is part of the one around it, for the same object: only counted, how deep it is
ARROW = "forward to backward"


class Calls:
    """Callbacks for functions by their role.

    Args:
        recorder: is written to.
        layers: the classes of layers; there may come more.
        tensors: the classes of tensors; likewise.
    """

    def __init__(self, recorder: Any, layers: set[type], tensors: set[type]) -> None:
        """Nothing was called yet."""
        self._recorder = recorder
        self._begin, self._end, self._flow = recorder.begin, recorder.end, recorder.flow
        self._tensors = tensors
        self._paths = LayerPaths(recorder.label, layers, tensors)
        self._arrow = recorder.label(ARROW, "")
        self._local = _thread._local()
        # By id of a node: the token of the span that made it; the node, weakly where it can be. A layer likewise.
        self._nodes: dict[int, tuple[int, Any]] = {}
        self._sweep_at = FIRST_SWEEP
        self._node_name = ""  # what tensors here call their node, once one had one

    def of(self, role: Role, cls: type, name: str) -> tuple[Before, After]:
        """Return what is called before and after a function.

        Args:
            role: what calls of it are.
            cls: the class that it is in.
            name: of the function.
        """
        if role == "layer":
            return self._layer(cls)
        if role == "op":
            return self._op(name.strip("_"))
        if role == "forward":
            return self._forward(cls)
        if role in ("backward", "layer backward"):
            return self._backward(cls, is_layer=role == "layer backward")
        if role == "walk":
            return self._walk(cls, name)
        return self._plain(cls, name, {"step": Kind.OPTIMIZER, "next": Kind.DATA}[role])

    # ---- forward ----

    def _layer(self, cls: type) -> tuple[Before, After]:
        begin, end, local, paths, tensors = (
            self._begin, self._end, self._local, self._paths, self._tensors,
        )  # fmt: skip

        goes_back = any("backward" in namespace(base) for base in mro(cls))

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not args:
                return None
            layer = args[0]
            try:
                running = local.running
            except AttributeError:
                running = local.running = []
            if not running:
                token = begin(Kind.LAYER, paths.of(layer, layer))
            elif running[-1] is layer:
                return INSIDE
            else:
                token = begin(Kind.LAYER, paths.of(layer, running[0]))
            running.append(layer)
            return token, running

        def after(state: Any, result: Any, raised: bool) -> None:
            if state is INSIDE:
                return
            token, running = state
            end(token, RAISED if raised else 0)
            layer = running.pop()
            if type(result) in tensors:
                self._made(result, token)
            if goes_back:
                self._know(layer, token)

        return before, after

    def _op(self, name: str) -> tuple[Before, After]:
        begin, end, tensors = self._begin, self._end, self._tensors
        label = self._recorder.label(name, "")
        is_op: bool | None = None  # until a call has returned a tensor, or something else

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return begin(Kind.FORWARD, label) if is_op is not False else None

        def after(token: Any, result: Any, raised: bool) -> None:
            nonlocal is_op
            end(token, RAISED if raised else 0)
            if type(result) in tensors:
                is_op = True
                self._made(result, token)
            elif not raised and is_op is None and result is not NotImplemented:
                is_op = False

        return before, after

    def _forward(self, cls: type) -> tuple[Before, After]:
        begin, end, label_of = self._begin, self._end, self._recorder.label
        labels: dict[type, int] = {}

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            first = args[0] if args else cls
            of = first if issubclass(type(first), type) else type(first)
            if cls not in mro(of):  # a static method: its arguments are tensors, or a context
                of = cls
            label = labels.get(of)
            if label is None:
                label = labels[of] = label_of(name_of(of), "")
            return begin(Kind.FORWARD, label)

        def after(token: Any, result: Any, raised: bool) -> None:
            end(token, RAISED if raised else 0)
            if type(result) in self._tensors:
                self._made(result, token)

        return before, after

    def _made(self, tensor: Any, token: int) -> None:
        """Remember which span made the node of a tensor: later generations of frameworks clear it afterwards."""
        try:  # where the last one was, in the plainest of ways: this is done for every operation
            node = attribute(tensor, "__dict__")[self._node_name]
        except (AttributeError, KeyError, TypeError):
            node = self._search(tensor)
        if node is None:
            return
        known = self._nodes.get(id(node))
        if known is None or known[0] < token:  # a later one is of an op inside: that made it
            self._know(node, token)

    def _search(self, tensor: Any) -> Any:
        name, node = node_of(tensor)
        if node is not None and dictionary(tensor) is not None:
            self._node_name = name
        return node

    def _know(self, thing: Any, token: int) -> None:
        try:
            held: Any = ref(thing)
        except (
            TypeError
        ):  # without a place for weak references: it counts until the next optimizer's step
            held = None
        self._nodes[id(thing)] = token, held
        if len(self._nodes) > self._sweep_at:
            self._forget()

    def _forget(self) -> None:
        """Forget nodes that are gone; afterwards there is room for as many as are left."""
        for key, (_, held) in list(self._nodes.items()):
            if held is None or held() is None:
                del self._nodes[key]
        self._sweep_at = max(FIRST_SWEEP, 2 * len(self._nodes))

    # ---- backward ----

    def _backward(self, cls: type, *, is_layer: bool) -> tuple[Before, After]:
        begin, end, flow, nodes, local = (
            self._begin, self._end, self._flow, self._nodes, self._local,
        )  # fmt: skip
        arrow, label_of = self._arrow, self._recorder.label
        labels: dict[type, int] = {}

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            node = args[0] if args else None
            outer = getattr(local, "node", None)
            if node is not None and outer is node:
                return INSIDE
            if is_layer:
                label = self._paths.of(node, node)
            else:
                of = type(node)
                label = labels.get(of, 0)
                if not label:
                    # A context is no node: the class of a static backward is what it is called by.
                    label = labels[of] = label_of(name_of(of if cls in mro(of) else cls), "")
            token = begin(Kind.BACKWARD, label)
            known = nodes.get(id(node))
            if known is not None and (known[1] is None or known[1]() is node):
                flow(known[0], token, arrow)
            local.node = node
            return token, outer

        def after(state: Any, result: Any, raised: bool) -> None:
            if state is INSIDE:
                return
            token, outer = state
            end(token, RAISED if raised else 0)
            local.node = outer

        return before, after

    def _walk(self, cls: type, name: str) -> tuple[Before, After]:
        """The backward pass as a whole: where it calls itself for every tensor, the outermost call."""
        begin, end, local = self._begin, self._end, self._local
        label = self._recorder.label(f"{name_of(cls)}.{name}", "")

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if getattr(local, "walks", False):
                return INSIDE  # it is counted how deep
            local.walks = True
            return begin(Kind.BACKWARD, label)

        def after(token: Any, result: Any, raised: bool) -> None:
            if token is not INSIDE:
                local.walks = False
                end(token, RAISED if raised else 0)

        return before, after

    # ---- the rest ----

    def _plain(self, cls: type, name: str, kind: Kind) -> tuple[Before, After]:
        begin, end, local, label_of = self._begin, self._end, self._local, self._recorder.label
        held = f"inside_{kind.name}"

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            thing = args[0] if args else None
            outer = getattr(local, held, None)
            if outer is not None and outer is thing:
                return INSIDE
            setattr(local, held, thing)
            of = type(thing) if cls in mro(type(thing)) else cls
            return begin(kind, label_of(f"{name_of(of)}.{name}", "")), outer

        def after(state: Any, result: Any, raised: bool) -> None:
            if state is INSIDE:
                return
            token, outer = state
            # A loader that has no more batches says so by an exception.
            end(token, RAISED if raised and kind != Kind.DATA else 0)
            setattr(local, held, outer)
            if kind == Kind.OPTIMIZER:
                self._forget()

        return before, after

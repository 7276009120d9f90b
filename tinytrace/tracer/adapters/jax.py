"""JAX: calls of jitted functions as ops that last until their results are ready, with XLA's own figures.

A jitted function returns before its work is done. The program is not made to wait for it: a thread of ours does,
and has the op on its track. Waits of the program itself are spans, and so are tracing, lowering and compiling.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from tinytrace.tracer.adapters.jax_ready import Watcher
from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.marks import Marks
from tinytrace.tracer.records import Flag, Kind

MAX_SHOWN = 6  # arguments of a call that its name shows
# Events of ``jax.monitoring``: a scalar when a phase begins, a duration when it ends.
PHASES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
UNSEEN_PHASES = "tracing, lowering and compiling are no spans with this version of JAX"
# What waits for an array, and how the program writes that.
WAITS = {
    "block_until_ready": "block_until_ready", "__array__": "np.asarray", "__float__": "float", "__int__": "int",
    "__bool__": "bool", "__complex__": "complex", "__index__": "index", "item": "item", "tolist": "tolist",
}  # fmt: skip
FIGURES = {"flops": "flops", "bytes accessed": "bytes", "transcendentals": "transcendentals"}


class _Local(threading.local):
    """Of a thread: whether a jitted function is called, whether it waits, phases that go on.

    And whether XLA is asked for figures, and compiled for that, which it should not.
    """

    def __init__(self) -> None:
        self.calling = self.waiting = self.asking = self.compiled = False
        self.phases: list[tuple[str, int]] = []


def install(adapting: Adapting, jax: ModuleType) -> None:
    """See jitted functions that exist and those that are going to be made, phases of compiling, waits.

    Nothing here may make an array or ask for devices: the program is still to say which backend it wants.
    """
    adapting.internal(jax)
    local = _Local()
    array = jax._src.array.ArrayImpl
    watcher = Watcher(adapting.recorder, vars(array)["block_until_ready"], vars(array)["is_ready"])
    adapting.at_end(watcher.stop)
    jitted = Jitted(adapting, jax, watcher, array, local)
    seen = adapting.see_objects(jitted.before, jitted.after)
    if seen is None:
        adapting.say("jitted functions of JAX are recorded by the compiled core only")
    else:
        kind = type(jax.jit(_nothing))
        for thing in [o for o in gc.get_objects() if type(o) is kind]:
            seen.add(thing)
        _see_new(adapting, jax, seen.add)
    _see_phases(adapting, jax, local)
    _see_waits(adapting, jax, array, local)


def _nothing() -> None:
    """A function to be jitted, and never called."""


def _see_new(adapting: Adapting, jax: ModuleType, add: Callable[[Any], None]) -> None:
    """See jitted functions when they are made: all are made in one place, which is no part of JAX's interface."""

    def made(token: Any, result: Any, raised: bool) -> None:
        if not raised:
            add(result)

    if not adapting.wrap(jax._src.pjit, "_cpp_pjit", lambda args, kwargs: True, made):
        adapting.say(
            "functions that are jitted while recording are not seen with this version of JAX"
        )


class Jitted:
    """Calls of jitted functions in one recording."""

    def __init__(
        self, adapting: Adapting, jax: ModuleType, watcher: Watcher, array: type, local: _Local
    ) -> None:
        """See nothing yet."""
        self._recorder = adapting.recorder
        self._say = adapting.say
        self._marks = Marks(adapting.recorder)
        self._watcher = watcher
        self._leaves = jax.tree_util.tree_leaves
        self._flatten = jax.tree_util.tree_flatten
        self._tracer = jax.core.Tracer
        self._config = jax.config
        self._array = array
        self._local = local
        self._asks = True
        # Per function the labels of its calls (dispatch, op), by what decides how they are compiled.
        self._labels: WeakKeyDictionary[Any, dict[Any, tuple[int, int]]] = WeakKeyDictionary()

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Begin a span: of the first call, or what may turn out to be an op; nothing while one is traced."""
        if self._local.calling or self._config.jax_disable_jit:
            return None
        function, *values = args
        leaves, tree = self._flatten((values, kwargs))
        if any(isinstance(leaf, self._tracer) for leaf in leaves):
            return None  # transformed, and not run
        key = (tree, self._static(function, values, kwargs), tuple(map(_kind, leaves)))
        labels = self._labels.setdefault(function, {}).get(key)
        what = labels[0] if labels else self._first(function, leaves)
        token = self._recorder.begin(Kind.SPAN, what)
        if not token:
            return None
        self._local.calling = True
        return token, labels or (key, args, kwargs, leaves)

    def after(self, begun: tuple[int, Any], result: Any, raised: bool) -> None:
        """End the span; if the results are ready it was the op, else that is waited for elsewhere."""
        self._local.calling = False
        token, about = begun
        is_first = len(about) > 2
        if raised or is_first:
            self._recorder.end(token, Flag.RAISED if raised else 0)
            if not raised:
                self._describe(*about)
            return
        arrays = [x for x in self._leaves(result) if isinstance(x, self._array)]
        dispatch, op = about
        self._watcher.returned(token, dispatch, op, arrays)

    def _first(self, function: Any, leaves: list[Any]) -> int:
        return self._marks.label(f"{_name(function)} (first call)", {"arguments": _shown(leaves)})

    def _static(self, function: Any, values: list[Any], kwargs: dict[str, Any]) -> Any:
        """The values of static arguments, by which a function is compiled too."""
        info = getattr(function, "_jit_info", None)
        numbers, names = getattr(info, "static_argnums", ()), getattr(info, "static_argnames", ())
        if not numbers and not names:
            return None
        at = tuple(values[n] for n in numbers or () if -len(values) <= n < len(values))
        return at, tuple((n, kwargs[n]) for n in names or () if n in kwargs)

    def _describe(
        self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]
    ) -> None:
        """Ask XLA what such a call costs. It was compiled just now, so that nothing is compiled again."""
        function, *values = args
        figures = self._figures(function, values, kwargs) if self._asks else {}
        about = {"figures": "modelled, by XLA's cost analysis"} if figures else {}
        op = self._marks.label(_name(function), {**figures, **about, "arguments": _shown(leaves)})
        dispatch = self._marks.label(f"{_name(function)} (dispatch)", {})
        self._labels[function][key] = dispatch, op

    def _figures(self, function: Any, values: list[Any], kwargs: dict[str, Any]) -> dict[str, int]:
        local = self._local
        local.calling = local.asking = True  # what asking calls is not the program's
        try:
            found = function.lower(*values, **kwargs).compile().cost_analysis()
            found = found[0] if isinstance(found, (list, tuple)) else found
            return {
                ours: int(found[theirs])
                for theirs, ours in FIGURES.items()
                if found.get(theirs, -1) >= 0
            }
        except Exception as problem:
            self._say(f"XLA gave no figures of {_name(function)}: {problem!r}")
            return {}
        finally:
            local.calling = local.asking = False
            if local.compiled:
                self._asks = False
                self._say(
                    f"XLA is not asked for figures any more: it compiled {_name(function)} again for them"
                )


def _name(function: Any) -> str:
    """The name of what was jitted; a `functools.partial` has none."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


def _kind(leaf: Any) -> Any:
    """What of an argument decides how a function is compiled, unless it is static."""
    shape = getattr(leaf, "shape", None)
    return type(leaf) if shape is None else (shape, getattr(leaf, "dtype", None))


def _shown(leaves: list[Any]) -> str:
    shown = [
        f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__
        for leaf in leaves[:MAX_SHOWN]
    ]
    more = len(leaves) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _see_phases(adapting: Adapting, jax: ModuleType, local: _Local) -> None:
    recorder, marks = adapting.recorder, Marks(adapting.recorder)
    monitoring = jax.monitoring

    def begins(event: str, value: float, **about: Any) -> None:
        phase = PHASES.get(event)
        if local.asking:
            local.compiled |= phase == "compile"
        elif phase is not None:
            name = str(about.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
            token = recorder.begin(Kind.SPAN, marks.label(f"{phase} {name}".strip(), {}))
            local.phases.append((event, token))

    def ends(event: str, seconds: float, **about: Any) -> None:
        if local.phases and local.phases[-1][0] == event:
            recorder.end(local.phases.pop()[1], 0)
        elif event in PHASES and not local.asking:
            adapting.say(UNSEEN_PHASES)  # this version does not tell when a phase begins

    try:
        pairs = (
            (monitoring.register_scalar_listener, monitoring.unregister_scalar_listener, begins),
            (
                monitoring.register_event_duration_secs_listener,
                monitoring.unregister_event_duration_listener,
                ends,
            ),
        )
    except AttributeError:
        adapting.say(UNSEEN_PHASES)
        return
    for register, unregister, listener in pairs:
        register(listener)
        adapting.at_end(partial(unregister, listener))


def _see_waits(adapting: Adapting, jax: ModuleType, array: type, local: _Local) -> None:
    recorder, marks = adapting.recorder, Marks(adapting.recorder)

    def begin(name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
            if local.waiting or local.calling:
                return None
            token: int = recorder.begin(Kind.SPAN, marks.label(f"wait: {name}", {}))
            local.waiting = token != 0
            return token or None

        return before

    def end(token: int, result: Any, raised: bool) -> None:
        local.waiting = False
        recorder.end(token, Flag.RAISED if raised else 0)

    for member, name in WAITS.items():
        adapting.wrap(array, member, begin(name), end)
    for member in ("block_until_ready", "device_get"):
        adapting.wrap(jax, member, begin(member), end)

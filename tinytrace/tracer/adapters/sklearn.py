"""scikit-learn: the work of estimators as spans (``Pipeline.fit`` around ``StandardScaler.fit_transform``).

Every class that inherits from ``sklearn.base.BaseEstimator`` counts, the program's own too. A method is seen where a
class defines it, mixins included, so that one call is one span however deep the inheritance is.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.marks import Marks
from tinytrace.tracer.records import Flag, Kind

# Public methods that compute. Not those that return generators (``staged_predict``): their work comes later.
METHODS = (
    "fit", "partial_fit", "fit_transform", "fit_predict", "transform", "inverse_transform", "predict",
    "predict_proba", "predict_log_proba", "decision_function", "score", "score_samples", "kneighbors",
    "radius_neighbors", "sample", "sample_y",
)  # fmt: skip


def install(adapting: Adapting, base: ModuleType) -> None:
    """See the estimators that exist, and those that are going to be defined.

    Args:
        adapting: of this recording.
        base: ``sklearn.base``.
    """
    estimators = Estimators(adapting, base.BaseEstimator)
    mixins = [c for c in vars(base).values() if isinstance(c, type)]
    for cls in {c for mixin in mixins for c in mixin.__mro__}:
        estimators.await_subclasses(cls)
    for cls in _subclasses(base.BaseEstimator):
        estimators.look_at(cls)
    estimators.await_pickled()


class Estimators:
    """Sees the work of estimators in one recording."""

    def __init__(self, adapting: Adapting, base: type) -> None:
        """See nothing yet; ``base`` is ``BaseEstimator``."""
        self._adapting = adapting
        self._recorder = adapting.recorder
        self._base = base
        self._marks = Marks(adapting.recorder)
        self._known: set[type] = set()
        self._stacks = _Stacks()

    def look_at(self, cls: type) -> None:
        """See the methods that this estimator or what it inherits from defines."""
        for owner in cls.__mro__:
            if owner not in self._known:
                self._known.add(owner)
                self._see(owner)

    def await_subclasses(self, cls: type) -> None:
        """Look at classes when they are defined: where ``cls`` is told of them."""
        if "__init_subclass__" in vars(cls):
            self._adapting.wrap(cls, "__init_subclass__", self._defining, self._defined)

    def await_pickled(self) -> None:
        """Look again at the classes of estimators that are unpickled or cloned.

        What cloudpickle brings along (classes of ``__main__`` in the workers of joblib) gets its methods after it
        was defined.
        """

        def unpickled(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._see(type(args[0]))

        for name in ("__setstate__", "__sklearn_clone__"):
            self._adapting.wrap(self._base, name, unpickled, _nothing)

    def _see(self, owner: type) -> None:
        members = vars(owner)
        for name in METHODS:
            if name in members:
                before = self._begin(name, members[name])
                if not self._adapting.wrap(owner, name, before, self._end):
                    self._see_conditional(members[name], before)
        self.await_subclasses(owner)

    def _see_conditional(self, member: Any, before: Callable[..., Any]) -> None:
        """Of ``available_if`` there is a descriptor, which binds its ``fn`` where the method is available."""
        if isinstance(getattr(member, "__dict__", {}).get("fn"), FunctionType):
            self._adapting.wrap(member, "fn", before, self._end)

    # ---- classes that are defined ----

    def _defining(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> type:
        """``__init_subclass__`` is called, by another one perhaps, which is going to replace methods."""
        cls: type = args[0]
        self._stacks.defining.append(cls)
        return cls

    def _defined(self, cls: type, result: Any, raised: bool) -> None:
        defining = self._stacks.defining
        defining.pop()
        if cls not in defining and not raised and issubclass(cls, self._base):
            self.look_at(cls)

    # ---- calls ----

    def _begin(self, method: str, member: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        base, recorder, marks, stacks = self._base, self._recorder, self._marks, self._stacks
        data = _first_parameter(member)

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
            if not args or not isinstance(args[0], base):
                return None  # of a mixin, in a class that is no estimator
            call = (id(args[0]), method)
            if stacks.working[-1:] == [call]:
                return None  # by ``super()``: the work of the same call
            x = args[1] if len(args) > 1 else kwargs.get(data)
            label = marks.label(f"{type(args[0]).__name__}.{method}", {data: _described(x)})
            token: int = recorder.begin(Kind.SPAN, label)
            if not token:
                return None
            stacks.working.append(call)
            return token

        return begin

    def _end(self, token: int, result: Any, raised: bool) -> None:
        self._stacks.working.pop()
        self._recorder.end(token, Flag.RAISED if raised else 0)


class _Stacks(threading.local):
    """Of a thread: classes that are being defined, and calls of methods that go on; outermost first."""

    def __init__(self) -> None:
        self.defining: list[type] = []
        self.working: list[tuple[int, str]] = []


def _nothing(token: Any, result: Any, raised: bool) -> None:
    """After a call of which only the beginning mattered."""


def _described(x: Any) -> str:
    """Type, element type and shape of data, without computing anything: its repr may be long, and work."""
    kind = type(x).__name__
    shape = getattr(x, "shape", None)
    if isinstance(shape, tuple):
        dtype = getattr(x, "dtype", None)
        return f"{kind} {tuple(shape)}" if dtype is None else f"{kind} {dtype} {tuple(shape)}"
    return f"{kind} of {len(x):,}" if isinstance(x, (list, tuple)) else kind


def _first_parameter(member: Any) -> str:
    """The name of the data that a method is given: mostly X, y of encoders of labels."""
    code = getattr(inspect.unwrap(member), "__code__", None)
    names = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    return names[0] if names else "X"


def _subclasses(cls: type) -> Iterator[type]:
    """All classes below one, each at least once."""
    below: type
    for below in type.__subclasses__(cls):
        yield below
        yield from _subclasses(below)

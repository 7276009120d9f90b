"""What adapters of communication libraries share: calls written down as `tracer.communication_names` says."""

from __future__ import annotations

import _thread
import heapq
import inspect
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.communication_names import KEY, ranks_text
from tinytrace.tracer.marks import MAX_LABELS, Marks
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.wrapping import After, Before

MOST_REQUESTS = 4096  # at once; of further ones it is not known when they are done


class Group(NamedTuple):
    """A communicator: its name, its members (ranks of the job; None: not known), the caller's rank."""

    name: str
    members: tuple[int, ...] | None
    rank: int

    @property
    def args(self) -> dict[str, Any]:
        """What the arguments of a span say of it."""
        ranks = {} if self.members is None else {"ranks": ranks_text(self.members)}
        return {"group": self.name, **ranks, "rank": self.rank}


class Call(NamedTuple):
    """What one call is; None where it is not known, or does not apply."""

    op: str
    group: Group | None = None
    bytes: int | None = None
    peer: int | None = None
    tag: int | None = None
    source: int | None = None
    source_tag: int | None = None
    is_queued: bool = False
    goes_on: bool = False  # what it returns is a request


Learn = Callable[[Call, tuple[Any, ...], dict[str, Any], Any], tuple[int | None, int | None]]
"""Called with a receive, its arguments and its result: returns from which rank it was, and with which tag."""


class Parameters:
    """Arguments of a function by the names of its parameters, wherever they stand.

    Example:
        >>> def send(tensor, dst=None, *, tag=0): ...
        >>> find = Parameters(send)
        >>> find((1, 2), {"tag": 3}, "dst"), find((1, 2), {"tag": 3}, "tag"), find((1,), {}, "tag")
        (2, 3, 0)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Look at the signature once.

        Raises:
            ValueError: it has none that can be read.
        """
        parameters = inspect.signature(function).parameters
        self._at = {name: (row, p.default) for row, (name, p) in enumerate(parameters.items())}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
        """Return the argument, its default, or None where there is no such parameter."""
        at, default = self._at.get(name, (-1, None))
        if 0 <= at < len(args):
            return args[at]
        value = kwargs.get(name, default)
        return None if value is inspect.Parameter.empty else value


class Communicating:
    """Writes down the calls of one library.

    Args:
        adapting: of this recording.
    """

    def __init__(self, adapting: Adapting) -> None:
        """Nothing is under way."""
        self.on = True
        self._recorder = adapting.recorder
        self._marks = Marks(adapting.recorder)
        self._labels: dict[Any, int] = {}
        self._inside: set[int] = (
            set()
        )  # threads in a call of ours: what that calls itself is its own affair
        self.requests = Requests()
        adapting.at_end(self.end)

    def end(self) -> None:
        """Record nothing more."""
        self.on = False

    def callbacks(
        self,
        name: str,
        describe: Callable[[tuple[Any, ...], dict[str, Any]], Call | None],
        learn: Learn | None = None,
    ) -> tuple[Before, After]:
        """Return what is called before and after a function of the library.

        Args:
            name: of the span.
            describe: says of the arguments what the call is; None: nothing that is to be recorded.
            learn: of a receive from anybody, or with any tag, says afterwards which message it was.
        """

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            thread = _thread.get_ident()
            if not self.on or thread in self._inside:
                return None
            call = describe(args, kwargs)
            if call is None:
                return None
            slot = self.requests.take() if call.goes_on else -1
            if call.goes_on and slot < 0:
                call = call._replace(is_queued=True)
            token = self._begin(thread, (name, call, (slot,) if slot >= 0 else ()))
            asks = (
                learn is not None
                and call.op == "receive"
                and (call.peer is None or call.tag is None)
            )
            return token, slot, thread, (call, args, kwargs) if asks else None

        def after(begun: tuple[int, int, int, Any], result: Any, raised: bool) -> None:
            token, slot, thread, asked = begun
            self._inside.discard(thread)
            if asked is not None and not raised and learn is not None:
                call, args, kwargs = asked
                self._recorder.instant(self._learnt(call, *learn(call, args, kwargs, result)))
            self._recorder.end(token, Flag.RAISED if raised else 0)
            if slot >= 0:
                self.requests.give(slot, result)

        return before, after

    def wait_callbacks(
        self, name: str, objects: Callable[[tuple[Any, ...], dict[str, Any]], list[Any]]
    ) -> tuple[Before, After]:
        """Return what is called before and after a function that waits for requests.

        Args:
            name: of the span.
            objects: the requests among the arguments. Of those that are not known, no wait is recorded.
        """

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            thread = _thread.get_ident()
            if not self.on or thread in self._inside:
                return None
            slots = sorted(
                {s for o in objects(args, kwargs) if (s := self.requests.slot_of(o)) >= 0}
            )
            if not slots:
                return None
            return self._begin(thread, (name, Call("wait"), tuple(slots))), slots, thread

        def after(begun: tuple[int, list[int], int], result: Any, raised: bool) -> None:
            token, slots, thread = begun
            self._inside.discard(thread)
            self._recorder.end(token, Flag.RAISED if raised else 0)
            for slot in slots:
                self.requests.free(slot)

        return before, after

    def _begin(self, thread: int, key: tuple[str, Call, tuple[int, ...]]) -> int:
        label = self._labels.get(key)
        if label is None:
            label = self._label(*key)
            if len(self._labels) < MAX_LABELS:
                self._labels[key] = label
        self._inside.add(thread)
        return int(self._recorder.begin(Kind.SPAN, label))

    def _learnt(self, call: Call, peer: int | None, tag: int | None) -> int:
        """Label of what a receive has got: it lies in the span, whose own arguments were fixed when it began."""
        return self._marks.label("received", self._args(call._replace(peer=peer, tag=tag)))

    def _label(self, name: str, call: Call, slots: tuple[int, ...]) -> int:
        args = self._args(call)
        if slots:
            args["requests"] = ranks_text(slots)
        return self._marks.label(name, args)

    @staticmethod
    def _args(call: Call) -> dict[str, Any]:
        args: dict[str, Any] = {KEY: call.op}
        if call.group is not None:
            args |= call.group.args
        for key in ("bytes", "peer", "tag", "source", "source_tag"):
            value = getattr(call, key)
            if value is not None:
                args[key] = value
        if call.is_queued:
            args["queued"] = True
        return args


class Requests:
    """Small numbers of what goes on, free again when it was waited for, or is forgotten.

    Example:
        >>> requests = Requests()
        >>> class Work: ...
        >>> first, second = Work(), Work()
        >>> for work in (first, second): requests.give(requests.take(), work)
        >>> requests.slot_of(second)
        1
        >>> requests.free(0); requests.take()
        0
    """

    def __init__(self) -> None:
        """All numbers are free."""
        self._free: list[int] = []
        self._next = 0
        self._of: dict[
            int, tuple[int, Any]
        ] = {}  # by id of the request: its number, a weak reference
        self._ids: dict[int, int] = {}

    def take(self) -> int:
        """Return the smallest free number; −1: there is none."""
        if self._free:
            return heapq.heappop(self._free)
        if self._next == MOST_REQUESTS:
            return -1
        self._next += 1
        return self._next - 1

    def give(self, slot: int, request: Any) -> None:
        """Say whose number it is; None: nobody's after all."""
        if request is None:
            self._release(slot)
            return
        ident = id(request)
        before = self._of.pop(ident, None)  # it is gone, and another has its place in memory
        if before is not None:
            self._ids.pop(before[0], None)
            self._release(before[0])
        try:
            reference = weakref.ref(request, lambda _: self.free(slot, ident))
        except TypeError:
            reference = None
        self._of[ident] = slot, reference
        self._ids[slot] = ident

    def slot_of(self, request: Any) -> int:
        """Return the number of a request; −1: none is known."""
        slot, reference = self._of.get(id(request), (-1, None))
        return slot if reference is None or reference() is request else -1

    def free(self, slot: int, ident: int | None = None) -> None:
        """Make a number free again, unless it is another request's by now."""
        owner = self._ids.get(slot)
        if owner is None or (ident is not None and owner != ident):
            return
        del self._ids[slot]
        self._of.pop(owner, None)
        self._release(slot)

    def _release(self, slot: int) -> None:
        heapq.heappush(self._free, slot)


def see_in_c(adapting: Adapting, owner: type, name: str, before: Before, after: After) -> bool:
    """Have calls of a method of a class written in C seen, whose attributes cannot be set; whether that can be.

    What it is called by is the dictionary behind the class's ``__dict__``: Cython's methods are looked up there.
    """
    from tinytrace.tracer.pyslots import DictPatch, modified, type_dict
    from tinytrace.tracer.wrapping import around_in_python

    recorder = adapting.recorder
    around = recorder.around if recorder.core == "c" else around_in_python
    original: Any = vars(owner).get(name)
    is_bound_otherwise = isinstance(original, (staticmethod, classmethod))
    function = original.__func__ if is_bound_otherwise else original
    if not callable(function) or not hasattr(type(function), "__get__"):
        return False
    seen = around(
        function, before, after, lambda p: adapting.say(f"a call was not recorded: {p!r}")
    )
    if is_bound_otherwise:
        seen = type(original)(seen)
    patch = DictPatch(type_dict(owner), name, seen, lambda: modified(owner))

    def undo() -> None:
        if (problem := patch.undo()) is not None:
            adapting.say(f"{owner.__name__}.{problem}")

    adapting.at_end(undo)
    return True

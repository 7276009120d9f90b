"""One call of something that is hooked, from Python: found, run, recorded.

A hooked call passes through two frames of ours. They must not show: the inner one, a *runner*,
carries the file, line, function name and globals of the frame that made the call, so that a warning
that NumPy raises points there; both are cut out of the tracebacks of exceptions, and left out of
recorded stacks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from tinytrace.tracer.caps import CAPS
from tinytrace.tracer.pyoperands import Hook
from tinytrace.tracer.pysignatures import Signatures
from tinytrace.tracer.pyslots import set_handled_traceback
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Flag, Policy
from tinytrace.tracer.segments import WORDS_PER_RECORD
from tinytrace.tracer.thread_writer import MAX_DEPTH, OPEN, UINT32_MAX, ThreadWriter

MAX_PLACES = CAPS.sites
# Plain integers: the operators of enumerations take longer than all the rest of a record.
COPIES_ONLY, OPAQUE = int(Policy.COPIES_ONLY), int(Policy.OPAQUE)
RAISED = int(Flag.RAISED)
NO_WRITER = ThreadWriter(0, 0, 0, 0, 0)  # without room

# Each on one line, see `Places.find`.
_runner = (lambda function, args, kwargs: function(*args, **kwargs)).__code__
_pair_runner = (lambda function, a, b: function(a, b)).__code__

Runner = Callable[..., Any]
# The call site, shifted to its half of a word (−1: NumPy's own code, the site is further out); the runner of any
# call, and that of two arguments (None: to be made for each call); their codes; the calling code (kept, so that
# its id stays its own).
Place = tuple[int, Runner | None, Runner | None, tuple[CodeType, CodeType], CodeType]
# An open span: its thread's writer, its number, segment and first word there, the distance to its parent, its site.
Span = tuple[ThreadWriter, int, memoryview, int, int, int]


class Places:
    """The places that hooked calls are made from, met so far.

    Args:
        recorder: gives them their numbers, and is told which code is ours.
    """

    def __init__(self, recorder: PythonRecorder) -> None:
        """Know none yet."""
        self.known: dict[tuple[int, int], Place] = {}  # by id of the code, and instruction
        self._recorder = recorder
        recorder.forget_places = self.known.clear
        self._codes: list[CodeType] = []  # keeps the ids in recorder.hidden meaningful

    def find(self, frame: FrameType) -> Place:
        """Return what is known of the place where a frame is."""
        code, line = frame.f_code, frame.f_lineno or 0
        names: Any = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}
        # Runners have one line, which counts from co_firstlineno.
        names |= {"co_filename": code.co_filename, "co_name": code.co_name, "co_firstlineno": line}
        codes = _runner.replace(**names), _pair_runner.replace(**names)
        run = pair = None
        if _lasting(frame.f_globals):
            run, pair = (FunctionType(each, frame.f_globals) for each in codes)
        site, flags = self._recorder.tables.site(frame)
        self._recorder.tables.place_met()
        place = (-1 if flags else site << 32), run, pair, codes, code
        if len(self.known) < MAX_PLACES:
            self._recorder.hidden.update(map(id, codes))
            self._codes += codes
            self.known[id(code), frame.f_lasti] = place
        return place


def _lasting(namespace: dict[str, Any]) -> bool:
    """Whether these globals belong to a module that stays: others are not kept alive by us."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return isinstance(module, ModuleType) and module.__dict__ is namespace


class Calls:
    """What begins and ends the spans of hooked calls.

    Args:
        recorder: is given every op.
        signatures: describe the calls.
        ufunc: NumPy's type.
    """

    def __init__(self, recorder: PythonRecorder, signatures: Signatures, ufunc: type) -> None:
        """Prepare."""
        self._recorder = recorder
        self._local = recorder.local
        self._clock = recorder.clock
        self._signatures = signatures
        self._ndarray = signatures.reader.ndarray
        self._ufunc = ufunc
        self._ops: dict[tuple[Any, str], int] = {}  # of methods of ufuncs

    def begin(self, hook: Hook, site: int, frame: FrameType) -> Span | None:
        """Begin the span of a call; None: it is not recorded."""
        writer: ThreadWriter | None = getattr(self._local, "writer", NO_WRITER)
        if writer is None or writer.next >= writer.end:
            writer = self._recorder.writer()
        if writer is None or writer.opaque:
            return None
        if site < 0:
            site = self._recorder.tables.call_site(frame) << 32
        if len(writer.stack) >= MAX_DEPTH:
            self._recorder.drop()
            return None
        writer.opaque = hook.policy & OPAQUE
        n, words, at, up = writer.begin(hook.bare | site, OPEN, self._clock)
        return writer, n, words, at, up, site

    def end(  # noqa: PLR0917  (a call in parts: packing them is time added to every op)
        self,
        span: Span,
        end_ns: int,
        hook: Hook,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        """End the span of a call that returned."""
        writer, n, words, at, up, site = span
        writer.opaque = 0  # inside an opaque op no other began
        stack = writer.stack
        try:
            if not stack or stack[-1] != n:
                if n in stack:
                    words[at + 2] = self._signature(hook, args, kwargs, (result,)) | site
                    writer.finish(words, at, n, end_ns, 0)
                return
            if hook.policy & COPIES_ONLY and writer.next == n + 1:  # nothing inside
                if not isinstance(result, self._ndarray):
                    copied = hook.bound and args and isinstance(args[0], self._ndarray)
                else:
                    given = (*args, *kwargs.values())
                    copied = not self._signatures.reader.shares_memory(result, given)
                if not copied:
                    writer.discard(words, at, n)
                    return
            stack.pop()
            words[at + 1] = end_ns - words[at]
            words[at + 2] = self._signature(hook, args, kwargs, (result,)) | site
            words[at + 3] = up
        except Exception as problem:
            self._recorder.fail(problem)

    def failed(  # noqa: PLR0917
        self,
        span: Span | None,
        problem: BaseException,
        hook: Hook | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        codes: tuple[CodeType, CodeType],
    ) -> None:
        """End the span of a call that raised, and take our two frames out of the exception's traceback."""
        if span is not None and hook is not None:
            end_ns = self._clock()
            writer, n, words, at, _up, site = span
            writer.opaque = 0
            try:
                if n in writer.stack:
                    words[at + 2] = self._signature(hook, args, kwargs, ()) | site
                    writer.finish(words, at, n, end_ns, RAISED)
            except Exception as own:
                self._recorder.fail(own)
        _cut_out(problem, codes)

    def _signature(
        self, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], results: tuple[Any, ...]
    ) -> int:
        op = self._method_op(hook, args[0]) if hook.method and args else hook.op
        return self._signatures.of(hook, op, args, kwargs, results)

    def _method_op(self, hook: Hook, obj: Any) -> int:
        """Return the op of a ufunc's method: ``add.reduce``, named on first sight."""
        if not isinstance(obj, self._ufunc):
            return hook.op
        key = (obj, hook.method)
        found = self._ops.get(key)
        if found is None:
            name = f"{obj.__name__}.{hook.method}"  # type: ignore[attr-defined]
            found = self._ops[key] = self._recorder.op(name)
        return found

    def traced(
        self, original: Any, fixed: Hook | None, hooks: dict[int, Hook], places: Places
    ) -> FunctionType:
        """Return a function that calls ``original`` and records it as an op.

        Ufuncs of plain arrays, the most frequent calls, are recorded without calling another function of
        ours: each would be time added to every op.

        Args:
            original: what is hooked: a function of C, or the call of a type.
            fixed: what is known of it; None: that depends on the object called.
            hooks: by id of that object.
            places: from where calls are made.
        """
        local, clock, getframe = self._recorder.local, self._recorder.clock, sys._getframe
        begin, finish, failed, fail = self.begin, self.end, self.failed, self._recorder.fail
        known_place, find_place = places.known.get, places.find
        ndarray: Any = self._ndarray
        signature, learn = self._signatures.of, self._signatures.learn
        same_place = self._signatures.reader.same_place

        def traced(*args: Any, **kwargs: Any) -> Any:
            frame = getframe(1)
            place: Any = known_place((id(frame.f_code), frame.f_lasti)) or find_place(frame)
            site, run, pair, codes, _ = place
            hook: Any = fixed or (hooks.get(id(args[0])) if args else None)
            writer: ThreadWriter = getattr(local, "writer", NO_WRITER)
            n = writer.next
            plain = (
                hook is not None
                and hook.call is not None
                and len(args) > hook.n_in
                and not kwargs
                and site >= 0
                and n < writer.end
                and not writer.opaque
                and len(writer.stack) < MAX_DEPTH
            )
            span: Any = None
            if plain:
                writer.next = n + 1
                words, at, stack = writer.words, n * WORDS_PER_RECORD + writer.shift, writer.stack
                up = n - stack[-1] if stack else 0
                if up > UINT32_MAX:
                    up = 0
                stack.append(n)
                words[at + 2] = hook.bare | site
                words[at + 3] = up | OPEN
                span = writer, n, words, at, up, site
                words[at] = start = clock()  # last: this makes it a record
            elif hook is not None:
                span = begin(hook, site, frame)
            if run is None:
                run, pair = (FunctionType(each, frame.f_globals) for each in codes)
            del frame
            try:
                result = (
                    pair(hook.call, args[1], args[2])
                    if plain and len(args) == 3
                    else run(original, args, kwargs)
                )
            except BaseException as problem:
                failed(span, problem, hook, args, kwargs, codes)
                raise
            if span is None:
                return result
            end = clock()
            if not plain or not stack or stack[-1] != n:
                finish(span, end, hook, args, kwargs, result)
                return result
            stack.pop()
            try:
                a, b = args[1], args[hook.n_in]  # the same one where there is one argument
                in_place = len(args) - 1 - hook.n_in
                if (
                    type(a) is ndarray
                    and type(b) is ndarray
                    and type(result) is ndarray
                    and (not in_place or result is a)
                ):
                    key: tuple[Any, ...]
                    key = a.dtype, a.shape, a.strides, b.dtype, b.shape, b.strides, result.dtype
                    if a is b:
                        key = key[2:]
                    elif not (a.base is None and b.base is None) and same_place(a, b):
                        key = (*key, True)
                    if in_place:
                        key = (*key, None)
                    what = hook.known.get(key)
                    if what is None:
                        what = learn(hook, hook.op, key, args, kwargs, (result,))
                else:
                    what = signature(hook, hook.op, args, kwargs, (result,))
                words[at + 1] = end - start
                words[at + 2] = what | site
                words[at + 3] = up
            except Exception as problem:
                fail(problem)
            return result

        self._recorder.hidden.add(id(traced.__code__))
        return traced  # type: ignore[return-value]


def _cut_out(problem: BaseException, codes: tuple[CodeType, CodeType]) -> None:
    """Take our two frames out of the traceback of the exception that is being handled."""
    first = problem.__traceback__
    second = first.tb_next if first is not None else None
    if second is None or not any(second.tb_frame.f_code is code for code in codes):
        return
    problem.__traceback__ = second.tb_next
    if sys.version_info < (3, 11):
        set_handled_traceback(problem, second.tb_next)

"""Hooks into NumPy from Python alone, for where there is no compiler: a `HookBackend`.

A hooked call passes through two frames of ours. They must not show: the inner one, a *runner*,
carries the file, line, function name and globals of the frame that made the call, so that a warning
that NumPy raises points there; both are cut out of the tracebacks of exceptions, and left out of
recorded stacks.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from tinytrace.tracer.caps import CAPS
from tinytrace.tracer.pyoperands import ArrayReader, Hook, Signatures
from tinytrace.tracer.pyslots import (
    CallPatch,
    DictPatch,
    modified,
    set_handled_traceback,
    type_dict,
)
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Flag, Policy
from tinytrace.tracer.segments import WORDS_PER_RECORD
from tinytrace.tracer.thread_writer import OPEN, UINT32_MAX, ThreadWriter

MAX_PLACES = CAPS.sites
PACKAGES = ("numpy", "scipy")  # whose modules hold the functions that are replaced
# Plain integers: the operators of enumerations take longer than all the rest of a record.
COPIES_ONLY, OPAQUE = int(Policy.COPIES_ONLY), int(Policy.OPAQUE)
RAISED = int(Flag.RAISED)
# Methods that count the references to their object, which a Python function in between would raise.
COUNTS_REFERENCES = {"resize"}

_runner = (
    lambda function, args, kwargs: function(*args, **kwargs)
).__code__  # on one line, see `_place`

Runner = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
# call site (−1: NumPy's own code, the site is further out), runner (None: to be made for each
# call), the runner's code, and the calling code (kept, so that its id stays its own)
Place = tuple[int, Runner | None, CodeType, CodeType]


class _Builtin(staticmethod):  # type: ignore[type-arg]
    """Stands for a builtin function: like one, it does not become a method in a class."""

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)  # pickled by name

    def __getattr__(self, name: str) -> Any:
        hooked: Any = self.__wrapped__
        return getattr(hooked.__wrapped__, name)  # __self__, __text_signature__


class PythonHooks:
    """The hooks of the recorder in Python.

    Args:
        recorder: is given every op.

    Attributes:
        unseen: what is not recorded, as sentences.
    """

    _installed: PythonHooks | None = None

    def __init__(self, recorder: PythonRecorder) -> None:
        """Prepare; nothing is hooked before `attach` and the ``install_…`` methods."""
        self._recorder = recorder
        self._patches: list[CallPatch | DictPatch] = []
        self._types: set[type] = set()
        self._calls: dict[int, Hook] = {}
        self._objects: list[Any] = []  # keeps the ids in _calls meaningful
        self._places: dict[tuple[int, int], Place] = {}
        self._runners: list[CodeType] = []  # keeps the ids in recorder.hidden meaningful
        self._method_ops: dict[tuple[Any, str], int] = {}
        self._by_name: dict[str, list[tuple[dict[str, Any], str, Any]]] = {}
        self._scanned: set[str] = set()
        self._signatures: Signatures
        self._ufunc: type
        self.unseen: list[str] = []

    # ---- installing ----

    def attach(self, ufunc_type: type, /) -> None:
        """See `HookBackend.attach`. Hooks of a recorder before us, as after a fork, come off."""
        if PythonHooks._installed not in {None, self}:
            PythonHooks._installed.uninstall()
        PythonHooks._installed = self
        self._ufunc = ufunc_type
        reader = ArrayReader(sys.modules[ufunc_type.__module__])
        self._signatures = Signatures(reader, self._recorder.tables.signature)
        self._recorder.op_cost = self.op_cost

    def install_call(self, obj: Any, op: int, n_in: int, policy: int, /) -> None:
        """See `HookBackend.install_call`.

        Raises:
            TypeError: an object whose calls cannot be told from those of unrelated ones.
        """
        cls = type(obj)
        if cls in {BuiltinFunctionType, MethodDescriptorType, FunctionType, MethodType, type}:
            raise TypeError(f"{obj!r} cannot be hooked by its type")
        if cls not in self._types:
            traced = self._traced(cls.__dict__.get("__call__"), None)
            self._patches.append(CallPatch(cls, traced))
            self._types.add(cls)
        self._objects.append(obj)
        self._calls[id(obj)] = Hook(op, policy, n_in, self._bare(op), True)

    def install_method(self, owner: Any, name: str, op: int, policy: int, /) -> None:
        """See `HookBackend.install_method`.

        Raises:
            AttributeError: there is no such method.
            TypeError: it is none of C, or would behave otherwise under a hook.
        """
        if name in COUNTS_REFERENCES:
            raise TypeError(f"{name} counts references, which a hook in Python would change")
        self._scan()
        if isinstance(owner, type):
            self._install_type_method(owner, name, op, policy)
        else:
            self._install_builtin(owner, name, op, policy)

    def _install_type_method(self, owner: type, name: str, op: int, policy: int) -> None:
        entries = type_dict(owner)
        original = entries.get(name)
        if original is None:
            raise AttributeError(f"{owner!r} has no method {name!r} of its own")
        if isinstance(original, FunctionType):
            raise TypeError(f"{name!r} of {owner!r} is not a C method")
        of_ufunc = name if owner is self._ufunc else ""
        traced = self._traced(original, Hook(op, policy, -1, self._bare(op), True, of_ufunc))
        self._name(traced, original, owner.__module__, f"{owner.__qualname__}.{name}")
        self._patches.append(DictPatch(entries, name, traced, lambda: modified(owner)))
        for namespace, key, obj in self._by_name.get(name, ()):
            if isinstance(getattr(obj, "__self__", None), owner):  # sum = add.reduce
                self._replace(namespace, key, obj, MethodType(traced, obj.__self__))

    def _install_builtin(self, module: Any, name: str, op: int, policy: int) -> None:
        original = getattr(module, name)
        if type(original) is not BuiltinFunctionType:
            raise TypeError(f"{name!r} of {module!r} is not a builtin function")
        traced = self._traced(original, Hook(op, policy, -1, self._bare(op), False))
        self._name(traced, original, original.__module__ or module.__name__, original.__qualname__)
        hooked = _Builtin(traced)
        self._replace(vars(module), name, original, hooked)
        for namespace, key, obj in self._by_name.get(name, ()):
            if obj is original:
                self._replace(namespace, key, obj, hooked)

    def _bare(self, op: int) -> int:
        """Return the signature of an op without operands."""
        return self._recorder.tables.signature(struct.pack("<Q", op))

    def _replace(self, namespace: dict[str, Any], name: str, original: Any, value: Any) -> None:
        if namespace.get(name) is original:
            self._patches.append(DictPatch(namespace, name, value, lambda: None))

    @staticmethod
    def _name(traced: FunctionType, original: Any, module: str, qualname: str) -> None:
        traced.__name__ = original.__name__
        traced.__qualname__ = qualname
        traced.__module__ = module
        traced.__doc__ = original.__doc__
        traced.__wrapped__ = original  # type: ignore[attr-defined]  # for inspect.signature
        traced.__text_signature__ = original.__text_signature__  # type: ignore[attr-defined]

    def _scan(self) -> None:
        """Find the C functions that NumPy's modules hold under names of their own."""
        for key, module in list(sys.modules.items()):
            if key in self._scanned or key.partition(".")[0] not in PACKAGES:
                continue
            self._scanned.add(key)
            if isinstance(module, ModuleType):
                for name, obj in list(vars(module).items()):
                    if type(obj) is BuiltinFunctionType:
                        entry = (vars(module), name, obj)
                        self._by_name.setdefault(obj.__name__, []).append(entry)

    def install_indexing(self, array_type: type, get_op: int, set_op: int, /) -> None:
        """See `HookBackend.install_indexing`. Not done: ``a[i]`` would take several times longer."""
        self.unseen.append(
            "fancy indexing and assignment were not recorded: that takes the compiled core"
        )

    def install_memory(self) -> None:
        """See `HookBackend.install_memory`. Not done: NumPy's allocator calls C functions only."""
        self.unseen.append("array memory was not counted: that takes the compiled core")

    def uninstall(self) -> list[str]:
        """See `HookBackend.uninstall`."""
        problems = [patch.undo() for patch in reversed(self._patches)]
        self._patches.clear()
        self._types.clear()
        self._calls.clear()
        self._objects.clear()
        if PythonHooks._installed is self:
            PythonHooks._installed = None
        return [problem for problem in problems if problem]

    # ---- one call ----

    def _place(self, frame: FrameType) -> Place:
        """Return what is known of the place where a call is made."""
        code, line = frame.f_code, frame.f_lineno or 0
        recorder = self._recorder
        site, flags = recorder.tables.site(frame)
        names: Any = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}
        # The runner has one line, which counts from co_firstlineno.
        runner = _runner.replace(
            co_filename=code.co_filename, co_name=code.co_name, co_firstlineno=line, **names
        )
        run = self._runner(runner, frame.f_globals) if _lasting(frame.f_globals) else None
        place = -1 if flags else site, run, runner, code
        if len(self._places) < MAX_PLACES:
            recorder.hidden.add(id(runner))
            self._runners.append(runner)
            self._places[id(code), frame.f_lasti] = place
        return place

    @staticmethod
    def _runner(code: CodeType, namespace: dict[str, Any]) -> Runner:
        return FunctionType(code, namespace)

    def _method_op(self, hook: Hook, obj: Any) -> int:
        """Return the op of a ufunc's method: ``add.reduce``, named on first sight."""
        if not isinstance(obj, self._ufunc):
            return hook.op
        key = (obj, hook.name)
        found = self._method_ops.get(key)
        if found is None:
            name = f"{obj.__name__}.{hook.name}"  # type: ignore[attr-defined]
            found = self._method_ops[key] = self._recorder.op(name)
        return found

    def _signature(
        self, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], results: tuple[Any, ...]
    ) -> int:
        op = self._method_op(hook, args[0]) if hook.name and args else hook.op
        return self._signatures.of(hook, op, args, kwargs, results)

    def _raised(
        self, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], span: tuple[Any, ...]
    ) -> None:
        """Complete the span of a call that raised."""
        end_ns = self._recorder.clock()
        writer, n, words, at, site = span
        if n in writer.stack:
            words[at + 2] = self._signature(hook, args, kwargs, ()) | site << 32
            writer.finish(words, at, n, end_ns, RAISED)

    def _traced(self, original: Any, fixed: Hook | None) -> FunctionType:
        """Return a function that calls ``original`` and records it as an op.

        It is one function, and long, because each further call in it is time added to every op.
        """
        recorder, calls, places = self._recorder, self._calls, self._places
        known: dict[tuple[Any, ...], int] = {}
        local, clock = recorder.local, recorder.clock
        ndarray: Any = self._signatures.reader.ndarray
        getframe, fail, get_writer = sys._getframe, recorder.fail, recorder.writer
        signature, call_site, find_place = self._signature, recorder.tables.call_site, self._place
        shares_memory = self._signatures.shares_memory
        empty = ThreadWriter(0, 0, 0, 0, 0)

        def traced(*args: Any, **kwargs: Any) -> Any:
            frame = getframe(1)
            code = frame.f_code
            place = places.get((id(code), frame.f_lasti)) or find_place(frame)
            site, run, runner, _ = place
            if run is None:
                run = FunctionType(runner, frame.f_globals)
            hook: Any = fixed or (calls.get(id(args[0])) if args else None)
            writer: ThreadWriter | None = None
            if hook is not None:
                writer = getattr(local, "writer", empty)
                if writer.next >= writer.end:
                    writer = get_writer()
            if writer is not None and writer.opaque:
                writer = None
            if writer is not None:
                if site < 0:
                    site = call_site(frame)
                writer.opaque = hook.policy & OPAQUE
                n = writer.next
                writer.next = n + 1
                words, at, stack = writer.words, n * WORDS_PER_RECORD + writer.shift, writer.stack
                up = n - stack[-1] if stack else 0
                if up > UINT32_MAX:
                    up = 0
                stack.append(n)
                words[at + 2] = hook.bare | site << 32
                words[at + 3] = up | OPEN
                words[at] = start = clock()  # last: this makes it a record
            del frame
            try:
                result = run(original, args, kwargs)
            except BaseException as problem:
                if writer is not None:
                    writer.opaque = 0
                    try:
                        self._raised(hook, args, kwargs, (writer, n, words, at, site))
                    except Exception as own:
                        fail(own)
                _cut_out(problem, runner)
                raise
            if writer is None:
                return result
            end = clock()
            writer.opaque = 0  # inside an opaque op no other began
            try:
                if not stack or stack[-1] != n:
                    if n in stack:
                        words[at + 2] = signature(hook, args, kwargs, (result,)) | site << 32
                        writer.finish(words, at, n, end, 0)
                    return result
                policy = hook.policy
                if (
                    policy & COPIES_ONLY
                    and writer.next == n + 1
                    and shares_memory(hook, args, kwargs, result)
                ):
                    writer.discard(words, at, n)
                    return result
                stack.pop()
                # Two plain arrays into a new one, the most frequent case: its dtypes, shapes and
                # strides tell the rest, if the two cannot be the same memory.
                if hook.n_in == 2 and len(args) == 3 and not kwargs and not policy:
                    a: Any = args[1]
                    b: Any = args[2]
                    if type(a) is ndarray and type(b) is ndarray and type(result) is ndarray:
                        shape, other = a.shape, b.shape
                        if shape != other or (a is not b and a.base is None and b.base is None):
                            key = (
                                hook.op, a.dtype, shape, a.strides, b.dtype, other, b.strides,
                                result.dtype,
                            )  # fmt: skip
                            what = known.get(key)
                            if what is None:
                                what = known[key] = signature(hook, args, kwargs, (result,))
                            words[at + 1] = end - start
                            words[at + 2] = what | site << 32
                            words[at + 3] = up
                            return result
                words[at + 1] = end - start
                words[at + 2] = signature(hook, args, kwargs, (result,)) | site << 32
                words[at + 3] = up
            except Exception as problem:
                fail(problem)
            return result

        recorder.hidden.add(id(traced.__code__))
        return traced  # type: ignore[return-value]

    def op_cost(self, ufunc: Any, *operands: Any) -> int:
        """Return what recording a call of a ufunc takes, in ns: the best of five rounds.

        They are recorded into memory of our own; the time of the operation itself is subtracted.
        """
        recorder, calls = self._recorder, 500
        calls_of = {p.cls: p.original_call for p in self._patches if isinstance(p, CallPatch)}
        unhooked = calls_of.get(type(ufunc))
        before = getattr(recorder.local, "writer", None)
        if unhooked is None or before is None or id(ufunc) not in self._calls:
            return 0
        scratch = ThreadWriter(0, 0, 0, before.generation, 0)
        scratch.words = memoryview(bytearray(calls * 8 * WORDS_PER_RECORD)).cast("Q")
        scratch.end = calls
        best = []
        recorder.local.writer = scratch
        try:
            for _ in range(5):
                scratch.next = 0
                started = time.perf_counter_ns()
                for _ in range(calls):
                    ufunc(*operands)
                hooked = time.perf_counter_ns()
                for _ in range(calls):
                    unhooked(ufunc, *operands)
                best.append((2 * hooked - started - time.perf_counter_ns()) // calls)
        finally:
            recorder.local.writer = before
        return max(0, min(best))


def _lasting(namespace: dict[str, Any]) -> bool:
    """Whether these globals belong to a module that stays: others are not kept alive by us."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return isinstance(module, ModuleType) and module.__dict__ is namespace


def _cut_out(problem: BaseException, runner: CodeType) -> None:
    """Take our two frames out of the traceback of the exception that is being handled."""
    first = problem.__traceback__
    second = first.tb_next if first is not None else None
    if second is None or second.tb_frame.f_code is not runner:
        return
    problem.__traceback__ = second.tb_next
    if sys.version_info < (3, 11):
        set_handled_traceback(problem, second.tb_next)

"""One recording: from start to stop, in this process; then read back as a `Trace`."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytrace.errors import StoreError, TinytraceError, UsageError
from tinytrace.tracer import annotate, forks, modules
from tinytrace.tracer.adapters.numpy import NumpyAdapter, targets
from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.audit import LEFT_OUT, left_out, self_audit
from tinytrace.tracer.files import file_identity
from tinytrace.tracer.hooks import AfterImport
from tinytrace.tracer.machine import machine, numerics
from tinytrace.tracer.muting import muted
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import FORMAT_VERSION, Entry
from tinytrace.tracer.store import create_run, join_run, process_folder, prove_life, remove_run

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

# Python hands the GIL to a waiting thread after this long. With the default of 5 ms a 1 kHz sampling
# thread gets 160 samples/s out of pure Python code, with 0.5 ms 950.
SWITCH_INTERVAL_S = 0.0005
TICK_S = 0.05
FIRST_TICK_S = 1.0  # a thread that has not begun by then is not waited for


def load_core(name: str = "") -> Any:
    """The recorder to use: ``"c"``, ``"python"``, or the compiled one if it is there.

    Raises:
        UsageError: the compiled one was asked for and is not there, or the name is unknown.
    """
    name = name or os.environ.get("TINYTRACE_CORE", "")
    if name not in {"", "c", "python"}:
        raise UsageError(f"TINYTRACE_CORE must be c or python, not {name}")
    if name != "python":
        try:
            from tinytrace.tracer import _native
        except ImportError:
            if name == "c":
                raise UsageError("TINYTRACE_CORE=c: the compiled core was not built") from None
        else:
            return _native
    from tinytrace.tracer.recorder import PythonRecorder

    return PythonRecorder()


class Session:
    """A recording of this process. One at a time per process.

    Example:
        >>> import tempfile, pathlib
        >>> folder = tempfile.TemporaryDirectory()
        >>> session = Session(Options(pathlib.Path(folder.name) / "trace.json"), ["example"])
        >>> session.start(); session.stop()
        >>> session.trace().meta["command"]
        ['example']
        >>> session.discard(); folder.cleanup()
    """

    _current: Session | None = None
    _ours = (str(Path(__file__).parents[1]) + os.sep, "<frozen runpy>", "<frozen importlib")

    def __init__(
        self, options: Options, command: list[str], run_folder: Path | None = None
    ) -> None:
        """Prepare; ``run_folder`` is given to take part in the run of another process."""
        self.options = options
        self._command = command
        self._joined = run_folder is not None
        self._discards = not self._joined
        self._lock = -1
        self._proof: Path | None = None
        self._active, self._pid = False, 0
        self._undo: list[Callable[[], None]] = []
        self._adapting: Adapting | None = None
        self._sampler: Any = None
        self._asked_hz = 0.0  # of our own thread
        self._tick: Callable[[], None] | None = None
        if run_folder is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            run_folder = (
                options.output.parent
                / ".tinytrace"
                / f"{stamp}-{os.getpid()}-{time.monotonic_ns() % 10**6:06d}"
            )
        self.run_folder = run_folder

    @classmethod
    def join(cls, run_folder: Path, options: Options) -> Session:
        """A session of a further process in an existing run."""
        return cls(options, [], run_folder)

    @classmethod
    def resume(cls, run_folder: Path, options: Options) -> Session:
        """A session of the first process of a run, now with another program (``os.exec…``)."""
        session = cls.join(run_folder, options)
        session._discards = True
        return session

    def is_alive(self) -> bool:
        """Whether it goes on here. In a forked child that is not followed it is the parent's, and let go."""
        if self._active and self._pid != os.getpid():
            self._active = False
            Session._current = None
            annotate.set_recorder(None)
        return self._active

    @classmethod
    def is_recording(cls) -> bool:
        """Whether this process is being recorded."""
        return cls._current is not None and cls._current.is_alive()

    def start(self) -> None:
        """Begin to record.

        Raises:
            StoreError: the run folder cannot be made.
            UsageError: this process is being recorded already, or the core is not there.
        """
        if Session.is_recording():
            raise UsageError("this process is being recorded already")
        self._recorder = load_core()
        if not self._joined:
            description = {"command": self._command, "core": self._recorder.core}
            _, self._lock = create_run(
                self.options.output.parent, self.run_folder.name, description
            )
        else:
            self._lock = join_run(self.run_folder)
        self._lock_identity = file_identity(self._lock)
        try:
            self._start_process()
        except BaseException as problem:
            self.stop()
            self.discard()
            if isinstance(problem, OSError):
                text = f"cannot record in {self.run_folder}: {problem.strerror}"
                raise StoreError(text) from problem
            raise

    def _start_process(self) -> None:
        forks.watch()
        self._path = list(sys.path)
        self._folder = process_folder(self.run_folder)
        self._proof = prove_life(self._folder)
        self._recorder.open(str(self._folder), self.options.disk_limit_bytes)
        self._active, self._pid = True, os.getpid()
        Session._current = self
        self._undo = [self._recorder.close]
        self._started_ns = time.monotonic_ns()
        self._put_meta(
            pid=os.getpid(), parent_pid=os.getppid(), start_ns=self._started_ns,
            start_unix_ns=time.time_ns(), name=self._process_name(), core=self._recorder.core,
            clock="CLOCK_MONOTONIC", format_version=FORMAT_VERSION,
            machine=machine(), options={"rate_hz": self.options.rate_hz, "sampler": self.options.sampler},
        )  # fmt: skip
        self._prefixes: tuple[str, ...] = ()
        self._internal("<__array_function__", "<frozen ")
        annotate.set_recorder(self._recorder)
        self._undo.append(lambda: annotate.set_recorder(None))
        if self.options.ops:
            self._install_hooks()
        self._start_counters()
        self._start_sampler()

    def _process_name(self) -> str:
        words = sys.orig_argv[1:] or ["python"]
        if self._joined:
            process = sys.modules.get("multiprocessing.process")
            if process is not None and process.parent_process() is not None:
                return str(process.current_process().name)
        return " ".join([Path(words[0]).name, *words[1:]])[:200]

    def _install_hooks(self) -> None:
        hooks = self._backend()
        adapter = NumpyAdapter(hooks, self._recorder.op)
        after_import = AfterImport()

        def numpy_is_here(module: Any) -> None:
            folder = Path(module.__file__).parent
            self._internal(f"{folder}{os.sep}", f"{folder.parent / 'scipy'}{os.sep}")
            adapter.install(module)

        install = dict(targets(adapter)) | {"numpy": numpy_is_here}
        for name, call in install.items():
            after_import.add(name, self._guarded(call))
        self._adapting = adapting = Adapting(
            self._recorder, hooks, self.options, self._folder, after_import, self._guarded,
            self._internal,
        )  # fmt: skip

        def off() -> None:
            adapting.end()
            after_import.remove()
            problems = hooks.uninstall()
            unseen = [*getattr(hooks, "unseen", ()), *problems]
            for text in (*unseen, *(f"not recorded: {m}" for m in adapter.missing)):
                self._recorder.put(Entry.WARNING, text.encode())

        self._undo.append(off)
        adapting.begin()

    def _internal(self, *prefixes: str) -> None:
        """Files that begin like this are no call sites: what the program calls, and not where."""
        self._prefixes += prefixes
        self._recorder.internal(self._prefixes, self._ours)

    def _backend(self) -> Any:
        if self._recorder.core == "c":
            return self._recorder
        from tinytrace.tracer.pyhooks import PythonHooks

        return PythonHooks(self._recorder)

    def _guarded(self, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """What an import of the program's triggers must not fail: the reason becomes a warning."""

        def guarded(module: Any) -> None:
            try:
                if self._active:
                    call(module)
            except Exception as problem:
                text = f"the operations of {module.__name__} are not recorded: {problem!r}"
                self._recorder.put(Entry.WARNING, text.encode("utf-8", "replace"))

        return guarded

    def _start_counters(self) -> None:
        from tinytrace.tracer.counters import ProcessCounters

        counters, adapting = ProcessCounters(self._recorder), self._adapting

        def tick() -> None:
            counters.tick()
            if adapting is not None:
                adapting.tick()

        self._tick = tick

    def _start_sampler(self) -> None:
        if self.options.sampler == "py-spy":
            self._start_pyspy()
        rate = self.options.rate_hz if self.options.sampler == "thread" else 0.0
        self._start_thread(rate)

    def _start_pyspy(self) -> None:
        from tinytrace.tracer.pyspy import PySpySampler

        spy = PySpySampler(self._recorder, self.options.rate_hz, self.options.native, self._folder)
        try:
            spy.start()
        except StoreError as problem:
            text = f"{problem}; the sampling thread took the samples"
            self._recorder.put(Entry.WARNING, text.encode("utf-8", "replace"))
            self._start_thread(self.options.rate_hz)
            return
        self._undo.append(spy.stop)
        counters = self._tick

        def tick() -> None:
            spy.tick()
            if counters:
                counters()

        self._tick = tick

    def _start_thread(self, rate_hz: float) -> None:
        """Start the sampling thread; at rate 0 it reads the counters only."""
        if self._sampler is not None:
            return
        self._asked_hz = rate_hz
        first, tick = _first_call(self._tick)
        if self._recorder.core == "c":
            self._recorder.sampler_start(
                rate_hz, tick, TICK_S, random.SystemRandom().getrandbits(63)
            )
            self._sampler = self._recorder.sampler_stats
            self._undo.append(self._recorder.sampler_stop)
        else:
            from tinytrace.tracer.sampler import PythonSampler

            sampler = PythonSampler(self._recorder, rate_hz, [(TICK_S, tick)])
            sampler.start()
            self._sampler = sampler.stats
            self._undo.append(sampler.stop)
        # What the thread opens at first, it opens before the program goes on: one that was just forked may
        # be about to close every file and to open its own.
        first.acquire(timeout=FIRST_TICK_S)
        before = sys.getswitchinterval()
        if rate_hz and before > SWITCH_INTERVAL_S:
            sys.setswitchinterval(SWITCH_INTERVAL_S)

            def restore() -> None:
                if abs(sys.getswitchinterval() - SWITCH_INTERVAL_S) < 1e-9:
                    sys.setswitchinterval(before)

            self._undo.append(restore)

    def _put_meta(self, **values: Any) -> None:
        self._recorder.put(Entry.META, json.dumps(values).encode())

    def stop(self) -> None:
        """End the recording and undo every hook, last in first out. Never raises; may be called again."""
        if not self.is_alive() or Session._current is not self:
            return
        if self._tick:
            self._tick()
        beyond_caps = self._left_out()  # of the program, and not of what measures the cost
        cost = self._op_cost()
        self._active = False
        while len(self._undo) > 1:  # all but closing the store
            self._undo_one()
        try:
            self._put_meta(end_ns=time.monotonic_ns(), audit=self._audit(cost) | beyond_caps)
            for text in left_out(beyond_caps):
                self._recorder.put(Entry.WARNING, text.encode())
        except Exception:
            self._recorder.put(Entry.WARNING, b"the self-audit could not be written")
        self._put_numerics()
        self._undo_one()
        Session._current = None

    def _put_numerics(self) -> None:
        """Say which BLAS with how many threads the program had, for `analysis.peaks`; in its first process only."""
        if not self._discards or "numpy" not in sys.modules:
            return
        with contextlib.suppress(Exception), modules.as_before(self._path):
            self._put_meta(numerics=numerics())

    def _left_out(self) -> dict[str, int]:
        stats = self._recorder.stats()
        return {key: stats[key] for key in LEFT_OUT}

    def _undo_one(self) -> None:
        try:
            self._undo.pop()()
        except Exception as problem:
            self._recorder.put(
                Entry.WARNING, f"on stopping: {problem!r}".encode("utf-8", "replace")
            )

    def _op_cost(self) -> int | None:
        """What recording one op takes, in ns, measured here and now; None where it cannot be."""
        try:
            return self._measured_op_cost()
        except Exception:  # an error handler of the program's, say: stopping goes on
            return None

    def _measured_op_cost(self) -> int | None:
        measure = getattr(self._recorder, "op_cost", None)
        numpy = sys.modules.get("numpy")
        if measure is None or numpy is None or not self.options.ops or not hasattr(numpy, "add"):
            return None
        operand = numpy.ndarray((4, 4), "float32", bytes(64))  # made without an op
        return int(measure(numpy.add, operand, operand)) or None

    def _audit(self, cost_ns: int | None) -> dict[str, Any]:
        return self_audit(
            core=self._recorder.core,
            stats=dict(self._recorder.stats()),
            sampled=self._sampler() if self._sampler is not None else {},
            asked_hz=self._asked_hz,
            cost_ns=cost_ns,
            wall_ns=time.monotonic_ns() - self._started_ns,
        )

    def trace(self) -> Trace:
        """Read back what all processes of the run recorded; call after `stop`.

        Of more spans than could be in a file of ``budget_bytes`` anyway, the trace has sums: memory is bounded.

        Raises:
            StoreError: nothing readable is there.
        """
        from tinytrace.tracer.assemble import read_run, span_limit_for

        return read_run(self.run_folder, span_limit_for(self.options.budget_bytes))

    def muted(self) -> contextlib.AbstractContextManager[None]:
        """Record no operation of this thread meanwhile: for what tinytrace computes itself."""
        return muted(self._recorder)

    def discard(self) -> None:
        """Remove the run folder, when its trace has been written. Not for those who joined."""
        if not self._discards or self._pid not in {0, os.getpid()}:
            return
        remove_run(self.run_folder)
        self.release()

    def release(self) -> None:
        """Leave the run folder to ``recover``, while this process lives on."""
        if self._proof is not None and self._pid == os.getpid():
            self._proof.unlink(missing_ok=True)
        lock, self._lock = self._lock, -1
        if lock >= 0 and file_identity(lock) == self._lock_identity:
            os.close(lock)  # the program has not

    def restart_in_child(self) -> None:
        """After a fork, in the child: forget the parent's recording and begin one of our own."""
        self._recorder.reset_after_fork()
        annotate.set_recorder(None)
        was_active, self._active = self._active, False
        Session._current = None
        self._undo, self._sampler, self._tick = [], None, None
        if self._adapting is not None:  # what it knows are numbers of the parent's tables
            self._adapting.end()
            self._adapting = None
        self._joined, self._discards = True, False
        if not was_active:
            return
        try:
            self._start_process()
        except (OSError, TinytraceError):
            self._recorder.close()  # the child runs unrecorded; the run folder may be gone


def _first_call(tick: Callable[[], None] | None) -> tuple[_thread.LockType, Callable[[], None]]:
    """A lock that is free once ``tick`` was called for the first time; and what is to be called."""
    first = _thread.allocate_lock()
    first.acquire()

    def call() -> None:
        try:
            if tick:
                tick()
        finally:
            if first.locked():
                first.release()

    return first, call

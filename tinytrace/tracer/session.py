"""One recording: from start to stop, in this process; then read back as a `Trace`."""

from __future__ import annotations

import contextlib
import json
import os
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
from tinytrace.tracer.machine import machine, numerics, torch_facts
from tinytrace.tracer.muting import muted
from tinytrace.tracer.options import Options
from tinytrace.tracer.process_name import process_name
from tinytrace.tracer.ranks import clock_domain, rank_of
from tinytrace.tracer.records import FORMAT_VERSION, Entry
from tinytrace.tracer.sampling import Sampling
from tinytrace.tracer.store import create_run, join_run, process_folder, prove_life, remove_run

if TYPE_CHECKING:
    from tinytrace.tracer.hardware import HardwareCounters
    from tinytrace.tracer.trace import Trace


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
        self.after_import = AfterImport()
        self.sampling: Sampling | None = None
        self._hardware: HardwareCounters | None = None
        if run_folder is None:
            name = (
                f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**6:06d}"
            )
            rank = rank_of(os.environ)
            if (
                rank is not None
            ):  # ranks on other hosts write to the same folder, and may have our number
                name += f"-rank{rank['rank']}"
            run_folder = options.output.parent / ".tinytrace" / name
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
        self.after_import = AfterImport()
        self._undo = [self._recorder.close, self.after_import.remove]
        self._started_ns = time.monotonic_ns()
        rank = rank_of(os.environ)
        if rank is not None:
            self._put_meta(rank=rank)
        self._name = process_name(is_child=self._joined)
        self._put_meta(
            pid=os.getpid(), parent_pid=os.getppid(), start_ns=self._started_ns,
            start_unix_ns=time.time_ns(), name=self._name, core=self._recorder.core,
            clock="CLOCK_MONOTONIC", clock_domain=clock_domain(), format_version=FORMAT_VERSION,
            machine=machine(), options={"rate_hz": self.options.rate_hz, "sampler": self.options.sampler},
        )  # fmt: skip
        self._prefixes: tuple[str, ...] = ()
        self._internal("<__array_function__", "<frozen ")
        annotate.set_recorder(self._recorder)
        self._undo.append(lambda: annotate.set_recorder(None))
        if self.options.ops:
            self._install_hooks()
        self._start_sampling()

    def name_again(self) -> None:
        """Write down the name of this process if it has another one by now."""
        name = process_name(is_child=self._joined)
        if name != self._name and self.is_alive():
            self._name = name
            self._put_meta(name=name)

    def _install_hooks(self) -> None:
        hooks = self._backend()
        adapter = NumpyAdapter(hooks, self._recorder.op)

        def numpy_is_here(module: Any) -> None:
            folder = Path(module.__file__).parent
            self._internal(f"{folder}{os.sep}", f"{folder.parent / 'scipy'}{os.sep}")
            adapter.install(module)

        install = dict(targets(adapter)) | {"numpy": numpy_is_here}
        for name, call in install.items():
            self.after_import.add(name, self._guarded(call))
        self._adapting = adapting = Adapting(
            self._recorder, hooks, self.options, self._folder, self.after_import, self._guarded,
            self._internal,
        )  # fmt: skip

        def off() -> None:
            adapting.end()
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

    def _start_sampling(self) -> None:
        from tinytrace.tracer.counters import ProcessCounters
        from tinytrace.tracer.hardware import HardwareCounters

        self._hardware = HardwareCounters(self._recorder, self.options.hardware_counters)
        self._undo.append(self._hardware.close)
        self._put_meta(hardware_counters=self._hardware.meta)
        counters = ProcessCounters(self._recorder, hardware=self._hardware.read)
        adapting = self._adapting

        def tick() -> None:
            counters.tick()
            if adapting is not None:
                adapting.tick()
            if self._joined:  # a spawned process gets its name when it has begun to run
                self.name_again()

        self.sampling = Sampling(self._recorder, self.options, self._folder, tick, self._undo)
        self.sampling.start()

    def _put_meta(self, **values: Any) -> None:
        self._recorder.put(Entry.META, json.dumps(values).encode())

    def stop(self) -> None:
        """End the recording and undo every hook, last in first out. Never raises; may be called again."""
        if not self.is_alive() or Session._current is not self:
            return
        if self.sampling is not None:
            self.sampling.tick()
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
            if (facts := torch_facts()) is not None:
                self._put_meta(torch=facts)

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
        sampling = self.sampling
        return self_audit(
            core=self._recorder.core,
            stats=dict(self._recorder.stats()),
            sampled={} if sampling is None else sampling.stats(),
            asked_hz=0.0 if sampling is None else sampling.asked_hz,
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
        self._undo, self.sampling = [], None
        if self._hardware is not None:
            self._hardware.close()
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

"""PyTorch: its operations by its own profiler; modules, optimizers and data loaders as spans.

Three things are seen: calls of modules (``torch.nn.Module.__call__``), what the program or torch itself marks
(``torch.profiler.record_function``: data loaders and optimizers do), and whether the program uses a profiler of
torch, for then ours makes way: torch has one per thread.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from types import FrameType, ModuleType
from typing import Any

from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.gpu_counters import GpuCounters, counters_for
from tinytrace.tracer.main_thread import MainThreadCall
from tinytrace.tracer.records import Entry, Flag, Kind
from tinytrace.tracer.torch_compiler import keep_out
from tinytrace.tracer.torch_layers import Layers
from tinytrace.tracer.torch_profiler import Kineto, Quiet, is_distributed

NOT_RECORDED = "the operations of torch are not recorded"
NOT_WHILE_THEIRS = (
    "operations of torch are not recorded while the program uses torch's profiler itself"
)
# What torch's profiler may have written when nothing was asked for: some 140,000 events of 430 bytes, 50 to 100
# steps of a training. To stop the profiler and to write takes 10 to 20 us per event, to read them as much again.
DEFAULT_BYTES = 60_000_000
OPTIMIZER, LOADER, PROFILER_STEP = "Optimizer.step#", "enumerate(DataLoader)#", "ProfilerStep#"
OPTIMIZER_FILE = os.path.join("optim", "optimizer.py")  # noqa: PTH118 - of a text
ANNOTATION = json.dumps({"cat": "user_annotation"})
# Modules of ours whose code the program calls without knowing.
CALLED = (
    __name__, "tinytrace.tracer.adapters.registry", "tinytrace.tracer.main_thread", "tinytrace.tracer.torch_layers",
    "tinytrace.tracer.torch_profiler", "tinytrace.tracer.wrapping",
)  # fmt: skip
# torch's profiler does not outlive a fork whole: a child has none. The process in which one was started.
_started_in: list[int] = []
_recordings: list[Recording] = []  # whose profiler is stopped before a fork: one at most
_at_fork: list[bool] = []


def install(adapting: Adapting, torch: ModuleType) -> None:
    """Record torch from now on.

    Args:
        adapting: of this recording.
        torch: as the program has imported it.
    """
    adapting.internal(torch)
    if adapting.recorder.core != "c":
        # In pure Python a call that is seen has a frame more, which torch.compile and TorchScript would meet.
        adapting.say(f"{NOT_RECORDED}: that needs the compiled core")
        return
    keep_out(torch, [sys.modules[name] for name in CALLED if name in sys.modules])
    Recording(adapting, torch).begin()


class Recording:
    """torch in one recording of one process."""

    def __init__(self, adapting: Adapting, torch: ModuleType) -> None:
        """Nothing is seen yet."""
        self._adapting = adapting
        self._recorder = adapting.recorder
        self._torch = torch
        self._layers = Layers(self._recorder)
        self._quiet = Quiet(torch)
        self._kineto: Kineto | None = None
        self._labels: dict[str, tuple[int, int]] = {}
        self._marks = _Marks()
        self._theirs: set[int] = set()  # profilers of the program that are on
        steps: tuple[int, int | None] = adapting.options.steps or (0, None)
        self._first, self._last = steps
        self._limit_bytes = (
            DEFAULT_BYTES if self._last is None else adapting.options.disk_limit_bytes // 2
        )
        self._steps = 0  # of the optimizer that made the first one
        self._optimizer = 0
        self._rests_until = 0  # number of a step
        self._is_over = False
        self._is_asked = False
        self._gpus: tuple[GpuCounters, ...] | None = None  # not looked for yet
        self._late = MainThreadCall(self._end_late)

    def begin(self) -> None:
        """See calls, and start torch's profiler."""
        torch, adapting = self._torch, self._adapting
        adapting.wrap(torch.nn.Module, "__call__", self._call_module, self._layers.after)
        record_function = torch.autograd.profiler.record_function
        adapting.wrap(record_function, "__enter__", self._see, self._entered)
        adapting.wrap(record_function, "__exit__", self._leave, self._left)
        profile = torch.autograd.profiler.profile
        adapting.wrap(profile, "_prepare_trace", self._make_way, _nothing)
        adapting.wrap(profile, "__exit__", self._see, self._theirs_ended)
        for name in ("emit_itt", "emit_nvtx"):
            self._make_way_for(getattr(torch.autograd.profiler, name))
        legacy = "torch.autograd.profiler_legacy"
        adapting.await_module(legacy, lambda module: self._make_way_for(module.profile))
        adapting.at_end(self._end)
        if os.getpid() not in _started_in and _started_in:
            adapting.say(f"{NOT_RECORDED} in processes that were forked: its profiler is not there")
            self._is_over = True
            return
        if threading.current_thread() is not threading.main_thread():
            adapting.say(f"{NOT_RECORDED}: it was imported in a thread")
            self._is_over = True
            return
        self._kineto = Kineto(torch, adapting.folder)
        adapting.on_tick(self._watch)
        adapting.on_tick(self._watch_gpus)
        _recordings[:] = [self]
        if not _at_fork:
            os.register_at_fork(before=_before_fork)
            _at_fork.append(True)
        if self._first == 0:
            self._start()

    def _make_way_for(self, tracer: type) -> None:
        """End ours when a tracer of torch's is used, which is a context."""
        self._adapting.wrap(tracer, "__enter__", self._make_way, _nothing)
        self._adapting.wrap(tracer, "__exit__", self._see, self._theirs_ended)

    # ---- what the program calls ----

    def _call_module(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        if not self._layers.depth and not self._marks.open:
            self._pause()
            kineto = self._kineto
            if kineto is not None and kineto.is_running and not kineto.is_here():
                self._adapting.say("operations of torch in other threads are not recorded")
        return self._layers.before(args, kwargs)

    def _see(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        return args[0]

    def _entered(self, mark: Any, _result: Any, raised: bool) -> None:
        if raised:
            return
        label, kind = self._label(str(mark.name))
        token = self._recorder.begin(kind, label) if label else 0
        self._marks.open.append((id(mark), token))

    def _leave(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        mark = args[0]
        open_marks = self._marks.open
        for at in range(len(open_marks) - 1, -1, -1):
            if open_marks[at][0] == id(mark):
                token = open_marks.pop(at)[1]
                raised = args[1:] and args[1] is not None and not issubclass(args[1], StopIteration)
                self._recorder.end(token, Flag.RAISED if raised else 0)
                break
        if str(mark.name).startswith(OPTIMIZER):
            self._count_step()
        return mark

    def _left(self, _mark: Any, _result: Any, _raised: bool) -> None:
        if not self._marks.open and not self._layers.depth:
            self._pause()

    def _label(self, name: str) -> tuple[int, int]:
        found = self._labels.get(name)
        if found is None:
            kind = Kind.OPTIMIZER if name.startswith(OPTIMIZER) else Kind.SPAN
            kind = Kind.DATA if name.startswith(LOADER) else kind
            is_step = name.startswith(PROFILER_STEP)
            label = 0 if is_step else int(self._recorder.label(name, ANNOTATION))
            found = self._labels[name] = label, int(kind)
        return found

    def _count_step(self) -> None:
        """Count the steps of the first optimizer: a loop with two of them has as many steps as one."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.endswith(OPTIMIZER_FILE):
            frame = frame.f_back
        optimizer = id(frame.f_locals.get("self")) if frame is not None else 0
        if not self._optimizer:
            self._optimizer = optimizer
        if optimizer == self._optimizer:
            self._steps += 1

    # ---- torch's profiler ----

    def _pause(self) -> bool:
        """Where nothing is going on: end a chunk that is due, begin what is to begin; whether one was ended."""
        kineto = self._kineto
        if kineto is None or self._is_over:
            return False
        if kineto.is_running:
            ends = self._last is not None and self._steps >= self._last
            device_came = not kineto.with_device and self._torch.cuda.is_initialized()
            if not (ends or device_came or time.monotonic_ns() >= kineto.due_ns):
                return False
        elif not self._may_start():
            return False
        if not kineto.is_here() or not self._quiet.here(sys._getframe(1)):
            return False
        was_running = kineto.is_running
        if was_running:
            self.stop()
            self._is_over = self._is_over or ends
        if self._may_start():
            self._start()
        return was_running

    def _watch(self) -> None:
        """In a thread of ours: see to it that no chunk becomes very long."""
        kineto = self._kineto
        if kineto is None or self._is_asked or not kineto.is_running:
            return
        if time.monotonic_ns() > kineto.due_ns + kineto.late_ns:
            self._is_asked = True  # before it is: the main thread may be there at once
            if not self._late.ask():
                self._is_asked = False

    def _watch_gpus(self) -> None:
        """In a thread of ours: read the counters of GPUs, once the program uses one."""
        if self._gpus is None and self._torch.cuda.is_initialized():
            found = counters_for(self._recorder, self._torch)
            self._gpus = () if isinstance(found, str) else (found,)
            if isinstance(found, str):
                self._adapting.say(found)
        for gpus in self._gpus or ():
            gpus.tick()

    def _end_late(self) -> None:
        """In the main thread, wherever it is: end a chunk that nothing has ended."""
        self._is_asked = False
        kineto = self._kineto
        if kineto is None or not kineto.is_running or not kineto.is_here() or self._marks.open:
            return
        try:
            was_ended = not self._layers.depth and self._pause()
            if kineto.is_running and not was_ended and kineto.is_too_large():
                self._is_over = True
                self.stop()
                self._adapting.say(self._limit_text(kineto))
        except Exception as problem:
            self._adapting.say(f"{NOT_RECORDED} any more: {problem!r}")

    def _may_start(self) -> bool:
        is_due = self._steps >= max(self._first, self._rests_until)
        return is_due and not (self._is_over or self._theirs)

    def _start(self) -> None:
        try:
            if self._torch.autograd._profiler_enabled():  # the program's, from before we came
                self._adapting.say(NOT_WHILE_THEIRS)
            elif self._kineto is not None:
                _started_in[:] = [os.getpid()]
                self._kineto.start()
        except Exception as problem:
            self._is_over = True
            self._adapting.say(f"{NOT_RECORDED}: its profiler could not be started: {problem!r}")

    def stop(self) -> None:
        """End a chunk, if one is going on here.

        Inside of an operation torch may bring its profiler back afterwards, dead: then no other is started.
        """
        kineto = self._kineto
        if kineto is None or not kineto.is_running or not kineto.is_here():
            return
        self._is_over = self._is_over or not self._quiet.here(sys._getframe(1))
        try:
            kineto.stop()
        except Exception as problem:
            self._is_over = True
            self._adapting.say(
                f"{NOT_RECORDED} any more: its profiler could not be stopped: {problem!r}"
            )
        if kineto.written_bytes >= self._limit_bytes and not self._is_over:
            self._is_over = True
            self._adapting.say(self._limit_text(kineto))
        if is_distributed() and not self._is_over:
            # A collective that began before may end in the background: by the next step it has.
            self._rests_until = self._steps + 1
            self._adapting.say(
                "operations of torch: those of a step are missing after each chunk of them: "
                "its profiler is started again only when collectives have ended"
            )

    def _limit_text(self, kineto: Kineto) -> str:
        until = f"until step {self._steps:,}" if self._steps else "at the beginning only"
        others = f"; --steps {self._steps}:{self._steps + 20} records others" if self._steps else ""
        size = f"{kineto.written_bytes / 1e6:,.1f} MB of them"
        return f"operations of torch are recorded {until}: {size}{others}"

    def _make_way(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        """The program is about to use a profiler of torch: it gets it."""
        if not getattr(args[0], "enabled", True):
            return
        self._theirs.add(id(args[0]))
        if self._kineto is not None and self._kineto.is_running:
            self.stop()
            self._adapting.say(NOT_WHILE_THEIRS)

    def _theirs_ended(self, profiler: Any, _result: Any, _raised: bool) -> None:
        self._theirs.discard(id(profiler))

    def _end(self) -> None:
        """Recording stops."""
        kineto, self._kineto = self._kineto, None
        if kineto is None or os.getpid() not in _started_in:
            return
        was_over, self._is_over = self._is_over, True
        if kineto.is_running and not kineto.is_here():
            self._adapting.say(
                f"{NOT_RECORDED} in the last chunk: another thread ended the recording"
            )
        elif kineto.is_running:
            kineto.stop()
        if self._last is not None and not kineto.written_bytes and not was_over:
            self._adapting.say(
                f"{NOT_RECORDED}: there were {self._steps:,} optimizer steps, --steps asked for later ones"
            )
        facts = {"busy_ns": kineto.busy_ns, "bytes": kineto.written_bytes, "steps": self._steps}
        self._recorder.put(Entry.META, json.dumps({"torch_profiler": facts}).encode())


class _Marks(threading.local):
    """Of one thread: its open `record_function`s, and the tokens of their spans."""

    def __init__(self) -> None:
        self.open: list[tuple[int, int]] = []


def _before_fork() -> None:
    for recording in _recordings:
        recording.stop()


def _nothing(_token: Any, _result: Any, _raised: bool) -> None:
    """Nothing is done after the call."""

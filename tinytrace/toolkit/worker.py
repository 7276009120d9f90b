"""A fresh process that measures one model, told what to do through a pipe by `toolkit.processes`."""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import SEED
from tinytrace.toolkit.rounds import block_ms, calibrate
from tinytrace.toolkit.subject import Subject

OK, RAISED, NOT_LOADED = "ok", "raised", "not loaded"  # how an answer begins
Answer = tuple[str, Any]


class _Work:
    """What a worker can be asked for."""

    def __init__(self) -> None:
        self._subject: Subject | None = None

    def load(self, model: bytes, data: bytes) -> Answer:
        """Unpickle a model and its inputs, call it, and tell how often that must be done to fill a block."""
        np.random.seed(SEED)  # for what uses numbers that no generator of its own makes
        try:
            given, inputs = pickle.loads(model), pickle.loads(data)
        except Exception as problem:  # it was made where it can be found, and here it is not
            return NOT_LOADED, in_one_line(problem)
        self._subject = Subject(given, inputs)
        return OK, calibrate(self._subject.call, time.perf_counter_ns)

    def facts(self, accuracy: bytes, name: str) -> Answer:
        """Find out all but how long it takes."""
        assert self._subject is not None
        try:
            judge = pickle.loads(accuracy)
        except Exception as problem:
            return NOT_LOADED, in_one_line(problem)
        return OK, self._subject.facts(judge, name)

    def time(self, times: int) -> Answer:
        """Call it so many times: ms per call."""
        assert self._subject is not None
        return OK, block_ms(self._subject.call, times, time.perf_counter_ns)


def serve(descriptor: int) -> None:
    """Answer what comes through the pipe until it is closed.

    Args:
        descriptor: of our end of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us, and ends the pipe
    work = _Work()
    known: dict[str, Callable[..., Answer]] = {
        "load": work.load, "facts": work.facts, "time": work.time
    }  # fmt: skip
    with Connection(descriptor) as pipe:
        while True:
            try:
                what, *arguments = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                answer = known[what](*arguments)
            except Exception as problem:  # the model's
                answer = RAISED, in_one_line(problem)
            try:
                pipe.send(answer)
            except OSError:
                return


def in_one_line(problem: BaseException) -> str:
    """Return an exception as people read it.

    Example:
        >>> in_one_line(ValueError("a\\nb"))
        'ValueError: a b'
    """
    return " ".join(f"{type(problem).__name__}: {problem}".split()).removesuffix(":")

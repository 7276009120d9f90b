"""Fresh processes for models: what can be sent to one, and talking to it."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from multiprocessing import Pipe
from types import FunctionType
from typing import Any

from tinytrace.errors import UsageError
from tinytrace.toolkit.worker import NOT_LOADED, OK
from tinytrace.tracer import launcher

# Not `multiprocessing`: that runs the user's program once more, and has a start method that is the user's to choose.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); descriptor = int(sys.argv[2]); sys.argv[:] = ['']; "
    "from tinytrace.toolkit.worker import serve; serve(descriptor)"
)
PATIENCE_S = 5.0  # for a process that was told to end
LONGEST_WORDS = 200  # of its last line on stderr


class NotSendableError(UsageError):
    """A model or its inputs cannot be had in another process, or there is none to be had; in words."""


class WorkerError(Exception):
    """The model raised there, or the process ended; in words."""


class _Sender(pickle.Pickler):
    """Refuses what is looked up in the program itself, which a fresh process does not run."""

    def persistent_id(self, obj: Any) -> None:
        if not isinstance(obj, (type, FunctionType)):
            return
        if "<" in obj.__qualname__:  # <lambda>, <locals>
            name = obj.__qualname__.rpartition("<locals>.")[2]
            raise NotSendableError(f"{name} is made inside a function and cannot be imported")
        if obj.__module__ == "__main__":
            raise NotSendableError(
                f"{obj.__qualname__} is defined in the program itself, which a fresh process does not run: put it "
                "into a module"
            )


def packed(thing: Any, what: str) -> bytes:
    """Return a thing as bytes that another process makes the same thing of.

    Args:
        thing: any object.
        what: it is called in the message.

    Raises:
        NotSendableError: it cannot be; says why.

    Example:
        >>> packed(abs, "model") == packed(abs, "model")
        True
    """
    out = io.BytesIO()
    try:
        _Sender(out, pickle.HIGHEST_PROTOCOL).dump(thing)
    except NotSendableError as problem:
        raise NotSendableError(f"{what}: {problem}") from None
    except Exception as problem:  # whatever its own pickling raises
        raise NotSendableError(
            f"{what} cannot be pickled: {' '.join(str(problem).split())}"
        ) from None
    return out.getvalue()


class Worker:
    """A process, started when this is made. To be closed, whatever happens."""

    def __init__(self) -> None:
        """See the class."""
        self._pipe, theirs = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        environment = dict(os.environ)
        launcher.clear_environment(environment)  # what is timed is not recorded
        path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, path, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
                pass_fds=[theirs.fileno()], env=environment,
            )  # fmt: skip
        except BaseException as problem:
            self._pipe.close()
            self._said.close()
            if isinstance(problem, OSError):
                raise NotSendableError(f"no process can be started: {problem.strerror}") from None
            raise
        finally:
            theirs.close()

    def ask(self, what: str, *arguments: Any) -> None:
        """Ask for something; `answer` has what comes back. Where it has ended, that says so."""
        try:
            self._pipe.send((what, *arguments))
        except OSError:
            return

    def answer(self) -> Any:
        """Wait for the answer.

        Raises:
            NotSendableError: the model is not found there.
            WorkerError: the model raised, or the process has ended.
        """
        try:
            how, value = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerError(self._ended()) from None
        if how == NOT_LOADED:
            raise NotSendableError(f"a fresh process does not find it: {value}")
        if how != OK:
            raise WorkerError(value)
        return value

    def _ended(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        said = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        return f"its process ended by {how}" + (f": {said[:LONGEST_WORDS]}" if said else "")

    def dismiss(self) -> None:
        """Have it end by itself; does not wait."""
        self._pipe.close()

    def kill(self) -> None:
        """Have it end now; does not wait."""
        self._process.kill()

    def close(self) -> None:
        """End it: after a while by force."""
        self._pipe.close()
        try:
            self._process.wait(PATIENCE_S)
        except BaseException as problem:
            self._process.kill()
            self._process.wait()
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise
        finally:
            self._said.close()


class Workers:
    """Several workers by name, started together, that all end with the block: by force where it raises."""

    def __init__(self, names: Iterable[str]) -> None:
        """See the class."""
        self._names = list(names)
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> dict[str, Worker]:
        """Start them."""
        try:
            for name in self._names:
                self._workers[name] = Worker()
        except BaseException:
            self._end(force=True)
            raise
        return self._workers

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End them."""
        self._end(force=kind is not None)

    def _end(self, *, force: bool) -> None:
        for worker in self._workers.values():
            if force:
                worker.kill()
            worker.dismiss()
        for worker in self._workers.values():
            worker.close()

"""Everything that tinytrace raises on purpose.

::

    TinytraceError            1
    ├── UsageError            2   a wrong option, rate, budget or combination
    ├── InputError            3   a script or a trace that cannot be read
    │   ├── ScriptError       3   no such script, or one that cannot be opened
    │   └── TraceFormatError  4   not a trace, truncated, or from a newer format
    ├── OutputError           5   a target that cannot be written
    ├── StoreError            6   a run folder that is broken or cannot be made
    ├── QueryError            7   a statement that Perfetto's engine refuses
    ├── EngineError           8   Perfetto's engine failed, or cannot be started
    ├── ServeError            9   a port that cannot be had
    └── IncompleteError      10   the result was written, but something is missing in it

The number is the exit code of the command line when the error ends it. A profiled program keeps its
own exit code: these are used only when no program ran, or when a command works on a saved trace.
"""


class TinytraceError(Exception):
    """Base of all errors raised by tinytrace: one line that says what, where, and what to do."""

    exit_code = 1


class UsageError(TinytraceError):
    """An option or an argument that makes no sense."""

    exit_code = 2


class InputError(TinytraceError):
    """Something that was to be read cannot be."""

    exit_code = 3


class ScriptError(InputError):
    """The script to run does not exist or cannot be opened."""


class TraceFormatError(InputError):
    """The file is not a trace that tinytrace can read."""

    exit_code = 4


class OutputError(TinytraceError):
    """The target cannot be written; an earlier file there was left as it was."""

    exit_code = 5


class StoreError(TinytraceError):
    """A run folder is broken, or cannot be made."""

    exit_code = 6


class QueryError(TinytraceError):
    """A statement in SQL that Perfetto's engine refuses."""

    exit_code = 7


class EngineError(TinytraceError):
    """Perfetto's engine failed, ran out of memory, or cannot be started."""

    exit_code = 8


class ServeError(TinytraceError):
    """Nothing can be served: the port is taken, or may not be opened."""

    exit_code = 9


class IncompleteError(TinytraceError):
    """The result was written, with what there is: something is missing in it."""

    exit_code = 10

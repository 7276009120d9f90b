"""The formats that a trace can be written in, and `export`, which writes one.

An exporter is a class with the attributes of `Exporter`. Built-in ones are listed in `BUILT_IN`; a package
adds its own by an entry point of the group ``tinytrace.exporters`` (name → ``module:Class``).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from tinytrace.errors import OutputError, UsageError

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

Progress = Callable[[float], None]

TEMPORARY = (".tinytrace-", ".tmp")  # how the names of files begin and end that are being written
OLD_S = 10.0  # a file is locked from shortly after its creation on
ENTRY_POINT_GROUP = "tinytrace.exporters"
BUILT_IN = {
    "chrome": "tinytrace.exporters.chrome:ChromeExporter",
    "chrome-gz": "tinytrace.exporters.chrome:GzippedChromeExporter",
    "perfetto": "tinytrace.exporters.perfetto:PerfettoExporter",
    "perfetto-trace": "tinytrace.exporters.perfetto:PerfettoTraceExporter",
    "speedscope": "tinytrace.exporters.speedscope:SpeedscopeExporter",
    "collapsed": "tinytrace.exporters.collapsed:CollapsedExporter",
    "folded": "tinytrace.exporters.collapsed:FoldedExporter",
    "gecko": "tinytrace.exporters.gecko:GeckoExporter",
    "pprof": "tinytrace.exporters.pprof:PprofExporter",
    "csv": "tinytrace.exporters.csv_tables:CsvExporter",
    "csv-samples": "tinytrace.exporters.csv_tables:SamplesCsvExporter",
    "parquet": "tinytrace.exporters.arrow_tables:ParquetExporter",
    "parquet-samples": "tinytrace.exporters.arrow_tables:SamplesParquetExporter",
    "arrow": "tinytrace.exporters.arrow_tables:ArrowExporter",
    "arrow-samples": "tinytrace.exporters.arrow_tables:SamplesArrowExporter",
    "flamegraph": "tinytrace.exporters.flamegraph:FlameSvgExporter",
    "flamegraph-html": "tinytrace.exporters.flamegraph:FlameHtmlExporter",
}
BUILT_IN_SUFFIXES = (  # for `check_suffix`; a test holds them together
    ".json", ".json.gz", ".pftrace", ".perfetto-trace",
    ".speedscope.json", ".collapsed", ".folded", ".gecko.json", ".pb.gz", ".csv", ".samples.csv",
    ".parquet", ".samples.parquet", ".arrow", ".samples.arrow", ".svg", ".html",
)  # fmt: skip
NEEDS_PYARROW = (".parquet", ".arrow")


class Exporter(Protocol):
    """A pure writer.

    Attributes:
        name: of the format.
        suffix: file names that end so mean this format (``.json.gz``); it begins with a point.
        help: one line for people.
    """

    name: str
    suffix: str
    help: str

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace; call ``progress`` with the share that is done, 0…1."""


def formats() -> dict[str, str]:
    """Return the known formats: name → ``module:Class``. Those built in come first and win."""
    from importlib.metadata import entry_points

    others = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**BUILT_IN, **{n: where for n, where in others.items() if n not in BUILT_IN}}


def exporter(name: str) -> Exporter:
    """Return the exporter of this name.

    Raises:
        UsageError: there is none, or it cannot be imported.
    """
    known = BUILT_IN if name in BUILT_IN else formats()  # looking at all packages takes a while
    if name not in known:
        raise UsageError(f"unknown format {name!r}: known are {', '.join(known)}")
    module, _, attribute = known[name].partition(":")
    try:
        found: Exporter = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as e:
        raise UsageError(f"format {name!r} cannot be loaded from {known[name]}: {e}") from e
    return found


def exporter_for(path: str | os.PathLike[str]) -> Exporter:
    """Return the exporter whose suffix the file name ends with; the longest one wins.

    Raises:
        OutputError: no format has such a suffix.
    """
    file_name = Path(path).name.lower()
    # No suffix is longer than all from the first point on. Looking at all packages takes 20 ms.
    whole = "." + file_name.partition(".")[2]
    exporters = [exporter(name) for name in (BUILT_IN if whole in BUILT_IN_SUFFIXES else formats())]
    matching = [e for e in exporters if file_name.endswith(e.suffix)]
    if not matching:
        known = ", ".join(e.suffix for e in exporters)
        raise OutputError(f"{os.fspath(path)}: unknown format: known file name endings are {known}")
    return max(matching, key=lambda e: len(e.suffix))


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Find out that a file cannot be written, without importing the exporters (and NumPy) for the usual formats.

    Raises:
        OutputError: no format has such a suffix.
        UsageError: the format needs a package that is not installed.
    """
    name = Path(path).name.lower()
    if not name.endswith(BUILT_IN_SUFFIXES):
        exporter_for(path)
    if name.endswith(NEEDS_PYARROW) and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{os.fspath(path)}: this format needs pyarrow: pip install pyarrow")


def export(
    trace: Trace,
    path: str | os.PathLike[str],
    format: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a trace to a file, whole or not at all.

    The text goes to a new file beside the target, which replaces the target once it is complete; when
    anything fails, an earlier file at the target is as it was.

    Args:
        trace: what to write.
        path: where to; its ending chooses the format.
        format: the name of a format, whatever the ending.
        progress: called now and then with the share that is done, 0…1.

    Raises:
        OutputError: the target cannot be written, or its ending means no format.
        UsageError: there is no format of that name.

    Example:
        >>> import tempfile
        >>> from tinytrace.tracer.trace import Trace
        >>> export(Trace(), tempfile.mkdtemp() + "/trace.json.gz")
    """
    writer = exporter(format) if format is not None else exporter_for(path)
    write_file(path, lambda out: writer.write(trace, out, progress))


def write_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all: see `export`.

    Args:
        path: where to.
        write: writes what is to be in it.

    Raises:
        OutputError: it cannot be written.

    Example:
        >>> import tempfile
        >>> write_file(tempfile.mkdtemp() + "/hello", lambda out: print(out.write(b"hello")))
        5
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder: give the name of a file")
    with contextlib.suppress(OSError):
        target = target.resolve()  # a link stays a link: the file behind it is replaced
    temporary = target.with_name(f"{TEMPORARY[0]}{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY[1]}")
    _remove_left_ones(target.parent)
    try:
        _write_and_rename(write, temporary, target)
    except OSError as e:
        reason = e.strerror or str(e)
        raise OutputError(f"{os.fspath(path)}: cannot be written: {reason}") from e
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _remove_left_ones(folder: Path) -> None:
    """Remove what exports that were killed left in a folder; those that are being written are locked."""
    with contextlib.suppress(OSError):
        for path in list(folder.glob(f"{TEMPORARY[0]}*{TEMPORARY[1]}")):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(file.fileno()).st_mtime > OLD_S:
                    path.unlink()


def _write_and_rename(write: Callable[[BinaryIO], object], temporary: Path, target: Path) -> None:
    if target.exists() and not target.is_file():  # /dev/stdout, a pipe: nothing to replace
        with open(target, "wb") as out:
            write(out)
        return
    with open(temporary, "xb") as out:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(out, fcntl.LOCK_EX)
        write(out)
        out.flush()
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)

"""A trace file in Perfetto's engine: which engine, and what it could not read."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from tinytrace.analysis.perfetto_ui import INSTALL, ui_folder
from tinytrace.analysis.sql_answer import SqlEngine
from tinytrace.errors import EngineError, InputError, TraceFormatError, UsageError

COMPLAINTS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0 order by name"


def open_engine(
    path: str | os.PathLike[str], trace_processor: str | os.PathLike[str] | None = None
) -> SqlEngine:
    """Load a trace file into Perfetto's engine.

    Perfetto's own program, if it is on this machine; else the engine as WebAssembly, if that is installed;
    else the program, from the internet.

    Args:
        path: of a file in any format that Perfetto reads.
        trace_processor: the program, to use no other.

    Raises:
        InputError: there is no such file, or it cannot be opened.
        TraceFormatError: the engine refuses it.
        UsageError: there is no engine: the message says what to install.
        EngineError: the engine fails.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _loaded(file, str(where), trace_processor)
    except IsADirectoryError as problem:
        raise InputError(f"{where}: is a folder, not a trace file") from problem
    except OSError as problem:
        raise InputError(f"{where}: cannot be read: {problem.strerror or problem}") from problem


def complaints(engine: SqlEngine) -> list[str]:
    """Return what Perfetto found wrong in the file, and could not read or had to drop: ``"name (count)"``."""
    return [f"{name} ({count:g})" for name, count in engine.ask(COMPLAINTS).rows]


def _loaded(
    file: BinaryIO, where: str, trace_processor: str | os.PathLike[str] | None
) -> SqlEngine:
    from tinytrace.analysis.native_engine import NativeEngine

    program = Path(trace_processor) if trace_processor is not None else _program()
    try:
        if program is not None:
            return NativeEngine(file, program)
        from tinytrace.analysis.wasm_engine import WasmEngine

        engine = WasmEngine()
        engine.load(file)
        return engine
    except (EngineError, TraceFormatError) as problem:
        raise type(problem)(f"{where}: {problem}") from problem


def _program() -> Path | None:
    """Perfetto's program; None: WebAssembly is to be taken.

    Where the offline engine was installed, nobody wants to wait for a download that may not come.
    """
    from tinytrace.analysis.native_engine import find_program

    has_wasm = ui_folder() is not None and find_spec("wasmtime") is not None
    try:
        return find_program(download=not has_wasm)
    except EngineError as problem:
        if has_wasm:
            return None
        raise UsageError(
            f"no engine: Perfetto's could not be downloaded ({problem}); without the internet: {INSTALL}"
        ) from problem

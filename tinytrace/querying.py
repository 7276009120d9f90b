"""A trace asked in SQL from Python: `query`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytrace.errors import UsageError

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace


def query(trace: Trace | str | os.PathLike[str], sql: str, *, pandas: bool = False) -> Any:
    """Ask a trace a question in Perfetto's SQL.

    The engine is Perfetto's own: its program, or the same as WebAssembly (``pip install 'tinytrace[offline]'``).
    What its tables hold: docs/query.md.

    Args:
        trace: a `Trace`, or a file in any format that Perfetto reads. A `Trace` is written to a temporary file.
        sql: a statement; of several, the last one's rows are returned.
        pandas: return a ``pandas.DataFrame``, one column per column, and not a list of dictionaries.

    Returns:
        The rows, in order. Values are int, float, str, bytes or None (NULL); times are nanoseconds.

    Raises:
        InputError: the file cannot be read, or is no trace.
        QueryError: the engine refuses the statement, or two columns have the same name.
        UsageError: there is no engine, or no pandas: the message says what to install.
        EngineError: the engine fails.

    Example:
        >>> import tinytrace as tt
        >>> with tt.trace(sampler="none") as recording:
        ...     with tt.span("work"):
        ...         pass
        >>> tt.query(recording.result, "select name, category from slice")
        [{'name': 'work', 'category': 'span'}]
    """
    from tinytrace.analysis.trace_sql import open_engine
    from tinytrace.tracer.trace import Trace

    with tempfile.TemporaryDirectory(prefix="tinytrace-") as folder:
        if isinstance(trace, Trace):
            from tinytrace.exporters.registry import export

            path: str | os.PathLike[str] = Path(folder, "trace.json")
            export(trace, path)
        else:
            path = trace
        engine = open_engine(path)
    try:
        answer = engine.ask(sql)
    finally:
        engine.close()
    answer.check_names()
    if not pandas:
        return answer.dicts()
    try:
        from pandas import DataFrame
    except ImportError as problem:
        raise UsageError("pandas=True needs pandas: pip install pandas") from problem
    return DataFrame.from_records(answer.rows, columns=list(answer.columns))

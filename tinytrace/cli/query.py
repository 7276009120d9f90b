"""Ask a trace a question in SQL, answered by Perfetto's own engine."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tinytrace.analysis.figures import clean
from tinytrace.cli.messages import say
from tinytrace.cli.options import Parser
from tinytrace.errors import InputError, UsageError

EXAMPLES = """\
examples:
  python -m tinytrace query trace.json "select name, count(*) as calls, sum(dur) as ns from slice
                                        where category = 'op' group by name order by ns desc"
  python -m tinytrace query trace.json --csv -f slow_steps.sql > slow_steps.csv
  echo "select * from counter_track" | python -m tinytrace query trace.json -

docs/query.md has the tables, and more questions.
"""
PATIENCE_S = 4.0  # then it is said what takes so long: the engine is compiled or downloaded, once


def main(argv: list[str]) -> int:
    """Load a trace into the engine, ask it, and print the answer to stdout.

    Raises:
        InputError: the trace or the file with the statement cannot be read.
        UsageError: a wrong option, or no engine.
        QueryError: the engine refuses the statement.
        EngineError: the engine fails.
    """
    parser = Parser("query", f"{__doc__}", EXAMPLES)
    parser.add_argument("trace", help="a trace file, in any format that Perfetto reads")
    parser.add_argument("sql", nargs="?", help="the statement; -: from stdin")
    parser.add_argument("-f", "--file", metavar="FILE", help="the statement is in a file")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a list of objects, for programs")
    form.add_argument("--csv", action="store_true", help="for programs, too")
    parser.add_argument(
        "--trace-processor", metavar="PROGRAM", help="use this trace_processor_shell of Perfetto's"
    )
    arguments = parser.parse_intermixed_args(argv)  # options may stand before the statement
    statement = _statement(arguments.sql, arguments.file)
    from tinytrace.analysis.trace_sql import complaints, open_engine
    from tinytrace.cli.query_text import print_csv, print_json, print_table

    waiting = threading.Timer(
        PATIENCE_S, say, ["getting Perfetto's engine ready and loading the trace"]
    )
    waiting.start()
    try:
        engine = open_engine(arguments.trace, arguments.trace_processor)
    finally:
        waiting.cancel()
        waiting.join()
    try:
        if found := complaints(engine):
            say(
                f"{clean(arguments.trace)}: Perfetto could not read all of it: {', '.join(found)}; the rest answers"
            )
        answer = engine.ask(statement)
    finally:
        engine.close()
    show = print_json if arguments.json else print_csv if arguments.csv else print_table
    show(answer, sys.stdout)
    return 0


def _statement(sql: str | None, file: str | None) -> str:
    """The statement, from where it is.

    Raises:
        UsageError: there is none, or there are two.
        InputError: it cannot be read.
    """
    if (sql is None) == (file is None):
        raise UsageError("query needs a statement: in quotes, or -f FILE, or - for stdin")
    try:
        if file is not None:
            statement = Path(file).read_text(encoding="utf-8")
        else:
            statement = sys.stdin.read() if sql == "-" else str(sql)
        statement.encode()
    except (OSError, UnicodeError) as problem:
        where = "stdin" if file is None else file
        reason = getattr(problem, "strerror", None) or "is not UTF-8"
        raise InputError(f"{where}: cannot be read: {reason}") from problem
    if not statement.strip():
        raise UsageError("query needs a statement, and this one is empty")
    return statement

"""In Jupyter and IPython: ``%load_ext tinytrace``, ``%%tinytrace``, ``%tt_timeit a vs b``."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any

from tinytrace.errors import TinytraceError, UsageError

VS = re.compile(r"\s+vs\s+")
USAGE_CELL = "%%tinytrace [--report] [-o FILE] [--rate HZ]"
USAGE_LINE = "%tt_timeit EXPRESSION vs EXPRESSION"


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; called by ``%load_ext tinytrace``.

    Args:
        shell: the running ``InteractiveShell``.
    """
    magics = _Magics(shell)
    shell.register_magic_function(magics.cell, "cell", "tinytrace")
    shell.register_magic_function(magics.timeit, "line", "tt_timeit")


class _Magics:
    """The magics of one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def cell(self, line: str, cell: str) -> None:
        """Record the cell; show the summary, and with ``--report`` the report."""
        try:
            self._record(line, cell)
        except TinytraceError as problem:
            _say(str(problem))

    def _record(self, line: str, cell: str) -> None:
        from tinytrace.cli.render import print_summary
        from tinytrace.library import trace

        options = _options(line)
        wants_report = options.pop("report")
        output = options.pop("output")
        with trace(output, **options) as recording:
            result = self._shell.run_cell(cell)
        recorded = recording.result
        if recorded is None:
            _say("an outer recording has what this cell did")
            return
        text = io.StringIO()
        print_summary(recorded, output, file=text)
        if wants_report:
            from tinytrace.analysis.report import report_of
            from tinytrace.cli.report_text import print_report

            print_report(report_of(recorded), text)
        sys.stdout.write(text.getvalue())
        self._shell.user_ns["_tinytrace"] = recorded
        if result.error_in_exec is not None:
            _say("the cell raised: what ran before is in the summary")

    def timeit(self, line: str) -> None:
        """Time two expressions in turns."""
        try:
            self._timed(line)
        except TinytraceError as problem:
            _say(str(problem))

    def _timed(self, line: str) -> None:
        from tinytrace.toolkit.comparing import compare

        parts = VS.split(line.strip())
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"two expressions are needed: {USAGE_LINE}")
        forms = [self._form(text) for text in parts]
        sys.stdout.write(f"{compare(*forms)}\n")

    def _form(self, text: str) -> Callable[[], Any]:
        try:
            code = compile(text, f"<{text}>", "eval")
        except SyntaxError as problem:
            raise UsageError(f"{text!r} is no expression: {problem.msg}") from None
        names = self._shell.user_ns

        def form() -> Any:
            return eval(code, names)  # the user's own line

        form.__name__ = text
        return form


def _options(line: str) -> dict[str, Any]:
    found: dict[str, Any] = {"report": False, "output": None}
    words = shlex.split(line)
    while words:
        word = words.pop(0)
        if word == "--report":
            found["report"] = True
        elif word in {"-o", "--rate"} and words:
            value = words.pop(0)
            if word == "-o":
                found["output"] = value
            else:
                found["rate_hz"] = _number(value)
        else:
            raise UsageError(f"{word!r} is no option: {USAGE_CELL}")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no rate: {USAGE_CELL}") from None


def _say(line: str) -> None:
    sys.stderr.write(f"tinytrace: {line}\n")

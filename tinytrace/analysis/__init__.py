"""Answers computed from a `Trace`, and traces read back from files.

::

    import tinytrace as tt
    from tinytrace.analysis import report_of

    report = report_of(tt.load("trace.json"))
    print(report.ops[0].group.op, report.ops[0].judgement.label)
"""

from __future__ import annotations

# As in `tinytrace`: loaded when first used.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tinytrace.analysis.account import account_of, typical_steps
    from tinytrace.analysis.counting import count_trace
    from tinytrace.analysis.fleet_map import fleet_of
    from tinytrace.analysis.hot_lines import hot_lines_of
    from tinytrace.analysis.op_groups import group_ops
    from tinytrace.analysis.report import report_of
    from tinytrace.analysis.roofline import judge
    from tinytrace.analysis.summary import summarise

del TYPE_CHECKING

__all__ = [
    "account_of",
    "count_trace",
    "fleet_of",
    "group_ops",
    "hot_lines_of",
    "judge",
    "report_of",
    "summarise",
    "typical_steps",
]

_HOME = {
    "account_of": "account",
    "count_trace": "counting",
    "fleet_of": "fleet_map",
    "group_ops": "op_groups",
    "hot_lines_of": "hot_lines",
    "judge": "roofline",
    "report_of": "report",
    "summarise": "summary",
    "typical_steps": "account",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

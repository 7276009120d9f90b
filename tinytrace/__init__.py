"""tinytrace: the profiler that tells the truth about numerical Python.

Run a program and record it: ``python -m tinytrace train.py``. Or, from inside a program::

    import tinytrace as tt

    with tt.trace("trace.json"):
        for batch in batches:
            with tt.step():
                train(batch)

    trace = tt.load("trace.json")
"""

from __future__ import annotations

# As type checkers take it. `typing` is not loaded: it costs more than all else here, and a program that
# is recorded must find nothing loaded that it has not imported (`tinytrace.tracer.launcher`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tinytrace.analysis.reader import load
    from tinytrace.errors import TinytraceError
    from tinytrace.exporters.registry import export
    from tinytrace.library import trace
    from tinytrace.querying import query
    from tinytrace.toolkit.comparing import compare
    from tinytrace.toolkit.flops import count_flops
    from tinytrace.toolkit.memory import MemoryTracker
    from tinytrace.toolkit.parameters import count_parameters
    from tinytrace.toolkit.performance import measure_performance
    from tinytrace.toolkit.plots import plot_performance_comparison
    from tinytrace.toolkit.profiler import Profiler, profile
    from tinytrace.toolkit.saved import compare_saved
    from tinytrace.toolkit.suite import benchmark_suite
    from tinytrace.toolkit.timer import Timer
    from tinytrace.tracer.annotate import counter, instant, op, span, step
    from tinytrace.tracer.trace import Trace

del TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "MemoryTracker",
    "Profiler",
    "Timer",
    "TinytraceError",
    "Trace",
    "benchmark_suite",
    "compare",
    "compare_saved",
    "count_flops",
    "count_parameters",
    "counter",
    "export",
    "instant",
    "load",
    "measure_performance",
    "op",
    "plot_performance_comparison",
    "profile",
    "query",
    "span",
    "step",
    "trace",
]

# Loaded when first used: `import tinytrace` imports neither NumPy nor anything heavy.
_HOME = {
    "MemoryTracker": "tinytrace.toolkit.memory",
    "Profiler": "tinytrace.toolkit.profiler",
    "Timer": "tinytrace.toolkit.timer",
    "TinytraceError": "tinytrace.errors",
    "Trace": "tinytrace.tracer.trace",
    "benchmark_suite": "tinytrace.toolkit.suite",
    "compare": "tinytrace.toolkit.comparing",
    "compare_saved": "tinytrace.toolkit.saved",
    "count_flops": "tinytrace.toolkit.flops",
    "count_parameters": "tinytrace.toolkit.parameters",
    "export": "tinytrace.exporters.registry",
    "load": "tinytrace.analysis.reader",
    "measure_performance": "tinytrace.toolkit.performance",
    "plot_performance_comparison": "tinytrace.toolkit.plots",
    "profile": "tinytrace.toolkit.profiler",
    "query": "tinytrace.querying",
    "trace": "tinytrace.library",
    **dict.fromkeys(("counter", "instant", "op", "span", "step"), "tinytrace.tracer.annotate"),
}


def load_ipython_extension(shell: Any) -> None:
    """Register the magics of notebooks: ``%load_ext tinytrace``."""
    from tinytrace.cli.notebook import load_ipython_extension as load_magics

    load_magics(shell)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

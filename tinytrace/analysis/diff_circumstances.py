"""What is different about two runs beside what they did, and what a comparison of them leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinytrace.analysis.caches import counted_in
from tinytrace.analysis.figures import format_rate
from tinytrace.analysis.hardware_words import figure_rows
from tinytrace.tracer.trace import Trace

# What of the machine decides a time, and what it is called.
_MACHINE = {
    "cpu": "CPU", "cpu_count": "CPUs", "architecture": "architecture", "system": "system",
    "release": "kernel", "python": "Python", "implementation": "Python implementation",
    "numpy": "NumPy", "blas": "BLAS", "blas_threads": "BLAS threads",
}  # fmt: skip


def circumstances(
    before: Trace,
    after: Trace,
    *,
    renamed: tuple[str, str] | None,
    per_step: bool,
    samples: tuple[int, int],
) -> Iterator[str]:
    """Yield what a reader of the comparison must know, one sentence each.

    Args:
        before: the first trace.
        after: the second one.
        renamed: scripts with different names that were taken for the same one.
        per_step: the comparison is per step.
        samples: in the accounted threads.
    """
    yield from _metadata(before.meta, after.meta)
    if renamed:
        yield f"the script {_file(renamed[0])} is compared with {_file(renamed[1])}"
    yield from _counted(before, after)
    folded = [int(trace.aggregates.count.sum()) for trace in (before, after)]
    if any(folded):
        yield (
            f"aggregated spans ({folded[0]:,} and {folded[1]:,}) are in all sums, and intervals are those of "
            "the calls kept one by one; spans that are no ops are part of the rest"
        )
    if per_step and any(folded):
        yield "aggregated spans count as if they had run in steps: where they ran is not known"
    for which, trace in (("first", before), ("second", after)):
        audit = trace.meta.get("audit")
        dropped = audit.get("dropped") if isinstance(audit, dict) else None
        if isinstance(dropped, (int, float)) and dropped:
            yield f"{dropped:,} spans of the {which} run were dropped: its work is not all here"
        if not len(trace.spans) and not folded[which == "second"]:
            yield f"the {which} trace has no operations"
    warned = [dict.fromkeys(trace.warnings) for trace in (before, after)]
    for warning in {**warned[0], **warned[1]}:
        told = " and ".join(
            name for name, mine in zip(("first", "second"), warned, strict=True) if warning in mine
        )
        yield f"{told} trace: {warning}"
    for which, n in zip(("first", "second"), samples, strict=True):
        if not n:
            yield f"the {which} trace has no samples of that thread: lines are not compared"


def _counted(before: Trace, after: Trace) -> Iterator[str]:
    """What the CPU counted in the first process of each, as far as both tell it."""
    first, second = counted_in(before), counted_in(after)
    if first is None or second is None:
        if first or second:
            yield f"only the {'first' if first else 'second'} trace has counters of the CPU"
        return
    (outer, left), (other, right) = first, second
    if outer != other:
        yield "counters of the CPU: the misses of different caches were counted"
        return
    told = [
        f"{words} {format_rate(was)} and {format_rate(now)}"
        for words, field, form in figure_rows(outer)
        for was, now in [(getattr(left, field), getattr(right, field))]
        if form == "rate" and was is not None and now is not None
    ]
    if told:
        yield f"counters of the CPU, of the whole process: {'; '.join(told)}"


def _metadata(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    left, right = _dictionary(before, "machine"), _dictionary(after, "machine")
    for key, name in _MACHINE.items():
        if key in left and key in right and left[key] != right[key]:
            yield f"different {name}: {left[key]} and {right[key]}"
    tools = [_producer(meta) for meta in (before, after)]
    if tools[0] != tools[1]:
        yield f"recorded by different tools: {tools[0]} and {tools[1]}"
    elif not left or not right:
        yield "on which machines they ran is not known"
    if before.get("core") != after.get("core") and before.get("core") and after.get("core"):
        yield f"different recorders: {before['core']} and {after['core']}; their costs differ"
    left, right = _dictionary(before, "options"), _dictionary(after, "options")
    for key in left.keys() & right.keys():
        if left[key] != right[key]:
            yield f"different {key}: {left[key]} and {right[key]}"
    left, right = _dictionary(before, "conventions"), _dictionary(after, "conventions")
    if left and right and left.get("version") != right.get("version"):
        yield "counted anew by this version's convention: the traces were written under different ones"
    arguments = [_arguments(meta) for meta in (before, after)]
    if None not in arguments and arguments[0] != arguments[1]:
        yield f"different arguments: {arguments[0] or 'none'} and {arguments[1] or 'none'}"


def _dictionary(meta: dict[str, Any], key: str) -> dict[str, Any]:
    value = meta.get(key)
    return value if isinstance(value, dict) else {}


def _producer(meta: dict[str, Any]) -> str:
    return str(_dictionary(meta, "foreign").get("producer", "tinytrace"))


def _arguments(meta: dict[str, Any]) -> str | None:
    """What the program was called with; None: not known."""
    command = meta.get("command")
    if not isinstance(command, list):
        return None
    words = [str(word) for word in command]
    script = next((n for n, word in enumerate(words) if word.endswith(".py")), 0)
    return " ".join(words[script + 1 :])


def _file(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]

"""The self-audit of a run: those of its processes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tinytrace.tracer.groups import distinct
from tinytrace.tracer.reading import ProcessRecords, whole_number
from tinytrace.tracer.records import FRAMEWORK_COST, FRAMEWORK_KINDS


class ReadProcess(Protocol):
    """A process of the run, read.

    Attributes:
        meta: what its tables say of it.
        records: what it recorded.
        lost_flows: arrows of which an end was summed up while reading.
    """

    meta: dict[str, Any]
    records: ProcessRecords
    lost_flows: int


SUMMED = (
    "dropped", "folded_spans", "folded_samples", "folded_counters", "folded_flows", "skipped_elements",
    "sites_left_out", "signatures_left_out", "stacks_left_out", "names_left_out", "sampler_busy_ns",
)  # fmt: skip


def audit_of_run(processes: Sequence[ReadProcess], spans: int, samples: int) -> dict[str, Any]:
    """The self-audit: counted from the records where they tell, else as each process left it.

    Args:
        processes: in order of their start.
        spans: how many there are in the trace.
        samples: likewise.
    """
    told = [a for p in processes if isinstance(a := p.meta.get("audit"), dict)]
    audit: dict[str, Any] = dict(told[0]) if told else {}
    for key in SUMMED:
        known = [a[key] for a in told if type(a.get(key)) is int]
        if known:
            audit[key] = sum(known)
    audit |= _with_frameworks(processes)
    folded = {
        "folded_spans": sum(
            int(r["count"].sum()) for p in processes for r in p.records.sums.values()
        ),
        "folded_samples": sum(p.records.folded_samples for p in processes),
        "folded_counters": sum(p.records.folded_counters for p in processes),
        "folded_flows": sum(p.records.folded_flows + p.lost_flows for p in processes),
    }
    audit |= {key: n for key, n in folded.items() if n or key in audit}
    audit["spans"] = spans
    audit["samples"] = samples
    audit["unfinished_processes"] = sum("audit" not in p.meta for p in processes)
    if not (audit.get("folded_samples") and "achieved_hz" in audit):
        audit |= _sampling(processes)
    return audit


def _with_frameworks(processes: Sequence[ReadProcess]) -> dict[str, Any]:
    """The estimate of what recording cost the first process, in which calls in a framework count as what they cost."""
    for p in processes:
        told = p.meta.get("audit")
        if not isinstance(told, dict):
            continue
        percent, each_ns = told.get("own_overhead_percent"), told.get("overhead_ns_per_op")
        wall_ns = whole_number(p.meta.get("end_ns"), 0) - whole_number(p.meta.get("start_ns"), 0)
        if not isinstance(percent, (int, float)) or not isinstance(each_ns, int) or wall_ns <= 0:
            return {}
        calls = sum(
            int(np.isin(r["kind"], FRAMEWORK_KINDS).sum()) for r in p.records.spans.values()
        )
        for r in p.records.sums.values():
            calls += int(r["count"][np.isin(r["kind"], FRAMEWORK_KINDS)].sum())
        more = 100 * calls * (FRAMEWORK_COST - 1) * each_ns / wall_ns
        return {"own_overhead_percent": round(percent + more, 3)} if calls else {}
    return {}


def _sampling(processes: Sequence[ReadProcess]) -> dict[str, Any]:
    """Rate and largest gap of the first process that was sampled, where its samples are as they were taken."""
    for p in processes:
        r = p.records.samples[~p.records.is_folded]
        if by_pyspy := p.meta.get("py_spy"):  # it says when stacks changed, not when it looked
            return {"asked_hz": by_pyspy["rate_hz"]}
        times = distinct(r["t_ns"])
        if len(times) > 1:
            seconds = int(times[-1] - (r["t_ns"] - r["weight_ns"]).min()) / 1e9
            return {
                "achieved_hz": round(len(times) / seconds, 1),
                "largest_gap_ns": int(np.diff(times).max()),
            }
    return {}

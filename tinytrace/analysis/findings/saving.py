"""Logging, saving, encoding: what is done beside the work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.tracer.groups import group_ids, sums

NAME = "logging or saving"
SHARE = 0.05  # of the run
MIN_SAMPLES = 10
# By the files that the functions are in; those of C (print, pickle's fast form) have no frame of their own.
MODULES = re.compile(
    r"/(logging/(__init__|handlers)|pickle|json/(__init__|encoder)|csv|shelve|zipfile|tarfile|gzip"
    r"|numpy/lib/_?(npyio|format)(_impl)?|pprint|warnings|tqdm/\w+|torch/serialization|torch/utils/tensorboard/\w+)\.py$"
)


def find(case: Case) -> Iterator[Finding]:
    """Lines of the program that call such modules for more than 5 % of the run; ceiling: all of that time."""
    trace = case.trace
    samples = trace.samples
    if not len(trace.stacks) or case.thread is None:
        return
    frame = np.append(case.callers_of(MODULES), -1)[samples.stack_id]
    mine = (frame >= 0) & case.program_samples & (samples.thread == case.thread)
    if not mine.any():
        return
    frames = trace.frames
    ids, n = group_ids([frames.file_id[frame[mine]], frames.line[frame[mine]]])
    spent_ns = sums(ids, n, samples.weight_ns[mine])
    count = np.bincount(ids, minlength=n)
    for i in np.flatnonzero((spent_ns >= SHARE * case.wall_ns) & (count >= MIN_SAMPLES)).tolist():
        where = int(frame[mine][ids == i][0])
        share = 100 * int(spent_ns[i]) / case.wall_ns
        yield case.finding(
            NAME,
            where,
            f"{case.function(where)} logs or saves for {share:.0f} % of the run",
            evidence=(f"{time(spent_ns[i])}, by {count[i]:,} samples in the modules that do so",),
            ceiling_ns=int(spent_ns[i]),
            confidence="high",
            why="samples show it",
            remedy="Do it every so many steps, collect what is to be written, and save without compression.",
            code="if step % 100 == 0:\n    log.info(...)",
        )

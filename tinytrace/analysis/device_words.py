"""What is said of a device, in the text of the report and on its page alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytrace.analysis.datasheets import DeviceRoofs
from tinytrace.analysis.device_account import HOST_WAIT, IDLE, DeviceAccount, Spent
from tinytrace.analysis.device_memory import DeviceMemory
from tinytrace.analysis.device_report import DeviceReport, DeviceSection
from tinytrace.analysis.figures import format_mb, format_ns
from tinytrace.analysis.roofline import Verdict

if TYPE_CHECKING:
    from tinytrace.analysis.roofline_points import Roofline

# Below it, a share is not worth a word in a sentence.
WORTH_SAYING = 3.0
# Idle for the host for more than this, in pauses that are alike: the host bounds the program, whatever its kernels do.
LAUNCH_BOUND = 50.0


def device_name(account: DeviceAccount) -> str:
    """Return label and model: ``GPU 0 (NVIDIA H100 80GB HBM3)``."""
    device = account.device
    return device.label if device.model is None else f"{device.label} ({device.model})"


def device_headline(section: DeviceSection) -> str:
    """Return what took the time of a device, of a step where there are steps.

    Args:
        section: of the report.
    """
    account = section.step_account or section.account
    what = "a step" if section.step_account is not None else "the run"
    idle = account.percent(*IDLE)
    busy = f"{100 - idle:.0f}" if idle <= 99.5 else "less than 1"
    parts = [f"{device_name(account)} works {busy} % of {what} ({format_ns(account.wall_ns)})"]
    host = account.percent(*HOST_WAIT)
    if host >= LAUNCH_BOUND and section.waits_evenly:
        parts.append(f"it is launch-bound: {host:.0f} % it waits for the host ({_host(account)})")
    elif host >= WORTH_SAYING:
        parts.append(f"{host:.0f} % it waits for the host ({_host(account)})")
    exposed = account.percent(Spent.COMMUNICATION)
    if exposed >= WORTH_SAYING:
        parts.append(f"{exposed:.0f} % it communicates and computes nothing")
    copies = account.percent(Spent.COPIES)
    if copies >= WORTH_SAYING:
        parts.append(f"{copies:.0f} % it copies and computes nothing")
    other = account.percent(Spent.OTHER_WAIT, Spent.NOT_KNOWN)
    if other >= WORTH_SAYING:
        parts.append(f"{other:.0f} % it is idle for reasons that the trace does not show")
    if host < LAUNCH_BOUND and section.ops:
        first = section.ops[0]
        where = "" if first.callsite is None else f" ({first.callsite})"
        parts.append(f"the op with most of its time is {first.op}{where}, {first.percent:.0f} %")
    return f"{'; '.join(parts)}."


def _host(account: DeviceAccount) -> str:
    """What the host did meanwhile, most first."""
    words = {
        Spent.DISPATCH: "in torch's ops and launches",
        Spent.HOST: "in Python and waits",
        Spent.DATA: "waiting for data",
    }
    shares = sorted(((account.percent(line), word) for line, word in words.items()), reverse=True)
    return ", ".join(f"{share:.0f} % {word}" for share, word in shares if share >= 1)


def memory_words(memory: DeviceMemory) -> str:
    """Return how much memory torch had on a device at most."""
    text = f"Memory of {memory.label} (torch's number): tensors had {format_mb(memory.peak_bytes / 1e6)} at most"
    if memory.reserved_bytes is not None:
        text += f", of {format_mb(memory.reserved_bytes / 1e6)} that torch had reserved"
    first, last = (format_mb(b / 1e6) for b in (memory.first_bytes, memory.last_bytes))
    return f"{text}; {first} in the beginning, {last} in the end ({memory.events:,} allocations and releases)."


def job_words(report: DeviceReport) -> str | None:
    """Return which part of which job the trace is of; None: not told."""
    if report.rank is None:
        return None
    size = "" if report.world_size is None else f" of {report.world_size:,}"
    backend = "" if report.backend is None else f", backend {report.backend}"
    return f"Rank {report.rank:,}{size}{backend}."


PICTURE_MODEL = (
    "Measured: times, of all kernels, copies and fills that an op launched. Modelled: FLOPs and bytes (counted from "
    "shapes). Bytes are set against the device's memory, though a part may lie in its cache."
)


def picture_roofs(roofline: Roofline) -> str:
    """Return which roofs the picture of a device has."""
    roofs = roofline.nominal
    if roofs is None:
        return f"No roofs: no datasheet of {roofline.device} is known here."
    if roofs.measured:
        return f"Roofs: {roofs.name}, {roofs.source}."
    return f"Roofs are NOMINAL, not measured: {roofs.name}, {roofs.source}, dense; nobody reaches them."


def account_notes(section: DeviceSection) -> list[str]:
    """Return what the account of a device is of, what is not in it, and which roofs its verdicts are by."""
    account, step = section.account, section.step_account
    notes = []
    if step is not None:
        which = f"the mean of the {step.n_windows:,} steps whose duration is in the middle half"
        which = which if step.n_windows > 1 else "the median one"
        notes.append(f"a step: {format_ns(step.wall_ns)}, {which}.")
    else:
        notes.append("From the first to the last piece of work: no steps are marked.")
    if account.outside_ns:
        notes.append(f"Outside of the steps it worked {format_ns(account.outside_ns)} more.")
    if section.unlaunched:
        notes.append(
            f"{section.unlaunched:,} of {section.pieces:,} pieces of work ({format_ns(section.unlaunched_ns)}) were "
            "launched before the trace begins, or their launch was not recorded."
        )
    notes.append(_roofs(section.roofs, account.device.model))
    return notes


def _roofs(roofs: DeviceRoofs | None, model: str | None) -> str:
    if roofs is None:
        what = "the trace does not say what device it is"
        what = what if model is None else f"no datasheet of {model} is known here"
        return f"No verdicts on kernels: {what}."
    rates = [f"{dtype} {tflops:g}" for dtype, tflops in roofs.matrix_tflops.items()]
    units = f"; matrix units, TFLOP/s: {', '.join(rates)}" if rates else ""
    vector = "" if roofs.vector_tflops is None else f"; float32 elsewhere {roofs.vector_tflops:g}"
    figures = f"{roofs.name}, {roofs.gbps:,.0f} GB/s{units}{vector}"
    if roofs.measured:
        return f"Roofs: {figures} ({roofs.source})."
    return f"Roofs are NOMINAL, not measured: {figures} ({roofs.source})."


def step_notes(section: DeviceSection) -> list[str]:
    """Return how much work steps launch on a device, and what was different in the slowest."""
    steps = section.steps
    if steps is None or steps.n_steps < 2:
        return []
    label = section.account.device.label
    notes = [
        f"Steps: {steps.n_steps:,} launched work on {label}, half of them at most {format_ns(steps.median_ns)} of it "
        "(all streams together)."
    ]
    if steps.slowest is not None:
        text = (
            f"Slowest on the host: step {steps.slowest:,} with {format_ns(steps.slowest_wall_ns)}; it launched "
            f"{format_ns(steps.slowest_ns)}"
        )
        if steps.longer:
            longer = [
                f"{one.op} {format_ns(one.device_ns)} (usually {format_ns(one.usual_ns)}"
                + (
                    f"; {one.pieces:,} kernels for {one.usual_pieces:,.10g})"
                    if one.pieces != one.usual_pieces
                    else ")"
                )
                for one in steps.longer
            ]
            text += f". Longer than usual: {', '.join(longer)}"
        notes.append(f"{text}.")
    return notes


def op_notes(section: DeviceSection) -> list[str]:
    """Return what the words of the table of a device's ops mean, as far as they occur."""
    counted, judged = section.counted_percent, section.judged_percent
    notes = []
    if counted is not None and judged is not None:
        notes.append(
            f"FLOPs are counted for {counted:.0f} % of the time of kernels that compute, {judged:.0f} % is judged. "
            "on host: the calls, which mostly do not wait for the device."
        )
    violated = [row.op for row in section.ops if row.judgement.violation_ns]
    if violated:
        notes.append(
            f"Calls faster than a roof allows are left out (model violation) of {', '.join(violated)}: their operands "
            "may lie in a cache of the device, of which no roof is known."
        )
    if section.roofs is not None and any(
        row.judgement.verdict is Verdict.NO_PEAKS for row in section.ops
    ):
        notes.append(
            "no peaks: the bytes are not known (tensors in lists), the dtype has no figure, or the data crosses a link."
        )
    return notes

"""What a device's account says, in one sentence."""

from __future__ import annotations

from tinytrace.analysis.device_account import HOST_WAIT, IDLE, DeviceAccount, Spent
from tinytrace.analysis.device_report import DeviceSection
from tinytrace.analysis.figures import format_ns

# Below it, a share is not worth a word in a sentence.
WORTH_SAYING = 3.0
# Idle for the host for more than this: the host bounds the program, whatever its kernels do. Otherwise the larger
# part of the time is the kernels'.
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
    text = (
        f"{device_name(account)} works {100 - idle:.0f} % of {what} ({format_ns(account.wall_ns)})"
    )
    parts = [text]
    host = account.percent(*HOST_WAIT)
    if host >= LAUNCH_BOUND:
        parts.append(f"it is launch-bound: {host:.0f} % it waits for the host, {_host(account)}")
    elif host >= WORTH_SAYING:
        parts.append(f"{host:.0f} % it waits for the host, {_host(account)}")
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

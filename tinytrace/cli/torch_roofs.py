"""The roofs of PyTorch on this machine: what is kept, or measured now and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytrace.analysis import peaks_cache
from tinytrace.cli.messages import say, stderr
from tinytrace.cli.saving import progress_bar
from tinytrace.errors import UsageError

if TYPE_CHECKING:
    from tinytrace.analysis.peaks import Peaks


def torch_roofs(threads: int | None, *, quick: bool, force: bool) -> dict[str, Peaks]:
    """Return the roofs per device: ``cpu``, ``cuda:0``….

    Args:
        threads: of PyTorch on the CPU; None: as many as it takes here.
        quick: a second or so for each; what is kept of a full measuring is taken all the same.
        force: measure again, even if there are figures already.

    Raises:
        UsageError: there is no PyTorch here.
    """
    try:
        import torch

        from tinytrace.analysis.torch_devices import torch_threads
        from tinytrace.analysis.torch_measure import machines_here, measure_all
    except ImportError as problem:
        raise UsageError("--torch needs PyTorch: pip install torch") from problem
    with torch_threads(threads or torch.get_num_threads()):
        kept = {place.device: peaks_cache.load(place.fingerprint) for place in machines_here()}
    known = {device: peaks for device, peaks in kept.items() if peaks is not None}
    if not force and len(known) == len(kept) and all(quick or not p.quick for p in known.values()):
        return known
    with progress_bar("measuring PyTorch on this machine", stderr()) as progress:
        found = measure_all(threads, quick=quick, progress=progress or (lambda share: None))
    for peaks in found.values():
        try:
            peaks_cache.store(peaks)
        except OSError as problem:
            say(f"the figures could not be kept for the next run: {problem.strerror or problem}")
    return found

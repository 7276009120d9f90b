"""torch.distributed: messages and collectives of process groups, and waits for what was begun.

What C++ does by itself is not seen: `DistributedDataParallel`, which exchanges gradients while they are computed, and
functional collectives (``torch.distributed._functional_collectives``, in compiled code). torch's profiler sees those.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from tinytrace.tracer.adapters.communicating import (
    Call,
    Communicating,
    Group,
    Parameters,
    see_in_c,
)
from tinytrace.tracer.adapters.registry import Adapting
from tinytrace.tracer.ranks import rank_of
from tinytrace.tracer.records import Entry

PACKAGE = "torch.distributed"
# Function → operation, parameters of what is given and of what is got, of the root or peer (rank of the job; of the
# group). Those for objects call these.
FUNCTIONS = {
    "all_reduce": ("all_reduce", "tensor", "", "", ""),
    "all_reduce_coalesced": ("all_reduce", "tensors", "", "", ""),
    "broadcast": ("broadcast", "tensor", "", "src", "group_src"),
    "reduce": ("reduce", "tensor", "", "dst", "group_dst"),
    "all_gather": ("all_gather", "tensor", "tensor_list", "", ""),
    "all_gather_coalesced": ("all_gather", "input_tensor_list", "", "", ""),
    "all_gather_into_tensor": ("all_gather", "input_tensor", "output_tensor", "", ""),
    "all_gather_single": ("all_gather", "input_tensor", "output_tensor", "", ""),
    "_all_gather_base": ("all_gather", "input_tensor", "output_tensor", "", ""),
    "gather": ("gather", "tensor", "", "dst", "group_dst"),
    "scatter": ("scatter", "", "tensor", "src", "group_src"),
    "reduce_scatter": ("reduce_scatter", "input_list", "output", "", ""),
    "reduce_scatter_tensor": ("reduce_scatter", "input", "output", "", ""),
    "reduce_scatter_single": ("reduce_scatter", "input", "output", "", ""),
    "_reduce_scatter_base": ("reduce_scatter", "input", "output", "", ""),
    "all_to_all": ("all_to_all", "input_tensor_list", "output_tensor_list", "", ""),
    "all_to_all_single": ("all_to_all", "input", "output", "", ""),
    "barrier": ("barrier", "", "", "", ""),
    "send": ("send", "tensor", "", "dst", "group_dst"),
    "recv": ("receive", "", "tensor", "src", "group_src"),
    "isend": ("send", "tensor", "", "dst", "group_dst"),
    "irecv": ("receive", "", "tensor", "src", "group_src"),
}
BEGIN_ONLY = ("isend", "irecv")


def install(adapting: Adapting, module: ModuleType) -> None:
    """See the calls of process groups.

    Args:
        adapting: of this recording.
        module: ``torch.distributed.distributed_c10d``, of which ``torch.distributed`` has the functions.
    """
    communicating = Communicating(adapting)
    groups = _Groups(adapting, module)
    package = sys.modules.get(PACKAGE)
    is_late = package is not None and hasattr(package, "P2POp")
    seen = []
    for name, what in FUNCTIONS.items():
        function = vars(module).get(name)
        if function is None:
            continue
        if is_late and name in BEGIN_ONLY:
            # P2POp takes no others than those it knows, and the program may have them already.
            groups.unseen.append(name)
            continue
        described = _Function(groups, Parameters(function), *what, name in BEGIN_ONLY)
        if adapting.wrap(
            module, name, *communicating.callbacks(name, described.call, described.learnt)
        ):
            seen.append(name)
    if is_late:
        _share(package, module, seen)
    adapting.at_end(lambda: _take_back(sys.modules.get(PACKAGE), module, seen))
    work = getattr(module, "Work", None)
    if isinstance(work, type):
        see_in_c(adapting, work, "wait", *communicating.wait_callbacks("Work.wait", _work))


def _share(package: Any, module: ModuleType, names: list[str]) -> None:
    """Give the package the functions that its module has now: they must be the same ones."""
    for name in names:
        if getattr(vars(package).get(name), "__name__", None) == name:
            setattr(package, name, vars(module)[name])


def _take_back(package: Any, module: ModuleType, names: list[str]) -> None:
    """Give the package its own functions again, before the module gets them."""
    for name in names:
        seen = vars(module).get(name)
        if package is not None and vars(package).get(name) is seen:
            setattr(package, name, getattr(seen, "__wrapped__", seen))


def _work(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    return [args[0]]


class _Groups:
    """What the process groups are."""

    def __init__(self, adapting: Adapting, module: ModuleType) -> None:
        self._adapting, self._module = adapting, module
        self._known: dict[tuple[int, str], Group] = {}
        self.unseen: list[str] = []  # said only where something is communicated

    def of(self, group: Any) -> Group | None:
        """A process group; None: there is none, or this process is not in it."""
        module = self._module
        if group is None:
            group = module.GroupMember.WORLD
        if group is None or group is module.GroupMember.NON_GROUP_MEMBER:
            return None
        if group in module._world.pg_coalesce_state:
            return None  # put off until the end of the block
        key = id(group), str(group.group_name)
        found = self._known.get(key)
        if found is None:
            ranks = tuple(module.get_process_group_ranks(group))
            found = self._known[key] = Group(key[1], ranks, int(module.get_rank()))
            self._say_rank(found.rank, int(module.get_world_size()))
            for name in self.unseen:
                self._adapting.say(
                    f"{PACKAGE}.{name} is not seen: it was imported before recording began"
                )
        return found

    def _say_rank(self, rank: int, size: int) -> None:
        """Say which rank this is, if no launcher has."""
        if size > 1 and rank_of(os.environ) is None:
            told = {"rank": rank, "world_size": size, "launcher": PACKAGE}
            self._adapting.recorder.put(Entry.META, json.dumps({"rank": told}).encode())


class _Function(NamedTuple):
    """A function of torch.distributed: what its calls are, from their arguments."""

    groups: _Groups
    find: Parameters
    op: str
    given: str
    got: str
    peer: str
    peer_in_group: str
    begins_only: bool

    def learnt(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> tuple[int | None, int | None]:
        """From whom a receive was: `recv` returns it."""
        return result if type(result) is int and result >= 0 else None, call.tag

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        def find(name: str) -> Any:
            return self.find(args, kwargs, name) if name else None

        group = self.groups.of(find("group"))
        if group is None:
            return None
        data = find(self.given)
        data = find(self.got) if data is None else data
        peer, in_group = find(self.peer), find(self.peer_in_group)
        if peer is None and group.members and type(in_group) is int:
            peer = group.members[in_group] if 0 <= in_group < len(group.members) else None
        is_queued = bool(_first(data, lambda tensor: tensor.is_cuda))
        return Call(
            self.op, group, _bytes(data), peer if type(peer) is int else None,
            find("tag") if self.op in ("send", "receive") else None,
            is_queued=is_queued,
            goes_on=(self.begins_only or bool(find("async_op"))) and not is_queued,
        )  # fmt: skip


def _first(data: Any, of: Callable[[Any], Any]) -> Any:
    """What holds of the first tensor; None where there is none, or where asking it would call code of the program."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return of(data) if _is_plain(data) else None


def _bytes(data: Any) -> int | None:
    """Bytes of a tensor, or of all in a list; None: not known."""
    if isinstance(data, (list, tuple)):
        sizes = [_bytes(part) for part in data]
        return None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)
    return int(data.numel()) * int(data.element_size()) if _is_plain(data) else None


def _is_plain(data: Any) -> bool:
    """Whether this is a tensor without code of the program behind it."""
    torch = sys.modules.get("torch")
    return torch is not None and type(data) in (torch.Tensor, torch.nn.Parameter)

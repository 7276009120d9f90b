"""What one communication span says of itself: recorded by us, or by torch.profiler (Kineto)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import orjson

from tinytrace.analysis.kineto import item_bytes
from tinytrace.tracer.communication_names import KEY, ranks_of


class Place(IntEnum):
    """Where communication was seen."""

    CALL = 0  # where the program calls it: it has it done, or begun only
    WORKER = 1  # a thread of the library that carries it out (gloo)
    DEVICE = 2  # a kernel of the library on a GPU (NCCL, RCCL)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one call; "", −1 and () where it is not.

    Attributes:
        op: in the words of `tracer.communication_names`.
        place: where it was seen.
        group: name of the communicator.
        ranks: its members.
        rank: of the caller.
        bytes: see `communication_names.ARGUMENTS`.
        peer, tag: whom a message goes to or comes from (or the root); −1: whoever, too.
        source, source_tag: of a send_receive.
        requests: numbers of what goes on after the call, or is waited for.
        is_async: it goes on after the call.
        is_own: recorded by us: where the program calls it, until the call returns.
        sequence: number in its group, where the library counts.
    """

    op: str = ""
    place: Place = Place.CALL
    group: str = ""
    ranks: tuple[int, ...] = ()
    rank: int = -1
    bytes: int = -1
    peer: int = -1
    tag: int = -1
    source: int = -1
    source_tag: int = -1
    requests: tuple[int, ...] = ()
    is_async: bool = False
    is_own: bool = False
    sequence: int = -1

    def filled(self, other: Facts) -> Facts:
        """Return these facts, those that are not known from another span of the same call."""
        unknown = Facts()
        missing = {
            name: getattr(other, name)
            for name in ("op", "group", "ranks", "rank", "bytes", "peer", "tag", "sequence")
            if getattr(self, name) == getattr(unknown, name)
        }
        return replace(self, **missing)


OWN = f'{{"{KEY}":'  # how the arguments of our own communication spans begin
LIBRARY_NAME = re.compile(
    r"(c10d::|record_param_comms$|(?:nccl|gloo|mpi|ucc|xccl|hccl):|(?:nccl|rccl|msccl)\w*Kernel)", re.IGNORECASE
)  # fmt: skip
_WORDS = {
    "allreduce": "all_reduce", "allgather": "all_gather", "reducescatter": "reduce_scatter",
    "alltoall": "all_to_all", "broadcast": "broadcast", "barrier": "barrier", "scatter": "scatter",
    "gather": "gather", "reduce": "reduce", "sendrecv": "send_receive", "send": "send",
    "receive": "receive", "recv": "receive", "wait": "wait",
}  # fmt: skip
_ORDER = sorted(_WORDS, key=len, reverse=True)  # "allreduce" before "reduce"
# The names that NCCL's types have in torch ("Collective name" events), in bytes.
_ITEM_BYTES = {
    "Byte": 1, "Char": 1, "Bool": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4,
    "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float8_e4m3fn": 1,
    "Float8_e5m2": 1, "Float8_e4m3fnuz": 1, "Float8_e5m2fnuz": 1,
}  # fmt: skip


def canonical(name: str) -> str:
    """Return the operation that a library's name means; "" where it is none that is known.

    Example:
        >>> canonical("c10d::_allgather_base_"), canonical("ncclDevKernel_SendRecv(int)"), canonical("gloo:recv")
        ('all_gather', 'send_receive', 'receive')
        >>> canonical("nccl:_reduce_scatter_base"), canonical("init")
        ('reduce_scatter', '')
    """
    bare = re.sub(r"[^a-z]", "", re.sub(r"^(c10d::|\w+:(?!:)|\w*kernel_)", "", name.lower()))
    return next((_WORDS[word] for word in _ORDER if word in bare), "")


def facts_of(name: str, args: str) -> Facts | None:
    """Return what a span says of the communication that it is; None: it is none.

    Args:
        name: of the span.
        args: its arguments as JSON; "" for none.

    Example:
        >>> facts_of("all_reduce", '{"communication": "all_reduce", "bytes": 8}').bytes
        8
        >>> facts_of("matmul", "") is None
        True
    """
    own = args.startswith(OWN)
    if not own and not LIBRARY_NAME.match(name):
        return None
    try:
        values = orjson.loads(args) if args else {}
    except orjson.JSONDecodeError:
        values = {}
    return _own(values) if own else _of_library(name, values)


def _own(args: dict[str, Any]) -> Facts | None:
    op = args.get(KEY)
    if not isinstance(op, str):
        return None
    requests = ranks_of(_text(args.get("requests")))
    number = {
        n: _number(args.get(n)) for n in ("rank", "bytes", "peer", "tag", "source", "source_tag")
    }
    return Facts(
        op=op, group=_text(args.get("group")), ranks=ranks_of(_text(args.get("ranks"))),
        rank=number["rank"], bytes=number["bytes"], peer=number["peer"], tag=number["tag"],
        is_own=True, source=number["source"], source_tag=number["source_tag"], requests=requests,
        is_async=(bool(requests) and op != "wait") or args.get("queued") is True,
    )  # fmt: skip


def _of_library(name: str, args: dict[str, Any]) -> Facts | None:
    category = args.get("cat")
    if category == "gpu_user_annotation":
        return None  # around the kernels that are there themselves
    place = Place.CALL
    if category in ("kernel", "gpu_memcpy") or "kernel" in name.lower():
        place = Place.DEVICE
    collective = args.get("Collective name")
    op = canonical(_text(collective) or name)
    if not op and name != "record_param_comms":
        return None
    facts = Facts(
        op=op, place=place,
        is_async=place is Place.CALL,  # a thread of the library, or a GPU, carries it out
        group=_text(args.get("Process Group Name")),
        ranks=_group_ranks(args),
        bytes=_message_bytes(args),
        sequence=_number(args.get("Seq")),
    )  # fmt: skip
    if op in ("send", "receive"):
        peer, tag = _peer(name, args, op)
        return replace(facts, peer=peer, tag=tag)
    return facts


def _peer(name: str, args: dict[str, Any], op: str) -> tuple[int, int]:
    """Return whom a message goes to or comes from, and its tag."""
    arrow = re.search(r"(\d+)\s*->\s*(\d+)", name)  # "nccl:send 0->1": ranks in the group
    if arrow:
        return int(arrow[2] if op == "send" else arrow[1]), -1
    inputs = args.get("Concrete Inputs")
    if name in ("c10d::send", "c10d::recv_") and isinstance(inputs, list) and len(inputs) == 4:
        peer, tag = _text(inputs[2]), _text(inputs[3])
        if peer.isdecimal() and tag.isdecimal():
            return int(peer), int(tag)
    return _number(args.get("Dst Rank" if op == "send" else "Src Rank")), -1


def _group_ranks(args: dict[str, Any]) -> tuple[int, ...]:
    """Return the members of the process group; () where the list was cut short."""
    ranks = args.get("Process Group Ranks")
    if isinstance(ranks, str):
        try:
            ranks = orjson.loads(ranks)
        except orjson.JSONDecodeError:  # "[0, 1, 2, ...]"
            return ()
    if not isinstance(ranks, list) or not all(type(r) is int and r >= 0 for r in ranks):
        return ()
    return tuple(ranks) if _number(args.get("Group size")) in (-1, len(ranks)) else ()


def _message_bytes(args: dict[str, Any]) -> int:
    elements, item = _number(args.get("In msg nelems")), _ITEM_BYTES.get(_text(args.get("dtype")))
    if elements == 0:
        elements = _number(args.get("Out msg nelems"))
    if elements >= 0 and item:
        return elements * item
    dims, types = args.get("Input Dims"), args.get("Input type")
    if not (isinstance(dims, list) and isinstance(types, list) and len(dims) == len(types) == 1):
        return -1
    shape, item = dims[0], item_bytes(_text(types[0]))
    if item < 0 or not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        return -1
    return math.prod(shape) * item


def _number(value: Any) -> int:
    return value if type(value) is int and -1 <= value < 1 << 62 else -1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

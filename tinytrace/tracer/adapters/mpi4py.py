"""mpi4py: messages and collectives of communicators, and waits for what was begun."""

from __future__ import annotations

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
from tinytrace.tracer.communication_names import ranks_text

# Method → operation, parameters of what is given and of what is got ("" for objects, whose size is not known).
MESSAGES = {
    "Send": ("send", "buf", ""), "Bsend": ("send", "buf", ""), "Ssend": ("send", "buf", ""),
    "Rsend": ("send", "buf", ""), "Recv": ("receive", "", "buf"), "Probe": ("probe", "", ""),
    "Sendrecv": ("send_receive", "sendbuf", "recvbuf"), "Sendrecv_replace": ("send_receive", "buf", ""),
    "send": ("send", "", ""), "bsend": ("send", "", ""), "ssend": ("send", "", ""),
    "recv": ("receive", "", ""), "sendrecv": ("send_receive", "", ""), "probe": ("probe", "", ""),
    "Isend": ("send", "buf", ""), "Ibsend": ("send", "buf", ""), "Issend": ("send", "buf", ""),
    "Irsend": ("send", "buf", ""), "Irecv": ("receive", "", "buf"),
    "Isendrecv": ("send_receive", "sendbuf", "recvbuf"), "Isendrecv_replace": ("send_receive", "buf", ""),
    "isend": ("send", "", ""), "ibsend": ("send", "", ""), "issend": ("send", "", ""),
    "irecv": ("receive", "", ""),
}  # fmt: skip
COLLECTIVES = {
    "Barrier": ("barrier", "", ""), "Bcast": ("broadcast", "buf", ""),
    "Gather": ("gather", "sendbuf", "recvbuf"), "Gatherv": ("gather", "sendbuf", "recvbuf"),
    "Scatter": ("scatter", "", "recvbuf"), "Scatterv": ("scatter", "", "recvbuf"),
    "Allgather": ("all_gather", "sendbuf", "recvbuf"), "Allgatherv": ("all_gather", "sendbuf", "recvbuf"),
    "Alltoall": ("all_to_all", "sendbuf", "recvbuf"), "Alltoallv": ("all_to_all", "sendbuf", "recvbuf"),
    "Alltoallw": ("all_to_all", "sendbuf", "recvbuf"), "Reduce": ("reduce", "sendbuf", "recvbuf"),
    "Allreduce": ("all_reduce", "sendbuf", "recvbuf"), "Scan": ("scan", "sendbuf", "recvbuf"),
    "Exscan": ("exscan", "sendbuf", "recvbuf"),
    "Reduce_scatter": ("reduce_scatter", "sendbuf", "recvbuf"),
    "Reduce_scatter_block": ("reduce_scatter", "sendbuf", "recvbuf"),
    "barrier": ("barrier", "", ""), "bcast": ("broadcast", "", ""), "gather": ("gather", "", ""),
    "scatter": ("scatter", "", ""), "allgather": ("all_gather", "", ""), "alltoall": ("all_to_all", "", ""),
    "reduce": ("reduce", "", ""), "allreduce": ("all_reduce", "", ""), "scan": ("scan", "", ""),
    "exscan": ("exscan", "", ""),
}  # fmt: skip
BEGIN_ONLY = {f"I{name.lower()}": what for name, what in COLLECTIVES.items() if name[0].isupper()}
# Parameters of whom a message goes to, its tag, and, where it also gets one, of whom that comes from, and its tag.
ADDRESSES = {
    "receive": ("source", "tag", "", ""), "probe": ("source", "tag", "", ""),
    "send_receive": ("dest", "sendtag", "source", "recvtag"),
}  # fmt: skip
WAITS = {"Wait": False, "wait": False, "Waitall": True, "waitall": True}  # whether for several


def install(adapting: Adapting, module: ModuleType) -> None:
    """See the calls of communicators and requests.

    Args:
        adapting: of this recording.
        module: ``mpi4py.MPI``.
    """
    communicating = Communicating(adapting)
    known = _Communicators(module)
    for owner in (module.Comm, module.Intracomm):
        for name, what in (MESSAGES | COLLECTIVES | BEGIN_ONLY).items():
            if name in vars(owner):
                method = _Method(known, Parameters(vars(owner)[name]), *what, name[0] in "Ii")
                describe = method.message if name in MESSAGES else method.collective
                before, after = communicating.callbacks(
                    f"{owner.__name__}.{name}", describe, method.learnt
                )
                see_in_c(adapting, owner, name, before, after)
    for name in ("Free", "Disconnect"):
        see_in_c(adapting, module.Comm, name, known.forget, lambda *_: None)
    for name, several in WAITS.items():
        objects: Callable[..., list[Any]] = _requests if several else _request
        before, after = communicating.wait_callbacks(f"Request.{name}", objects)
        see_in_c(adapting, module.Request, name, before, after)


def _request(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    return [args[0]]


def _requests(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    requests = args[1] if len(args) > 1 else kwargs.get("requests", ())
    return list(requests) if isinstance(requests, (list, tuple)) else []


class _Communicators:
    """What the communicators of this process are, by their handles."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self._groups: dict[int, Group] = {}
        self._alike: dict[tuple[int, ...], int] = {}  # communicators with these members so far

    def of(self, comm: Any) -> Group:
        handle = comm.py2f()
        group = self._groups.get(handle)
        if group is None:
            group = self._groups[handle] = self._described(comm)
        return group

    def forget(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forget a communicator that ends: its handle will be another's."""
        self._groups.pop(args[0].py2f(), None)

    def _described(self, comm: Any) -> Group:
        world = self.module.COMM_WORLD
        rank = world.Get_rank()
        if comm == world:
            return Group("MPI_COMM_WORLD", tuple(range(world.Get_size())), rank)
        if comm.Is_inter():
            return Group("between two groups", None, rank)
        own, all_of_them = comm.Get_group(), world.Get_group()
        members = tuple(own.Translate_ranks(list(range(own.Get_size())), all_of_them))
        own.Free()
        all_of_them.Free()
        if any(member < 0 for member in members):  # processes that were spawned
            return Group("with processes of another world", None, rank)
        number = self._alike[members] = self._alike.get(members, 0) + 1
        return Group(f"communicator {number} of {ranks_text(members)}", members, rank)

    def rank(self, group: Group, peer: Any) -> int | None:
        """Rank in the job of a rank in a communicator; None: any, nobody, or not known."""
        if type(peer) is not int or group.members is None or not 0 <= peer < len(group.members):
            return None
        return group.members[peer]


class _Method(NamedTuple):
    """A method of communicators: what its calls are, from their arguments."""

    known: _Communicators
    find: Parameters
    op: str
    given: str
    got: str
    goes_on: bool

    def message(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        known, group = self.known, self.known.of(args[0])
        names = ADDRESSES.get(self.op, ("dest", "tag", "", ""))
        peer, tag, source, source_tag = (self.find(args, kwargs, name) for name in names)
        nobody = known.module.PROC_NULL
        if peer == nobody and source in (None, nobody):
            return None  # nothing is sent
        return Call(
            self.op, group, self.bytes(args, kwargs), known.rank(group, peer), _tag(tag),
            known.rank(group, source), _tag(source_tag), goes_on=self.goes_on,
        )  # fmt: skip

    def learnt(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> tuple[int | None, int | None]:
        """From whom a receive was, and with which tag, where the program asked for its status."""
        status = self.find(args, kwargs, "status")
        if status is None or call.group is None:
            return call.peer, call.tag
        return self.known.rank(call.group, status.Get_source()), _tag(status.Get_tag())

    def collective(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        group = self.known.of(args[0])
        root = self.known.rank(group, self.find(args, kwargs, "root"))
        return Call(self.op, group, self.bytes(args, kwargs), root, goes_on=self.goes_on)

    def bytes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Bytes of what is given, or else got; None: not known (counts and datatypes are not looked into)."""
        for name in (self.given, self.got):
            size = _bytes(self.find(args, kwargs, name)) if name else None
            if size is not None:
                return size
        return None


def _tag(tag: Any) -> int | None:
    return tag if type(tag) is int and tag >= 0 else None


def _bytes(buffer: Any) -> int | None:
    if isinstance(buffer, (list, tuple)):
        if len(buffer) != 2 or isinstance(buffer[1], (int, list, tuple)):
            return None
        buffer = buffer[0]  # with its datatype
    if isinstance(buffer, (bytes, bytearray)):
        return len(buffer)
    size = getattr(buffer, "nbytes", None)
    return size if type(size) is int else None

"""Memory that PyTorch's tensors take during a call. Loaded only where torch is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.multiprocessing import reductions
from torch.utils._python_dispatch import TorchDispatchMode

WeakStorage: Any = reductions.StorageWeakRef  # is expired when the memory was freed


def tensor_rise_bytes(call: Callable[[], Any]) -> int:
    """Return by how many bytes the memory of tensors rose at most during a call, over what there was before.

    Looked at after every operation of this thread, on all devices together: memory that a kernel takes and gives back
    inside an operation is not in it.

    Args:
        call: is called once.

    Example:
        >>> tensor_rise_bytes(lambda: torch.zeros(1000).add(1).sum())
        8000
    """
    with _Watched() as watched:
        result = call()  # what is returned is alive until the end
    del result
    return int(watched.highest)


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory that operations returned and that is still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.highest: int = 0
        self._before: dict[int, Any] = {}
        self._new: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and look at the memory of what it took and returned."""
        kwargs = kwargs or {}
        for storage in _storages([*args, *kwargs.values()]):
            if not self._is_known(storage._cdata):
                self._before[storage._cdata] = WeakStorage(storage)
        result = func(*args, **kwargs)
        for storage in _storages([result]):
            if not self._is_known(storage._cdata):
                self._new[storage._cdata] = WeakStorage(storage), storage.nbytes()
        self._new = {key: one for key, one in self._new.items() if not one[0].expired()}
        self.highest = max(self.highest, sum(size for _, size in self._new.values()))
        return result

    def _is_known(self, key: int) -> bool:
        """Whether this memory was seen; another one may lie where some was freed."""
        if key in self._new and self._new[key][0].expired():
            del self._new[key]
        if key in self._before and self._before[key].expired():
            del self._before[key]
        return key in self._new or key in self._before


def _storages(values: Sequence[Any]) -> Iterator[torch.UntypedStorage]:
    """Yield the memory of all tensors among some values, and in lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            try:
                yield value.untyped_storage()
            except Exception:  # sparse, nested, wrapped by functorch: has none of its own
                continue
        elif isinstance(value, (list, tuple)):
            yield from _storages(value)

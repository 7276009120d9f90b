"""Having something called in the main thread, between two of its bytecodes, from another thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# A call that was asked for may come at any time: what is called is kept for ever.
_kept: list[Any] = []


class MainThreadCall:
    """A function that the main thread calls soon after it was asked to.

    Args:
        call: must not raise.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        """Nothing is asked for yet."""
        self._call = call
        self._function: Any = None

    def ask(self) -> bool:
        """Have it called once; whether that can be: not if very many calls are waiting."""
        import ctypes

        if self._function is None:
            self._function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._called)
            _kept.append(self._function)
        return bool(ctypes.pythonapi.Py_AddPendingCall(self._function, None) == 0)

    def _called(self, _unused: int | None) -> int:
        self._call()
        return 0

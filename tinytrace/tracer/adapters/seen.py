"""One function of a class that is seen: put in place, taken away for a while, retired, put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytrace.tracer.adapters.classes import namespace
from tinytrace.tracer.wrapping import After, Before, Failed

# Calls of one function inside each other after which it is put back, until the last of these returns: each takes
# some of the C stack through what sees it, and a program that has raised the recursion limit has no more of that.
MAX_NESTED = 64


class Seen:
    """A function of a class, and what stands in its place.

    Args:
        owner: the class, in whose own dictionary the function is.
        name: of the function.
        around: makes what stands in its place (`wrapping.around_in_python`).
        failed: told of what goes wrong in callbacks of ours.
        max_nested: calls inside each other that are seen.

    Attributes:
        on: it is told of calls; False for good when something else was put in its place, which may call it.
    """

    def __init__(
        self,
        owner: type,
        name: str,
        around: Callable[..., Any],
        failed: Failed,
        max_nested: int = MAX_NESTED,
    ) -> None:
        """Nothing is replaced yet."""
        self.owner, self.name = owner, name
        self.original = namespace(owner)[name]
        self.on = True
        self._around, self._failed = around, failed
        self._max_nested = max_nested
        self._nested = 0
        self._is_away = False
        self.placed: Any = None

    def place(self, before: Before, after: After) -> bool:
        """Put it in place; whether that could be done.

        Args:
            before: see `Before`.
            after: see `After`.
        """
        function = getattr(self.original, "__func__", self.original)

        def told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self.on:
                return None
            state = before(args, kwargs)
            if state is not None:
                self._nested += 1
                if self._nested >= self._max_nested and not self._is_away:
                    self._is_away = self._set(self.original)
                    return state, True
                return state, False
            return None

        def ended(token: Any, result: Any, raised: bool) -> None:
            state, took_away = token
            self._nested -= 1
            if took_away and self._is_away:
                self._is_away = False
                if self.on and namespace(self.owner).get(self.name) is self.original:
                    self._set(self.placed)
            after(state, result, raised)

        placed = self._around(function, told, ended, self._failed)
        return self._put(placed)

    def place_instead(self, placed: Any) -> bool:
        """Put another function in place; whether that could be done."""
        return self._put(placed)

    def _put(self, placed: Any) -> bool:
        if isinstance(self.original, (staticmethod, classmethod)):
            placed = type(self.original)(placed)
        self.placed = placed
        return self._set(placed)

    def _set(self, value: Any) -> bool:
        try:
            type.__setattr__(self.owner, self.name, value)
        except (AttributeError, TypeError):
            return False
        return True

    def is_in_place(self) -> bool:
        """Whether it stands where it was put, or would if it were not away."""
        present = namespace(self.owner).get(self.name)
        return present is self.placed or (self._is_away and present is self.original)

    def retire(self) -> None:
        """Tell of no call any more; put the original back, unless the program has put something else there."""
        self.on = False
        if namespace(self.owner).get(self.name) is self.placed:
            self._set(self.original)

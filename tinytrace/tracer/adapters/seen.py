"""One function of a class that is seen: put in place, taken away for a while, retired, put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tinytrace.tracer.adapters.classes import name_of, namespace
from tinytrace.tracer.wrapping import After, Before, Failed

# Calls of one function inside each other after which it is put back, until that call returns: each takes some of
# the C stack through what sees it (about 1 KB), and a program that has raised the recursion limit has no more of that.
# Fewer than the 512 spans that may be open in a thread; programs with Python's limit of 1,000 hardly come to it.
# Python 3.12 lets no more than 1,500 calls from C be inside each other (C_RECURSION_LIMIT); one through us is two.
FEW_FROM_C = sys.version_info[:2] == (3, 12)
MAX_NESTED = 200 if FEW_FROM_C else 400
# Every time that something is put into a class, Python forgets what it knows of the class, and from some 1,000 times on
# (MAX_VERSIONS_PER_CLASS) it does not learn it any more: attributes become slow for good. Before that, no call is seen.
MAX_LIFTS = 200


class Seen:
    """A function of a class, and what stands in its place.

    Args:
        owner: the class, in whose own dictionary the function is.
        name: of the function.
        around: makes what stands in its place (`wrapping.around_in_python`).
        failed: told of what goes wrong in callbacks of ours.
        max_nested: calls inside each other that are seen.
        say: told when it is not seen any more.

    Attributes:
        on: it is told of calls; False for good when something else was put in its place, which may call it.
    """

    def __init__(
        self,
        owner: type,
        name: str,
        around: Callable[..., Any],
        failed: Failed,
        *,
        max_nested: int,
        say: Callable[[str], None],
    ) -> None:
        """Nothing is replaced yet."""
        self.owner, self.name = owner, name
        self.original = namespace(owner)[name]
        self.on = True
        self._around, self._failed = around, failed
        self._max_nested, self._say = max_nested, say
        self._lifts = 0
        self._is_away = False
        self.placed: Any = None

    def place(self, before: Before, after: After) -> bool:
        """Put it in place; whether that could be done.

        Args:
            before: see `Before`.
            after: see `After`.
        """
        function = getattr(self.original, "__func__", self.original)

        nested, taken_at, most = 0, 0, self._max_nested

        def told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal nested, taken_at
            state = before(args, kwargs) if self.on else None
            if state is None:
                return None
            nested += 1
            if nested >= most and not self._is_away:
                taken_at = nested
                self._lift()
            return state

        def ended(state: Any, result: Any, raised: bool) -> None:
            nonlocal nested
            nested -= 1
            if self._is_away and nested < taken_at:
                self._put_back()
            after(state, result, raised)

        placed = self._around(function, told, ended, self._failed)
        return self._put(placed)

    def _lift(self) -> None:
        self._lifts += 1
        self._is_away = self._set(self.original)

    def _put_back(self) -> None:
        self._is_away = False
        is_there = namespace(self.owner).get(self.name) is self.original
        if self.on and is_there and self._lifts < MAX_LIFTS:
            self._set(self.placed)
        elif is_there:
            self.on = False
            self._say(
                f"{name_of(self.owner)}.{self.name} calls itself too deep to be seen more than {MAX_LIFTS} times: "
                "later calls are not recorded"
            )

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
        is_away = self._is_away or self._lifts >= MAX_LIFTS
        return present is self.placed or (is_away and present is self.original)

    def retire(self) -> None:
        """Tell of no call any more; put the original back, unless the program has put something else there."""
        self.on = False
        if namespace(self.owner).get(self.name) is self.placed:
            self._set(self.original)

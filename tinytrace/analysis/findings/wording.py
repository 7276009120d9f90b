"""Numbers with their units, as evidence has them."""

from __future__ import annotations

from collections.abc import Iterable

from tinytrace.tracer.trace import Operand


def time(t_ns: float) -> str:
    """Return a duration.

    >>> time(1_234_567), time(950), time(2.5e9)
    ('1.23 ms', '950 ns', '2.5 s')
    """
    for unit, ns in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(t_ns) >= 0.9995 * ns:
            return f"{t_ns / ns:.3g} {unit}"
    return f"{t_ns:.0f} ns"


def size(n_bytes: float) -> str:
    """Return an amount of memory, 10³ bytes to the kB.

    >>> size(360_000), size(12), size(2.5e9)
    ('360 kB', '12 bytes', '2.5 GB')
    """
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= 0.9995 * one:
            return f"{n_bytes / one:.3g} {unit}"
    return f"{n_bytes:.0f} bytes"


def array(operand: Operand) -> str:
    """Return dtype and shape.

    >>> array(Operand("float32", (3, 4)))
    'float32 (3, 4)'
    """
    return f"{operand.dtype} {operand.shape}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return distinct names, the first few.

    >>> listed(["a", "b", "a"]), listed("abcdefg", 2)
    ('a, b', 'a, b and 5 more')
    """
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {rest} more" if rest > 0 else "")

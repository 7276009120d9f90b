"""Numbers as people read them, in texts of every kind."""

from __future__ import annotations


def format_ns(t_ns: float) -> str:
    """Return a duration with three significant digits.

    >>> format_ns(950), format_ns(1_234_567), format_ns(90_000_000_000)
    ('950 ns', '1.23 ms', '90.0 s')
    """
    for unit, ns in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(t_ns) >= 0.9995 * ns:
            return f"{digits(t_ns / ns)} {unit}"
    return f"{t_ns:.0f} ns"


def digits(value: float) -> str:
    """Three significant digits, but no fewer than the integer part has."""
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"

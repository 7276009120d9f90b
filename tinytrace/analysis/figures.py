"""Numbers and names as people read them."""

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


def format_mb(mb: float) -> str:
    """Return megabytes (10⁶ bytes) with a unit that fits.

    >>> format_mb(0.5), format_mb(312.4), format_mb(20_480)
    ('500 kB', '312 MB', '20.5 GB')
    """
    for unit, size_mb in (("TB", 1e6), ("GB", 1e3), ("MB", 1.0)):
        if abs(mb) >= 0.9995 * size_mb:
            return f"{digits(mb / size_mb)} {unit}"
    return f"{digits(mb * 1e3)} kB"


def format_rate(value: float) -> str:
    """Return a figure for a column of a table: three significant digits, short at any size.

    >>> format_rate(0), format_rate(0.00123), format_rate(12.34), format_rate(123456)
    ('0', '0.00123', '12.3', '123,456')
    """
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:#.3g}" if abs(value) < 1 else digits(value)


def format_count(value: int) -> str:
    """Return a whole number in at most six characters where that is less than its digits.

    >>> format_count(99_999), format_count(8_419_383_319)
    ('99,999', '8.42G')
    """
    if value < 100_000:
        return f"{value:,}"
    for unit, size in (("E", 10**18), ("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value / 1000:.3g}k"


def format_binary(size_bytes: int) -> str:
    """Return the size of a cache, which is made of powers of two.

    >>> format_binary(48 * 2**10), format_binary(32 * 2**20)
    ('48 KiB', '32 MiB')
    """
    unit, size = ("MiB", 2**20) if size_bytes >= 2**20 else ("KiB", 2**10)
    return f"{size_bytes / size:g} {unit}"


def digits(value: float) -> str:
    """Three significant digits, but no fewer than the integer part has."""
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"


def clean(text: str, encoding: str = "utf-8") -> str:
    r"""Return text as it can be shown: what does not print, or is not in the encoding, is escaped.

    >>> clean("a\x1b[31mb"), clean("größe", "ascii")
    ('a\\x1b[31mb', 'gr\\xf6\\xdfe')
    """
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
    return escaped.encode(encoding, "backslashreplace").decode(encoding)

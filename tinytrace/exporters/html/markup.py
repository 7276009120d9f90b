"""HTML that cannot be broken by what it shows: all text is escaped, unless it is `Markup` already."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from tinytrace.analysis.figures import clean, format_mb, format_ns

LONGEST_TEXT = 2000  # of one text of the trace: names can be megabytes long
NOT_KNOWN = "?"
NARROW_SPACE = "\u202f"  # between a figure and its unit: no line ends there
VOID = frozenset({"meta", "input", "col", "link", "br"})


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Child = str | Markup | None
Attribute = str | int | float | bool | None


def text(value: str, longest: int = LONGEST_TEXT) -> Markup:
    r"""Return text as HTML; what does not print is shown as an escape.

    >>> text('<b> & "\x00"'), text("abcdef", 4)
    ('&lt;b&gt; &amp; &quot;\\x00&quot;', 'abc…')
    """
    shown = value if len(value) <= longest else f"{value[: longest - 1]}…"
    parts = re.split(f"([\n{NARROW_SPACE}])", shown)
    parts[::2] = [clean(part) for part in parts[::2]]
    return Markup(html.escape("".join(parts)))


def join(*children: Child) -> Markup:
    """Return parts one after the other; those that are text, escaped; None is nothing."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else text(child)
            for child in children
            if child is not None
        )
    )


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: what is in it; text is escaped.
        attributes: ``class_`` is ``class``, ``data_sort`` is ``data-sort``; True: without a value; None and False:
            left out.

    Example:
        >>> tag("p", "a < b", tag("b", "c"), class_="note", hidden=True, id=None)
        '<p class="note" hidden>a &lt; b<b>c</b></p>'
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def data_block(values: Any, identifier: str) -> Markup:
    r"""Return JSON in a script element that the page reads, and no browser runs.

    ``<``, ``>`` and ``&`` are written as escapes, so that nothing in it ends the element; so is all that is not
    ASCII (U+2028 too, which would end a line of a script).

    >>> data_block({"a": "</script>"}, "x")
    '<script type="application/json" id="x">{"a":"\\u003c/script\\u003e"}</script>'
    """
    written = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{identifier}">{written}</script>')


def time(t_ns: float | None) -> str:
    """Return a duration; ``?`` where it is not known.

    >>> time(1500), time(None)
    ('1.50\\u202fµs', '?')
    """
    if t_ns is None:
        return NOT_KNOWN
    return format_ns(t_ns).replace(" us", " µs").replace(" ", NARROW_SPACE)


def size(n_bytes: float | None) -> str:
    """Return an amount of memory; ``?`` where it is not known.

    >>> size(64), size(1.5e6)
    ('64\\u202fB', '1.50\\u202fMB')
    """
    if n_bytes is None:
        return NOT_KNOWN
    shown = f"{n_bytes:.0f} B" if abs(n_bytes) < 1000 else format_mb(n_bytes / 1e6)
    return shown.replace(" ", NARROW_SPACE)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share; ``?`` where it is not known.

    >>> percent(12.345), percent(0.02), percent(0), percent(None)
    ('12.3\\u202f%', '<\\u202f0.1\\u202f%', '0\\u202f%', '?')
    """
    if value is None:
        return NOT_KNOWN
    if value == 0:
        return f"0{NARROW_SPACE}%"
    least = 10.0**-digits
    few = 0 < value < least / 2
    return f"{'<' + NARROW_SPACE if few else ''}{least if few else value:.{digits}f}{NARROW_SPACE}%"


def counted(count: int, what: str) -> str:
    """Return how many there are of something.

    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"

"""Text inside HTML and SVG."""

from __future__ import annotations

import html
import re

# What XML 1.0 cannot hold, not even escaped: control characters, lone surrogates, two that are no characters.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    """Return text that is text wherever it stands in HTML or SVG, in attributes too.

    >>> escaped("<b>\\0 & 'x'")
    '&lt;b&gt;� &amp; &#x27;x&#x27;'
    """
    return html.escape(_NO_XML.sub("\ufffd", text))


def percent(part: float, whole: float) -> str:
    """Return a share: ``12.3 %``; of nothing, there is none.

    >>> percent(1, 8), percent(0, 0)
    ('12.5 %', '-')
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"

"""Tables that scroll within the page, by mouse, finger and keyboard; and lists of names and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinytrace.exporters.html.markup import Markup, tag


def table(
    caption: str,
    heads: Sequence[str | Markup],
    rows: Iterable[Markup],
    *,
    words: Sequence[str] = (),
    class_: str = "figures",
    tall: bool = False,
    id_: str | None = None,
) -> Markup:
    """Return a table in a region of its own.

    Args:
        caption: what it is of; read out, not seen.
        heads: of the columns: texts, or elements ``th``.
        rows: elements ``tr``.
        words: the heads above words, which stand at the left; figures stand at the right.
        class_: of the table.
        tall: it may be so long that it scrolls up and down as well.
        id_: of the table.

    Example:
        >>> table("Ages", ["name", "age"], []).count("<th")
        3
    """
    cells = [
        head
        if isinstance(head, Markup)
        else tag("th", head, scope="col", class_="words" if head in words else None)
        for head in heads
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen"),
            tag("thead", tag("tr", *cells)),
            tag("tbody", *rows),
            class_=class_,
            id=id_,
        ),
        class_="scroll tall" if tall else "scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def pairs(values: Iterable[tuple[str, str]]) -> Markup:
    """Return names with their values."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in values),
        class_="pairs",
    )

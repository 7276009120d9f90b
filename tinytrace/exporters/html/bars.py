"""A bar of parts that add up to a time, each in its colour: where it went."""

from __future__ import annotations

from collections.abc import Iterable

from tinytrace.exporters.html.markup import Markup, percent, tag, time

NARROWEST_PERCENT = 7.0  # of the width: a figure fits in
NAMED_PERCENT = 25.0  # and this wide, for its name as well


def time_bar(
    label: str,
    wall_ns: int,
    parts: Iterable[tuple[str, str, int]],
    *,
    widest_ns: int | None = None,
    named: bool = True,
) -> Markup:
    """Return a bar.

    Args:
        label: what it is of.
        wall_ns: what the parts add up to; 0: shares are of nothing.
        parts: what each is called, its colour (``compute``: the class ``w-compute``), and its ns; those of 0 are left
            out.
        widest_ns: what the whole width stands for; None: ``wall_ns``.
        named: names of parts stand in them where there is room.

    Example:
        >>> time_bar("The run", 10, [("ops", "compute", 10)]).count("w-compute")
        1
    """
    whole_ns, width_ns = wall_ns or 1, widest_ns or wall_ns or 1
    shown = [
        (name, colour, ns, 100 * ns / whole_ns, 100 * ns / width_ns)
        for name, colour, ns in parts
        if ns
    ]
    spans = [
        tag(
            "span",
            tag("span", name, class_="name") if named and width >= NAMED_PERCENT else None,
            f"{share:.0f}%" if width >= NARROWEST_PERCENT else None,
            class_=f"part w-{colour}",
            style=f"width:{width:.4f}%",
            title=f"{name}: {percent(share)}, {time(ns)}",
        )
        for name, colour, ns, share, width in shown
    ]
    told = ", ".join(f"{name} {percent(share)}" for name, _, _, share, _ in shown)
    return tag(
        "figure",
        tag("figcaption", tag("b", label), f" {time(wall_ns)}"),
        tag("div", *spans, class_="bar", role="img", aria_label=f"{label}: {told}"),
        class_="account",
    )

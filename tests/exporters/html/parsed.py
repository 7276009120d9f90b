"""A page taken apart: its elements, and whether they are closed as they were opened."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br"}


@dataclass
class Element:
    """One element.

    Attributes:
        name: of its tag.
        attributes: an attribute without a value is "".
        text: what is in it, and in the elements inside.
    """

    name: str
    attributes: dict[str, str]
    text: str = ""


class Parsed(HTMLParser):
    """All elements of a page, in order.

    Args:
        page: HTML.

    Attributes:
        elements: them.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {tag} {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """The innermost open element must be the one that ends."""
        assert self._open, f"</{tag}> without a beginning"
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        """Text belongs to all elements around it."""
        for element in self._open:
            element.text += data

    def all(self, name: str, **attributes: str) -> list[Element]:
        """The elements of this name that have these attributes."""
        return [
            element
            for element in self.elements
            if element.name == name
            and all(element.attributes.get(key) == value for key, value in attributes.items())
        ]

    def one(self, name: str, **attributes: str) -> Element:
        """The only such element."""
        (element,) = self.all(name, **attributes)
        return element

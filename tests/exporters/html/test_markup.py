"""Nothing that is shown can break out of its element."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.exporters.html.parsed import Parsed
from tinytrace.exporters.html.markup import Markup, data_block, join, percent, size, tag, text, time

HOSTILE = st.text() | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<!--",
        "]]>",
        "'\"><img src=x onerror=alert(1)>",
        "\u2028",
        "\x00\udc80",
    ]
)


@given(HOSTILE, HOSTILE)
def test_text_and_attributes_stay_what_they_are(one: str, other: str) -> None:
    parsed = Parsed(tag("p", one, title=other))
    (element,) = parsed.elements
    assert (element.name, set(element.attributes)) == ("p", {"title"})


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_text_that_prints_is_shown_as_it_is(shown: str) -> None:
    assert Parsed(tag("p", shown)).one("p").text == shown


@given(
    st.recursive(
        HOSTILE | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(HOSTILE, inner),
    )
)
def test_data_is_read_back_from_its_element(values: object) -> None:
    block = data_block(values, "data")
    assert block.isascii()
    assert json.loads(Parsed(block).one("script", id="data").text) == values
    inside = block.partition(">")[2].removesuffix("</script>")
    assert not set(inside) & set("<>&")


def test_what_does_not_print_is_shown_as_an_escape() -> None:
    assert text("a\x1b[31m\u202e\udc80\x00") == "a\\x1b[31m\\u202e\\udc80\\x00"


def test_a_text_of_megabytes_is_cut() -> None:
    assert len(text("x" * 10**6)) < 10_000


def test_markup_is_not_escaped_again_and_nothing_is_nothing() -> None:
    assert join(Markup("<b>"), "<b>", None) == "<b>&lt;b&gt;"
    assert tag("div", None, hidden=False, id=None, data_value=0) == '<div data-value="0"></div>'


def test_what_is_not_known_is_no_figure() -> None:
    assert [time(None), size(None), percent(None)] == ["?", "?", "?"]


def test_little_is_not_nothing() -> None:
    assert [percent(value) for value in (0.04, 0.05, 99.96)] == [
        "<\u202f0.1\u202f%",
        "0.1\u202f%",
        "100.0\u202f%",
    ]
    assert percent(0.3, 0) == "<\u202f1\u202f%"

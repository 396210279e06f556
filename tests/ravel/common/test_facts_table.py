"""Facts as HTML: all of them, and no text is markup."""

from __future__ import annotations

from html.parser import HTMLParser

from ravel.common.facts_table import facts_table


class Read(HTMLParser):
    """The tags and the text of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_fact_is_there_and_no_text_is_markup() -> None:
    hostile = "</td><script>alert('1')</script>&amp;"
    read = Read(facts_table(hostile, {"plain": 3, hostile: hostile}))
    assert read.texts == [hostile, "plain", "3", hostile, hostile]
    assert read.tags == ["table", "caption", "tbody", *(["tr", "th", "td"] * 2)]

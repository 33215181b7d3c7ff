"""Reads a page as a strict reader does: balanced, no id twice, nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import List, Optional, Tuple

VOID = {"br", "col", "img", "input", "link", "meta", "circle", "line", "rect"}
LOADING = {"src", "href", "action", "data", "poster", "srcset"}


class Page(HTMLParser):
    """Its tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: List[str] = []
        self.tags: List[Tuple[str, dict]] = []
        self.words: List[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "tags that nothing closes"
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> List[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def list_requests(self) -> List[str]:
        """Addresses that a browser would load from elsewhere."""
        loaded = [
            str(value)
            for tag, attributes in self.tags
            for name, value in attributes.items()
            if name in LOADING and tag != "a" and not str(value).startswith("data:")
        ]
        styles = " ".join(str(attributes.get("style", "")) for _, attributes in self.tags)
        return loaded + re.findall(r"url\((?!data:)[^)]*\)|@import[^;]*", styles)

"""A report as an HTML parser reads it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Tags, attributes and text of a page.

    Attributes
    ----------
    tags : list of (str, dict)
        Every element that begins, with its attributes.
    text : str
        What is between them, scripts and styles left out.
    scripts : list of str
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._inside = "", list[str](), ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def addresses(self) -> list[str]:
        """What a browser would load, or go to."""
        names = ("src", "href", "srcset", "data", "action", "poster")
        return [str(a[name]) for _, a in self.tags for name in names if name in a]

"""Warns of links between the built pages, and to files beside them, that lead nowhere.

Sphinx checks its own references; this checks what readers follow: every href and src without a
host, with its anchor.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag


class Page(HTMLParser):
    """The anchors and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links = {"", "top"}, set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the anchors and links of a tag."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value and not re.match(r"[a-z]+:|//", value):
                self.links.add(value)


def broken(folder: Path) -> list[tuple[str, str]]:
    """Return the pages of a folder, each with a link that leads nowhere."""
    folder = folder.resolve()
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
        if "_static" not in path.relative_to(folder).parts  # templates of the theme
    }

    def exists(link: str, page: Path) -> bool:
        file, anchor = urldefrag(link)
        target = (page.parent / unquote(file.partition("?")[0])).resolve() if file else page
        return unquote(anchor) in pages[target].anchors if target in pages else target.exists()

    return sorted(
        (path.relative_to(folder).as_posix(), link)
        for path, page in pages.items()
        for link in page.links
        if not exists(link, path)
    )


def check(app: Any, error: Exception | None) -> None:
    """Warn of each broken link of the site."""
    from sphinx.util import logging  # here, since a test imports this file without Sphinx

    if error is None and app.builder.name == "html":
        for page, link in broken(Path(app.outdir)):
            logging.getLogger(__name__).warning("%s links to %s, which is not there", page, link)


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True}

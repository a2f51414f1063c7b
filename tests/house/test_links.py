"""Links lead somewhere: those of Markdown files here, those of the site when it is built."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "docs" / "extensions" / "internal_links.py"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "csrc").glob("*.md"), ROOT / "bench" / "RESULTS.md"]
)


def anchors(text):
    """Return the anchors of headings, as GitHub writes them."""
    heads = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(path):
    """Return the relative links of a Markdown file that lead nowhere."""
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"))
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        is_there = target.exists() and (not anchor or anchor in anchors(target.read_text()))
        if not (is_there or re.match("[a-z]+:", link)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_of_markdown_files(page):
    assert broken(ROOT / page) == []


def test_the_check_of_markdown_can_fail(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A head\n[a](#a-head) [b](#head) [c](page.md) [d](no.md) [e](https://e.org)")
    assert broken(page) == ["#head", "no.md"]


def test_the_check_of_the_site(tmp_path):
    spec = importlib.util.spec_from_file_location("internal_links", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="#x">1</a><a href="#y">2</a><a href="sub/b.html?v=1#z">3</a>'
        '<a href="sub/b.html#x">4</a><a href="https://e.org/no">5</a><img src="no.png">'
    )
    (tmp_path / "sub" / "b.html").write_text(
        '<h1 id="z"><a href="../a.html">1</a><a href="c">2</a>'
    )
    assert module.broken(tmp_path) == [
        ("a.html", "#y"),
        ("a.html", "no.png"),
        ("a.html", "sub/b.html#x"),
        ("sub/b.html", "c"),
    ]

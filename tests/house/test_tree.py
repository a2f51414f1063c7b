"""The tree is the one that CONTRIBUTING.md shows, and its prose is wrapped."""

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "bench", "csrc",
       "fastopt", "pyproject.toml", "setup.py", "tests", "PKG-INFO", "setup.cfg"}  # fmt: skip
KINDS = {".py", ".pyx", ".pxd", ".pyi", ".c", ".h", ".inc", ".def"}
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("csrc", "fastopt", "bench", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in KINDS
]
HOUSE = (ROOT / "CONTRIBUTING.md").read_text()
# A place is a path, or the end of one: `_groups.py` follows `fastopt/optimizer.py`.
PLACES = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|[^|]*", HOUSE, re.M)))
PLACES.remove("csrc/**")  # whose row forbids and answers nothing


def is_at(file, place):
    """Return whether a place is that of a file; what declares another file goes with it."""
    same = {".h": ".c", ".pxd": ".pyx", ".pyi": ".pyx"}
    stem, suffix = file.rsplit(".", 1)
    names = {file, stem + same.get(f".{suffix}", f".{suffix}")}
    place = f"{place}*" if place.endswith("/") else place
    return any(fnmatch.fnmatch(name, end) for name in names for end in (place, f"*/{place}"))


def test_the_top_level_has_nothing_else():
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    entries = {
        path.name
        for path in ROOT.iterdir()
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in [*ignored, ".*"])
    }
    assert entries <= TOP


@pytest.mark.parametrize("place", PLACES)
def test_what_the_table_names_is_there(place):
    assert any(is_at(file, place) for file in FILES)


def test_every_file_is_in_the_table():
    assert len(FILES) > 150
    assert not any(is_at("fastopt/new.py", place) for place in PLACES)
    assert [file for file in FILES if not any(is_at(file, place) for place in PLACES)] == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_prose_is_wrapped(name):
    """Rows of tables apart, which can not be."""
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []

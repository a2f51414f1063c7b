"""The tree matches the tables of CONTRIBUTING.md and of the packages' docstrings.

Prose is wrapped.
"""

import ast
import csv
import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastopt

ROOT = Path(__file__).parents[2]
TOP = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "bench", "csrc",
       "docs", "fastopt", "pyproject.toml", "setup.py", "tests",
       "PKG-INFO", "setup.cfg"}  # fmt: skip
CODE = {".py", ".pyx", ".pxi", ".c", ".h", ".inc", ".def"}
HOUSE = (ROOT / "CONTRIBUTING.md").read_text()


def first_column(text):
    """Return the names in backticks in the first column of a text's tables."""
    return re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|[^|]*", text, re.M)))


PLACES = first_column(HOUSE)
FOLDERS = sorted(
    {
        f"{path.parent.relative_to(ROOT).as_posix()}/"
        for top in ("csrc", "fastopt", "bench", "tests", "docs")
        for path in (ROOT / top).rglob("*")
        if path.suffix in CODE
    }
)
PACKAGES = sorted((ROOT / "fastopt").rglob("*/__init__.py"))


def modules_of(package):
    """Return the names of a package's modules and subpackages that a table has to list."""
    folder = package.parent
    files = {path.stem for path in folder.glob("*.py*") if path.suffix in {".py", ".pyx"}}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return (files | packages) - {"__init__"}


def test_the_top_level_has_nothing_else():
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    entries = {
        path.name
        for path in ROOT.iterdir()
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in [*ignored, ".*"])
    }
    assert entries <= TOP


@pytest.mark.parametrize("place", [place for place in PLACES if "/" in place or "." in place])
def test_each_place_in_the_table_exists(place):
    assert list(ROOT.glob(place)), f"CONTRIBUTING.md names {place}"


def test_each_folder_is_in_the_table():
    assert len(FOLDERS) > 15
    covered = {place for place in PLACES if place.endswith("/")}
    above = [folder for folder in FOLDERS if folder not in covered]
    # A folder inside a listed folder need not be listed: its parent's docstring lists it.
    assert [
        folder for folder in above if not any(folder.startswith(place) for place in covered)
    ] == []


@pytest.mark.parametrize(
    "package", PACKAGES, ids=[p.parent.relative_to(ROOT).as_posix() for p in PACKAGES]
)
def test_each_package_lists_its_modules(package):
    doc = ast.get_docstring(ast.parse(package.read_text())) or ""
    listed = {re.sub(r"\W.*", "", name.split(".")[-1]) for name in first_column(doc)}
    assert listed == modules_of(package)


def test_csrc_lists_its_files():
    """Each folder has a section with its files, and each name in a section is a file."""
    readme = (ROOT / "csrc/README.md").read_text().split("## What a layer may not contain")[0]
    sections = dict(re.findall(r"^### (csrc/\S*)\n(.*?)(?=^#|\Z)", readme, re.M | re.S))
    listed = {
        folder + name
        for folder, text in sections.items()
        for name in re.findall(r"`([\w/*]+\.\w+)`", text)
    }
    files = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "csrc").rglob("*"))
        if path.suffix in CODE
    ]
    assert [f for f in files if not any(fnmatch.fnmatch(f, place) for place in listed)] == []
    assert [p for p in listed if not any(fnmatch.fnmatch(file, p) for file in files)] == []


def test_the_tables_of_rules_agree():
    """Those of the documentation and of help(fastopt) have the same classes and bytes of state."""
    with (ROOT / "docs/rules/rules.csv").open(newline="") as file:
        states = {row["class"]: row["state"] for row in csv.DictReader(file)}
    listed = re.findall(r"(?m)^- (\w+(?:, \w+)*): ([^.]*)\.", fastopt.__doc__)
    assert states == {
        name: " ".join(text.split()) for names, text in listed for name in names.split(", ")
    }


def test_each_surviving_mutant_that_is_explained_exists():
    """The lines of tests/mutation/survivors.py are lines of csrc/, as mutants change them."""
    command = [sys.executable, "-m", "tests.mutation", "--list", "--sample", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "csrc/README.md"])
def test_prose_is_wrapped(name):
    """Except rows of tables, which cannot be wrapped."""
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []

"""The tutorial "Adding a rule" (docs/how/new_rule.md) adds a rule to a copy of the tree."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how/new_rule.md"
BLOCK = re.compile(r"```\{code-block\} \w+\n:caption: ([^\n]*)\n\n(.*?)```", re.S)
TESTS = next(line for line in PAGE.read_text().splitlines() if line.startswith("pytest -k"))


def insert(tree, text, name, start):
    """Insert text after the one line of a file that begins so, apart from its indentation."""
    lines = (tree / name).read_text().splitlines(keepends=True)
    found = [i for i, line in enumerate(lines) if line.strip().startswith(start)]
    assert len(found) == 1, f"{name} has {len(found)} lines that begin with {start!r}"
    lines.insert(found[0] + 1, text)
    (tree / name).write_text("".join(lines))


def apply(tree):
    """Apply the blocks of the tutorial to a copy of the tree; return the script that tries it."""
    script = ""
    for caption, text in BLOCK.findall(PAGE.read_text()):
        caption = caption.strip("'").replace("`", "").removesuffix(" ...")
        if caption == "to try it":
            script += text
        elif caption.endswith(", a new file"):
            (tree / caption.removesuffix(", a new file")).write_text(text)
        else:
            insert(tree, text, *caption.split(", after the line "))
    return script


@pytest.fixture
def tree(tmp_path):
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("csrc", "fastopt", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_each_line_that_is_named_exists_once(tree):
    apply(tree)


@pytest.mark.slow
def test_the_rule_works(tree):
    script = apply(tree)
    environment = {**os.environ, "PYTHONPATH": str(tree), "FASTOPT_INSTRUMENT": "-O1"}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("setup.py", "-q", "build_ext", "--inplace")
    run("-P", "-c", script)
    passed = run("-P", "-m", *shlex.split(TESTS))
    assert int(re.search(r"(\d+) passed", passed)[1]) > 100

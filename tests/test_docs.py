"""Every example in a docstring and in the README runs, and gives what it says."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastopt

README = Path(__file__).parents[1] / "README.md"
MODULES = ["fastopt", *(m.name for m in pkgutil.walk_packages(fastopt.__path__, "fastopt."))]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", README.read_text(), re.S), ids=lambda b: b[:30]
)
def test_readme_examples(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


@pytest.mark.parametrize("name", fastopt.__all__)
def test_public_names_are_documented(name):
    public = getattr(fastopt, name)
    assert public.__doc__
    if isinstance(public, type) and issubclass(public, fastopt.optimizer.Optimizer):
        for heading in ("Parameters", "Raises", "References", "Examples"):
            assert f"    {heading}\n    ---" in public.__doc__, heading

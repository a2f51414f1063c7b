"""The examples that need PyTorch run, and every public name has the headings of NumPy's docs."""

import pytest
from documentation import blocks, members, missing, modules, public, run_block, run_docstrings

import fastopt.torch
from fastopt.torch.base import Further


@pytest.mark.parametrize("name", modules(with_torch=True))
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_docstrings(name) == 0


@pytest.mark.parametrize("block", blocks(with_torch=True), ids=lambda block: block[:30])
def test_readme_examples(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_block(block)


PUBLIC = public([fastopt.torch])
MEMBERS = members(PUBLIC)
RULES = {name: thing for name, thing in PUBLIC.items() if hasattr(thing, "_rule")}


@pytest.mark.parametrize("name", [*PUBLIC, *MEMBERS])
def test_public_names_have_their_headings(name):
    thing = {**PUBLIC, **MEMBERS}[name]
    if name in RULES:  # their arguments are those of another class
        package = "fastopt" if issubclass(thing, Further) else "torch.optim"
        assert f"As in `{package}.{name}`" in thing.__doc__
    else:
        assert not missing(thing, name in PUBLIC)

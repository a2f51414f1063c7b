"""Every example in a docstring and in the README runs and gives the output that is shown.

tests/torch tests those that need PyTorch.
"""

import importlib
import inspect

import pytest
from documentation import blocks, members, missing, modules, public, run_block, run_docstrings

import fastopt


@pytest.mark.parametrize("name", ["fastopt", *modules(with_torch=False)])
def test_docstring_examples(name, tmp_path, monkeypatch):
    if name.startswith("fastopt.estimators.inference.statsmodels_"):
        pytest.importorskip("statsmodels")
    if name.startswith("fastopt.estimators.dask"):
        pytest.importorskip("dask")
    monkeypatch.chdir(tmp_path)
    assert run_docstrings(name) == 0


@pytest.mark.parametrize("block", blocks(with_torch=False), ids=lambda block: block[:30])
def test_readme_examples(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_block(block)


# Every public name has the headings of NumPy's docstrings

PUBLIC = public(
    [fastopt, fastopt.schedules, fastopt.models, importlib.import_module("fastopt.families")]
)
MEMBERS = members(PUBLIC)


@pytest.mark.parametrize("name", [*PUBLIC, *MEMBERS])
def test_public_names_have_their_headings(name):
    has_example = name in PUBLIC and name != "Schedule"
    assert not missing({**PUBLIC, **MEMBERS}[name], has_example)


def test_the_check_of_headings_can_fail():
    def undocumented(x):
        return x

    def halfway(x):
        """Return x.

        Parameters
        ----------
        y : float
        """
        if x:
            raise ValueError
        return x

    assert {"Results.covariance", "MLP.mean", "Optimizer.step", "Family.link"} <= {*MEMBERS}
    assert missing(undocumented) == ["a docstring"]
    assert missing(halfway) == ["Returns", "Raises", "the parameter x"]


@pytest.mark.parametrize("name", fastopt.__all__)
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(fastopt, name))

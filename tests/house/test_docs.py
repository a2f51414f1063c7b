"""Every example in a docstring and in the README runs and gives the output that is shown."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest

import fastopt

README = Path(__file__).parents[2] / "README.md"
# Those of fastopt.torch are tested in tests/torch, because they need PyTorch.
MODULES = ["fastopt", *(
    module.name
    for module in pkgutil.walk_packages(fastopt.__path__, "fastopt.", onerror=lambda _: None)
    if not module.name.startswith("fastopt.torch")
)]  # fmt: skip


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


# Every public name has the headings of NumPy's docstrings

PUBLIC_MODULES = [
    fastopt,
    fastopt.schedules,
    fastopt.models,
    importlib.import_module("fastopt.families"),
]
PUBLIC = {
    name: thing
    for module in PUBLIC_MODULES
    for name in module.__all__
    if inspect.isroutine(thing := getattr(module, name)) or isinstance(thing, type)
}
HOOKS = {"attributes_at"}  # for other modules of fastopt; one line of documentation is enough


def members():
    """Return the methods and properties of public classes, each where it is defined first."""
    found = {}
    for owner in filter(inspect.isclass, PUBLIC.values()):
        for base in (base for base in owner.__mro__ if base.__module__.startswith("fastopt")):
            for name, thing in vars(base).items():
                thing = getattr(thing, "__func__", thing)  # of a classmethod
                is_member = inspect.isroutine(thing) or isinstance(thing, property)
                is_first = not any(hasattr(above, name) for above in base.__mro__[1:])
                if is_member and is_first and not name.startswith("_") and name not in HOOKS:
                    found[f"{base.__name__}.{name}"] = thing
    return found


MEMBERS = members()


def is_rule(thing):
    return issubclass(thing, fastopt.Optimizer) and thing is not fastopt.Optimizer


def missing(thing):
    """Return the headings that are missing in a docstring, and the parameters it does not name."""
    doc = inspect.getdoc(thing)
    if not doc or isinstance(thing, property):
        return [] if doc else ["a docstring"]
    parts = re.split(r"^(\w+)\n-+$", doc, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    needed = ["Examples"] * (thing in PUBLIC.values() and thing is not fastopt.schedules.Schedule)
    if isinstance(thing, type):
        takes = () if issubclass(thing, Exception) else inspect.signature(thing).parameters
        needed += ["Raises"] * ("Parameters" in sections)  # each class checks what it is given
        needed += ["References"] * is_rule(thing)
        listed = sections.get("Parameters") or sections.get("Attributes", "")  # of a plain record
    else:
        signature = inspect.signature(thing)
        takes = [name for name in signature.parameters if name not in {"self", "cls"}]
        gives = signature.return_annotation not in ("None", None)
        source = ast.parse(textwrap.dedent(inspect.getsource(thing)))
        needed += ["Returns"] * (gives and "Yields" not in sections)
        needed += ["Raises"] * any(isinstance(node, ast.Raise) for node in ast.walk(source))
        listed = sections.get("Parameters", "")
    names = set(re.findall(r"\w+", " ".join(re.findall(r"^\S[^:\n]*", listed, re.M))))
    lacking = [f"the parameter {name}" for name in takes if name not in names]
    return [heading for heading in needed if heading not in sections] + lacking


@pytest.mark.parametrize("name", [*PUBLIC, *MEMBERS])
def test_public_names_have_their_headings(name):
    assert not missing({**PUBLIC, **MEMBERS}[name])


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

    assert {"KalmanSGD.covariance", "MLP.mean", "Optimizer.step", "Family.link"} <= {*MEMBERS}
    assert missing(undocumented) == ["a docstring"]
    assert missing(halfway) == ["Returns", "Raises", "the parameter x"]


@pytest.mark.parametrize("name", fastopt.__all__)
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(fastopt, name))

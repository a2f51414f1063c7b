"""Which examples and docstrings there are, and what a docstring lacks."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import fastopt

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
NEED_TORCH = ("fastopt.torch", "fastopt.cli.transformer")


def modules(*, with_torch):
    """Return the names of the modules that need PyTorch, or of those that do not."""
    found = pkgutil.walk_packages(fastopt.__path__, "fastopt.")
    names = [name for _, name, _ in found if not name.endswith("__main__")]
    return [name for name in names if name.startswith(NEED_TORCH) == with_torch]


def blocks(*, with_torch):
    """Return the Python examples of the README that need PyTorch, or those that do not."""
    found = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    return [block for block in found if ("import torch" in block) == with_torch]


def run_docstrings(name):
    """Return the number of failed examples in the docstrings of a module."""
    return doctest.testmod(importlib.import_module(name)).failed


def run_block(block):
    """Run an example of the README."""
    exec(compile(block, str(README), "exec"), {})


def pages():
    """Return the pages of the documentation that have examples."""
    return [
        path
        for path in sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
        if re.search("```(python|diff)", path.read_text())
    ]


def run_page(path):
    """Run the Python examples of a page in order, and its calls of the command `fastopt`.

    Of a diff, the script after it is run.
    """
    names = {}
    for language, text in re.findall(r"```(python|diff|sh)\n(.*?)```", path.read_text(), re.S):
        if language == "diff":
            text = "\n".join(line[1:] for line in text.splitlines() if not line.startswith("-"))
        if language != "sh":
            exec(compile(text, str(path), "exec"), names)
        for line in text.splitlines() if language == "sh" else ():
            if line.startswith("fastopt "):
                subprocess.run([sys.executable, "-P", "-m", *line.split()], check=True, timeout=100)


def public(modules):
    """Return the public classes and functions of modules, by name."""
    return {
        name: thing
        for module in modules
        for name in module.__all__
        if inspect.isroutine(thing := getattr(module, name)) or isinstance(thing, type)
    }


HOOKS = {"attributes_at"}  # for other modules of fastopt; one line of documentation is enough


def members(things):
    """Return the methods and properties of public classes, each where it is defined first."""
    found = {}
    for owner in filter(inspect.isclass, things.values()):
        for base in (base for base in owner.__mro__ if base.__module__.startswith("fastopt")):
            for name, thing in vars(base).items():
                thing = getattr(thing, "__func__", thing)  # of a classmethod
                is_member = inspect.isroutine(thing) or isinstance(thing, property)
                is_first = not any(hasattr(above, name) for above in base.__mro__[1:])
                if is_member and is_first and not name.startswith("_") and name not in HOOKS:
                    found[f"{base.__name__}.{name}"] = thing
    return found


def is_rule(thing):
    return issubclass(thing, fastopt.Optimizer) and thing is not fastopt.Optimizer


def missing(thing, has_example=False):
    """Return the headings that are missing in a docstring, and the parameters it does not name."""
    doc = inspect.getdoc(thing)
    if not doc or isinstance(thing, property):
        return [] if doc else ["a docstring"]
    parts = re.split(r"^(\w+)\n-+$", doc, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    needed = ["Examples"] * has_example
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

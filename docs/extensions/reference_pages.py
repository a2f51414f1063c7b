"""Writes the reference: a page for each public module, with all names of its `__all__`.

The page of the command `fastopt` has the output of its `--help`.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from rule_pages import write

import fastopt

REFERENCE = Path(__file__).parents[1] / "reference"
MODULES = {
    "fastopt": "Optimizers of NumPy arrays, training loops, batches and the Kalman filter.",
    "fastopt.schedules": "Learning rates that change during training.",
    "fastopt.models": "Models with gradients, to try rules on.",
    "fastopt.families": "Families of generalized linear models.",
    "fastopt.estimators": "Statistical models under scikit-learn's interface.",
    "fastopt.estimators.dask": "The same for Dask.",
    "fastopt.torch": "PyTorch's optimizers.",
}


COMMANDS = ("race", "bench", "fit", "predict", "info")


def is_rule(thing: object) -> bool:
    """Whether the thing is an update rule; each has a page in rules/."""
    return isinstance(thing, type) and thing.__name__ in fastopt.optimizers.__all__


def page(module: str, about: str) -> str:
    """Return the page of a module."""
    imported = importlib.import_module(module)
    names = [
        name
        for name in imported.__all__
        if not (module == "fastopt" and is_rule(getattr(imported, name)))
        and getattr(imported, name).__class__.__name__ != "module"
    ]
    rows = "\n".join(f"   {name}" for name in names)
    rules = "The update rules are in :doc:`/rules/index`.\n\n" if module == "fastopt" else ""
    return f"""{module}
{"=" * len(module)}

{about} {rules}

.. currentmodule:: {module}

.. autosummary::
   :toctree: generated/{module}
   :nosignatures:

{rows}
"""


def help_of(*command: str) -> str:
    """Return what `fastopt COMMAND --help` prints, indented as a literal block."""
    done = subprocess.run(
        [sys.executable, "-m", "fastopt", *command, "--help"],
        env={**os.environ, "COLUMNS": "76", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return textwrap.indent(done.stdout, "   ")


def command_page() -> str:
    """Return the page of the command."""
    titles = {"The command fastopt": (), **{f"fastopt {name}": (name,) for name in COMMANDS}}
    parts = [
        f"{title}\n{('-' if command else '=') * len(title)}\n\n"
        f".. code-block:: text\n\n{help_of(*command)}"
        for title, command in titles.items()
    ]
    return "\n".join(parts)


def generate(*_: Any) -> None:
    """Write all pages."""
    for module, about in MODULES.items():
        write(REFERENCE / f"{module}.rst", page(module, about))
    write(REFERENCE / "command.rst", command_page())


def setup(app: Any) -> dict[str, bool]:
    """Register the extension, which runs before Sphinx lists the files, which autosummary reads."""
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True}

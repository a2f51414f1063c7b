"""Writes a page for each update rule, and the tables of rules, before Sphinx reads the sources.

A page has the picture of `ravine`, the facts of rules/rules.csv, the names of the rule in other
libraries from `fastopt.create`, the share of the memory limit from rules/bench.json, and the
docstring of the class.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ravine

import fastopt
from fastopt.cli.bench.steps import RULES as MEASURED
from fastopt.optimizers import conventions
from fastopt.optimizers.schedule_free import ScheduleFree

DOCS = Path(__file__).parents[1]
GENERATED = DOCS / "rules" / "generated"
LIBRARIES = {
    "torch": "PyTorch",
    "keras": "Keras",
    "optax": "optax",
    "dl4j": "DL4J",
    "textbook": "textbooks",
}

NOT_MEASURED = """

Speed
-----

The time is not compared with that of moving the bytes once, because the rule reads its arrays
several times, or computes products of matrices.
"""


def facts() -> dict[str, dict[str, str]]:
    """Return the rows of rules.csv by class; they are the classes of fastopt, no more, no fewer."""
    with (DOCS / "rules" / "rules.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    if set(rows) != set(fastopt.optimizers.__all__):
        difference = sorted(set(rows) ^ set(fastopt.optimizers.__all__))
        raise ValueError(f"rules.csv and fastopt.optimizers differ in {', '.join(difference)}")
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    row: Sequence[object]
    for row in [head, *rows]:
        lines += [f"   {'*' if not i else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def elsewhere(cls: type) -> str:
    """Return the table of the names and options that give the formulas of other libraries."""
    # These refuse decoupled_weight_decay, which is always False.
    left_out = "decoupled_weight_decay" if issubclass(cls, ScheduleFree) else None
    rows = []
    for convention, library in LIBRARIES.items():
        if convention == "torch" and not hasattr(ravine.torch_names(), cls.__name__):
            continue
        for name, rule in conventions._CONVENTIONS[convention].items():
            if rule.cls is cls:
                options = ", ".join(
                    f"``{key}={value!r}``" for key, value in rule.options.items() if key != left_out
                )
                call = f'``"{name}", params, convention="{convention}"``'
                rows.append([library, call, options or "the defaults"])
    if not rows:
        return ""
    head = ["library", "arguments of :func:`fastopt.create`", "options of the class that it sets"]
    text = "\n\nIn other libraries\n------------------\n\n" + table(head, rows)
    return f"{text}\nThe formulas are in :doc:`/rules/conventions`.\n"


def speed(cls: type, bench: dict[str, Any]) -> str:
    """Return the measured times of the variants of a rule, with one thread and with all."""
    rows = []
    for found in bench["results"]:
        rule = MEASURED[found["rule"]]
        if rule.cls is cls:
            options = ", ".join(f"{key}={value!r}" for key, value in rule.options.items())
            row = [f"``{cls.__name__}({options})``", found["threads"]]
            rows.append([*row, f"{found['seconds'] * 1e3:.2f}", f"{found['share']:.2f}"])
    if not rows:
        return NOT_MEASURED
    head = ["step", "threads", "ms", "share of the memory limit"]
    machine, isa = bench["machine"]["cpu"], bench["versions"]["instruction_set"]
    size = f"{bench['settings']['size']:,} elements of {bench['settings']['dtype']}"
    return f"""

Speed
-----

{table(head, rows)}
A step of {size}; {machine}, instruction set {isa}. The limit is the time of a loop that moves the
same bytes. ``fastopt bench`` measures both on your machine.
"""


def page(name: str, fact: dict[str, str], bench: dict[str, Any]) -> str:
    """Return the page of a rule."""
    cls = getattr(fastopt, name)
    rate = ravine.draw(cls, GENERATED / f"{name}.png")
    return f"""{name}
{"=" * len(name)}

.. image:: {name}.png
   :alt: The path of {name} to the minimum of a ravine
   :align: right
   :width: 300

:Use: {fact["for"]}
:State: {fact["state"]} (bytes for each float32 element); 0 at first if the text says nothing else
:Source: {fact["from"]}

The picture shows 60 steps on a ravine, f(x, y) = (x² + 20 y²)/2, {rate}.

.. autoclass:: fastopt.{name}
   :no-members:

The methods of every optimizer are those of :class:`fastopt.Optimizer`.
{elsewhere(cls)}{speed(cls, bench)}
.. minigallery:: fastopt.{name}
   :add-heading: Which rule when
   :heading-level: -
"""


def write(path: Path, text: str) -> None:
    """Write a file unless it has this text, so that Sphinx reads only what has changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def generate(app: Any) -> None:
    """Write all pages."""
    GENERATED.mkdir(exist_ok=True)
    bench = json.loads((DOCS / "rules" / "bench.json").read_text())
    rows = facts()
    for name, fact in rows.items():
        write(GENERATED / f"{name}.rst", page(name, fact, bench))
    body = [
        [f":doc:`/rules/generated/{name}`", row["for"], row["state"], row["from"]]
        for name, row in rows.items()
    ]
    head = ["rule", "for", "state, bytes an element", "source"]
    names = "\n".join(f"   {name}" for name in rows)
    toctree = f".. toctree::\n   :hidden:\n\n{names}\n"
    write(GENERATED / "table.txt", table(head, body))
    write(GENERATED / "all.rst", f"All rules\n=========\n\n{table(head, body)}\n{toctree}")


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", generate, priority=100)
    return {"parallel_read_safe": True}

"""Adapts the docstrings of fastopt to Sphinx: formulas become mathematics, names links.

The docstrings are written to be read in `help`: formula blocks are indented after "::", and names
are in single backticks.
"""

import importlib
import re
from typing import Any

from formulas import block
from reference_pages import MODULES

BLOCK = re.compile(r"(?m)^(?P<text>.*)::\n\n(?P<body>(?:(?:[ ]{4}.*)?\n)+)")
IS_FORMULA = re.compile(r"^\s*\S[^\n]*?\s(<-|[+-]?=)\s", re.M)


def as_mathematics(match: re.Match[str]) -> str:
    """Return a block of formulas as a directive, and any other literal block as it is."""
    body = match["body"]
    if not IS_FORMULA.search(body) or ">>>" in body:
        return match[0]
    try:
        lines = "\n".join(f"   {line}" for line in block(body).splitlines())
    except SyntaxError:
        return match[0]
    colon = f"{match['text']}:" if match["text"].strip() else ""
    return f"{colon}\n\n.. math::\n\n{lines}\n\n"


# What RST would read as markup: a reference such as coef_, a substitution such as |g|, emphasis.
MARKUP = re.compile(r"(``.*?``|`[^`]*`)|(?<=\w)_(?!\w)|\|(?=\w)|(?<= )\*(?== )")


NAME = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")
PUBLIC = {
    f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__
}


def as_role(match: re.Match[str]) -> str:
    """Return a public name as a link to its page, any other name as a literal."""
    if match[1] in MODULES:
        return f":doc:`{match[1]} </reference/{match[1]}>`"
    return f":py:obj:`{match[1]}`" if match[1] in PUBLIC else f"``{match[1]}``"


def escaped(lines: list[str]) -> list[str]:
    """Return the lines with names as roles and such characters escaped, but not in code."""
    found, literal_below = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal_below is not None and line.strip() and indent <= literal_below:
            literal_below = None
        is_code = literal_below is not None or line.lstrip().startswith((">>>", "...", "==="))
        if not is_code:
            line = MARKUP.sub(lambda match: match[1] or "\\" + match[0], NAME.sub(as_role, line))
            if line.endswith("::"):
                literal_below = indent
        found.append(line)
    return found


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring of fastopt before numpydoc reads them."""
    text = "\n".join(escaped(lines)) + "\n"
    head, *rest = re.split(r"(?m)^(?=Parameters$)", text, maxsplit=1)
    lines[:] = (BLOCK.sub(as_mathematics, head) + "".join(rest)).splitlines()


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out scikit-learn's methods for metadata routing, which are the same for all classes."""
    return True if name.endswith(("_request", "_metadata_routing")) else None


def setup(app: Any) -> dict[str, bool]:
    """Register the extension; it runs before numpydoc, whose priority is 500."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}

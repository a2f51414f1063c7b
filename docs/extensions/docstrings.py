"""Adapts the docstrings of fastopt to Sphinx: formulas become mathematics, code spans literals.

The docstrings are written to be read in `help`: formula blocks are indented after "::", and names
are in single backticks.
"""

import re
from typing import Any

from formulas import block

BLOCK = re.compile(r"(?m)^(?P<text>.*)::\n\n(?P<body>(?:(?:[ ]{4}.*)?\n)+)")
IS_FORMULA = re.compile(r"^\s*\S[^\n]*?\s(<-|=)\s", re.M)


def as_mathematics(match: re.Match[str]) -> str:
    """Return a formula block as a directive, and any other literal block as it is."""
    body = match["body"]
    if not IS_FORMULA.search(body) or ">>>" in body:
        return match[0]
    lines = "\n".join(f"   {line}" for line in block(body).splitlines())
    colon = f"{match['text']}:" if match["text"].strip() else ""
    return f"{colon}\n\n.. math::\n\n{lines}\n\n"


# What RST would read as markup: a reference such as coef_, a substitution such as |g|, emphasis.
MARKUP = re.compile(r"(``.*?``|`[^`]*`)|(?<=\w)_(?!\w)|\|(?=\w)|(?<= )\*(?== )")


def escaped(lines: list[str]) -> list[str]:
    """Return the lines with such characters escaped, but not in code."""
    found, literal_below = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal_below is not None and line.strip() and indent <= literal_below:
            literal_below = None
        is_code = literal_below is not None or line.lstrip().startswith((">>>", "...", "==="))
        if not is_code:
            line = MARKUP.sub(lambda match: match[1] or "\\" + match[0], line)
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

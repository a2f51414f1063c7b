"""Linear restrictions of coefficients, written as equations of their names.

formulaic's parser of restrictions is not used: it takes "a = b = 0" for "a = b", and does not read
"a = -1" and "a = 1e-3" (1.2.2).
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastopt.estimators.inference.fitted import Floats

__all__ = ["parsed"]

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub}


def parsed(equations: Sequence[str], names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return R and q of the restrictions R coef = q.

    Parameters
    ----------
    equations : sequence of str
        Such as "x1 = 2*x2", "x1 = x2 = 0", "x1, x2 - x3 = 1.5" or "x1", which means "x1 = 0": sums
        of names and numbers, with + - * / and parentheses.  A name may have any characters, and may
        be between backticks.
    names : sequence of str, of length p

    Returns
    -------
    R : array of shape (q, p)
    q : array of shape (q,)

    Raises
    ------
    ValueError
        It is no equation, not linear, or has an unknown name.

    Examples
    --------
    >>> matrix, values = parsed(["a:b = 2*c, c = 1"], ["a:b", "c"])
    >>> print(matrix, values)
    [[ 1. -2.]
     [ 0.  1.]] [-0.  1.]
    """
    rows = []
    for text in equations:
        for equation in _with_variables(text, names).split(","):
            sides = [_value(_tree(side), len(names)) for side in equation.split("=")]
            if len(sides) == 1:
                sides.append(np.zeros_like(sides[0]))
            rows += [left - right for left, right in pairwise(sides)]
    matrix = np.array(rows)
    return matrix[:, :-1], -matrix[:, -1]


def _with_variables(text: str, names: Sequence[str]) -> str:
    """Return equations with the variable v0 in place of the first name, and so on."""
    index = {name: i for i, name in enumerate(names)}
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    # A name, between backticks or not, but no part of a longer word or number.
    pattern = rf"`([^`]*)`|(?<![\w.])({longest_first})(?!\w)"

    def variable(found: re.Match[str]) -> str:
        name = found[1] if found[2] is None else found[2]
        if name not in index:
            raise ValueError(f"there is no {name!r}")
        return f" _{index[name]}_ "

    return re.sub(pattern, variable, text)


def _tree(side: str) -> ast.expr:
    try:
        return ast.parse(side.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError("it is no sum of names and numbers") from None


def _value(node: ast.expr, p: int) -> Floats:
    """Return the coefficients of the variables, and the constant, of an expression."""
    value = np.zeros(p + 1)
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        value[p] = float(node.value)  # type: ignore[arg-type]
        return value
    if isinstance(node, ast.Name):
        if re.fullmatch(r"_\d+_", node.id) is None:
            raise ValueError(f"there is no {node.id!r}")
        value[int(node.id[1:-1])] = 1.0
        return value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _value(node.operand, p) * (-1.0 if isinstance(node.op, ast.USub) else 1.0)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, p), _value(node.right, p)
        if type(node.op) in OPERATORS:
            result: Floats = OPERATORS[type(node.op)](left, right)
            return result
        if isinstance(node.op, ast.Mult) and not left[:p].any():
            left, right = right, left
        factor = float(right[p])
        if isinstance(node.op, ast.Mult | ast.Div) and not right[:p].any():
            left *= factor if isinstance(node.op, ast.Mult) else 1 / factor
            return left
    raise ValueError("it is not linear")

"""A formula in a model file.

Formulaic evaluates the Python expressions in a formula, so that a formula from a file could do
anything.  Only formulas of arithmetic and of the functions below are written and loaded.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.extras import library
from fastopt.estimators.sources.formula import Formula

_TRANSFORMS = {
    *("C", "I", "center", "scale", "standardize", "bs", "cr", "cc", "cs", "poly"),
    *("log", "log2", "log10", "exp", "exp2", "exp10"),
}
_OF_NUMPY = {
    *("log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "square", "abs", "sign"),
    *("sin", "cos", "tan", "tanh", "floor", "ceil", "minimum", "maximum", "clip", "power", "pi"),
}
_OF_CONTR = {"treatment", "SAS", "sum", "helmert", "diff", "poly"}
_NODES = (
    *(ast.Expression, ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
    *(ast.Compare, ast.cmpop, ast.List, ast.Tuple, ast.keyword, ast.Load),
)


def columns_in(formula: Formula, names: Sequence[str]) -> list[str]:
    """Return the columns whose names occur in a formula; a name with blanks is in backticks.

    Parameters
    ----------
    formula : Formula
    names : sequence of str
        The names of all columns.
    """
    found = {*re.findall(r"[^\W\d]\w*", formula.text), *re.findall(r"`([^`]+)`", formula.text)}
    used = found | {*formula.columns, *formula.response_columns}
    return [name for name in names if name in used]


def require_safe(formula: Formula) -> None:
    """Raise an error if a formula has Python code other than arithmetic and known functions.

    Parameters
    ----------
    formula : Formula

    Raises
    ------
    FastoptError
    """
    formulaic = library("formulaic", "--formula")
    python = formulaic.parser.types.Factor.EvalMethod.PYTHON
    sides = [formula.right, *([] if formula.left is None else [formula.left])]
    for factor in (factor for side in sides for term in side for factor in term.factors):
        if factor.eval_method is python and not _is_safe(str(factor.expr)):
            raise FastoptError(
                f"--formula has {str(factor.expr)!r}; allowed in `fastopt fit` are columns, "
                f"numbers, arithmetic, {', '.join(sorted(_TRANSFORMS))}, and functions of one "
                "element at a time as np.sqrt(x)"
            )


def _is_safe(expression: str) -> bool:
    try:
        return _is_safe_node(ast.parse(expression.strip(), mode="eval"))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _is_safe_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func
        known = (isinstance(name, ast.Name) and name.id in _TRANSFORMS) or _is_attribute(name)
        return known and all(map(_is_safe_node, [*node.args, *node.keywords]))
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    if isinstance(node, ast.Attribute):
        return _is_attribute(node)
    return isinstance(node, _NODES) and all(map(_is_safe_node, ast.iter_child_nodes(node)))


def _is_attribute(node: ast.AST) -> bool:
    """Return whether a node is an attribute of NumPy or of formulaic's contrasts that is listed."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in {"np": _OF_NUMPY, "contr": _OF_CONTR}.get(node.value.id, ())
    )


def formula_values(formula: Formula, means: dict[str, float]) -> dict[str, Any]:
    """Return a formula and what it has learnt from the data, as values for JSON.

    Parameters
    ----------
    formula : Formula
        That has begun.
    means : dict
        A value inside the range of each column of numbers.
    """
    levels, state = formula.state()
    row = {name: means.get(name, 0.5) for name in formula.columns}
    row |= {column: own[0] for column, own in levels.values()}
    return {
        "text": formula.text,
        "columns": formula.columns,
        "names": formula.names,
        "levels": {factor: [column, _plain(own)] for factor, (column, own) in levels.items()},
        "transforms": _plain(state),
        "row": _plain(row),
    }


def formula_of(values: dict[str, Any]) -> Formula:
    """Return the formula of `formula_values`, after a check that it is safe."""
    formula = Formula(values["text"])
    require_safe(formula)
    levels = {factor: own for factor, (_, own) in values["levels"].items()}
    frame = library("pandas", "--formula").DataFrame(
        {name: [value] for name, value in _values_of(values["row"]).items()}
    )
    formula.resume(
        values["columns"], values["names"], levels, _values_of(values["transforms"]), frame
    )
    return formula


def _plain(value: Any) -> Any:
    """Return a value for JSON; a dict becomes a list of pairs, because its keys may be numbers."""
    if isinstance(value, dict):
        return {"pairs": [[_plain(key), _plain(own)] for key, own in value.items()]}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(own) for own in (value.tolist() if hasattr(value, "tolist") else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise FastoptError(
        f"--formula: {value!r} ({type(value).__name__}) cannot be written to a model file"
    )


def _values_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {_values_of(key): _values_of(own) for key, own in value["pairs"]}
    return [_values_of(own) for own in value] if isinstance(value, list) else value

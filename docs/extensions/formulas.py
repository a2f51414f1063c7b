"""Formulas of docstrings as LaTeX.

A docstring writes a formula as readers of `help` expect it, such as
``w <- w - lr/c1 * m / (sqrt(v/c2) + eps)``.  The rest of a line after two spaces is a remark, which
becomes a line below the formula, so that it is visible on a narrow screen.
"""

from __future__ import annotations

import ast
import re

GREEK = {"alpha", "beta", "gamma", "delta", "rho", "mu", "lambda", "tau", "eta", "nu"}
NAMES = {
    "lr": r"\mathit{lr}",
    "eps": r"\epsilon",
    "d_hat": r"\hat d",
    "inf": r"\infty",
    "mu_next": r"\mu_{t+1}",
    "P_next": "P_{t+1}",
    "mu_t": r"\mu_t",
    "P_t": "P_t",
    "rho_inf": r"\rho_\infty",
}
INDICES = {"t", "max", "root"}
WORDS = {"sign", "norm", "max", "min", "mean", "rms", "sum", "abs", "log", "exp", "clip"}


def name(text: str) -> str:
    """Return the LaTeX of a variable: beta1 is a Greek letter with an index."""
    if text in NAMES:
        return NAMES[text]
    stem, index = re.fullmatch(r"([A-Za-z_]+?)_?(\d*)", text).groups()  # type: ignore[union-attr]
    if stem in GREEK:
        stem = "\\" + stem
    elif stem in NAMES:
        stem = NAMES[stem]
    elif "_" in stem:
        first, rest = stem.split("_", 1)
        if len(first) > 1 and first not in GREEK and rest not in INDICES:  # the name of an option
            return rf"\text{{{text}}}"
        return rf"{name(first)}_{{\mathrm{{{rest}}}{index}}}"
    elif len(stem) > 1:
        stem = rf"\mathrm{{{stem}}}"
    return f"{stem}_{{{index}}}" if index else stem


LOWEST, SUM, PRODUCT, POWER, ATOM = range(5)
PRIORITY = {
    ast.Add: SUM, ast.Sub: SUM, ast.Mult: PRODUCT, ast.Div: PRODUCT, ast.Pow: POWER,
}  # fmt: skip
COMPARISONS = {ast.Gt: ">", ast.Lt: "<", ast.GtE: r"\ge", ast.LtE: r"\le", ast.Eq: "="}


def latex(node: ast.AST, above: int = LOWEST) -> str:
    """Return the LaTeX of an expression, in parentheses if the operator above binds tighter."""
    match node:
        case ast.Expression():
            return latex(node.body)
        case ast.Name():
            return name(node.id)
        case ast.Constant():
            return str(node.value)
        case ast.UnaryOp(op=ast.USub()):
            return f"-{latex(node.operand, PRODUCT)}"
        case ast.BinOp(op=ast.Div(), left=ast.BinOp(op=ast.Mult(), left=ast.BinOp(op=ast.Div()))):
            # a/b * c / d: two fractions instead of a fraction in the numerator
            first, rest = node.left.left, ast.BinOp(node.left.right, ast.Div(), node.right)
            return rf"{latex(first)}\,{latex(rest)}"
        case ast.BinOp(op=ast.Div()):
            return rf"\frac{{{latex(node.left)}}}{{{latex(node.right)}}}"
        case ast.BinOp(op=ast.Pow()):
            return f"{latex(node.left, ATOM)}^{{{latex(node.right)}}}"
        case ast.BinOp():
            own = PRIORITY[type(node.op)]
            sign = {ast.Add: " + ", ast.Sub: " - ", ast.Mult: r"\,"}[type(node.op)]
            right = latex(node.right, own + isinstance(node.op, ast.Sub))
            text = f"{latex(node.left, own)}{sign}{right}"
            return rf"\left({text}\right)" if own < above else text
        case ast.Call(func=ast.Name(id="sqrt"), args=[inside]):
            return rf"\sqrt{{{latex(inside)}}}"
        case ast.Call(func=ast.Name(id="abs"), args=[inside]):
            return rf"\left|{latex(inside)}\right|"
        case ast.Call(func=ast.Name(id="transposed"), args=[inside]):
            return rf"{latex(inside)}^\top"
        case ast.Call(func=ast.Name(id="norm"), args=[inside]):
            return rf"\left\|{latex(inside)}\right\|"
        case ast.Call(func=ast.Name(id=word)) if word in WORDS or len(word) == 1:
            inside = ", ".join(latex(part) for part in node.args)
            called = word if len(word) == 1 else rf"\operatorname{{{word}}}"
            return rf"{called}\left({inside}\right)"
        case ast.Compare(ops=[op], comparators=[right]):
            return f"{latex(node.left)} {COMPARISONS[type(op)]} {latex(right)}"
    raise SyntaxError(ast.dump(node))


def expression(text: str) -> str:
    """Return the LaTeX of an expression written as in a docstring; SyntaxError if it is not one."""
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text.strip()).replace("^", "**")
    text = re.sub(r"(\w)_\(t\+1\)", r"\1_next", text)
    text = re.sub(r"(\w+)'", r"transposed(\1)", text)
    return latex(ast.parse(text, mode="eval"))


def statement(text: str) -> str:
    """Return the LaTeX of ``x <- expression`` or ``x = expression``, with & before the sign.

    ``x += expression`` becomes ``x <- x + expression``.
    """
    text = re.sub(r"^(.+?)\s+([+-])=\s+(.+)$", r"\1 <- \1 \2 (\3)", text)
    left, sign, right = re.fullmatch(r"(.+?)\s+(<-|=)\s+(.+)", text).groups()  # type: ignore[union-attr]
    arrow = {"<-": r"\leftarrow", "=": "="}[sign]
    return f"{expression(left)} &{arrow} {expression(right)}"


def line(text: str) -> str:
    """Return the LaTeX of one line of a formula block; SyntaxError if it is not a formula."""
    text = text.strip()
    start = re.match(r"[^<=]*(<-|=)\s+", text)
    if not start:
        raise SyntaxError(text)
    formula, *remark = re.split(r"\s{2,}", text[start.end() :], maxsplit=1)
    try:
        found = statement(start.group() + formula)
    except (AttributeError, KeyError):
        raise SyntaxError(text) from None
    if remark:
        found += rf" \\[-0.4em] &\quad\small\text{{{escaped(remark[0])}}}"
    return found


def escaped(text: str) -> str:
    """Return text for \\text{}, with the characters that MathJax reserves in text escaped."""
    text = re.sub(r"([%#&$])", r"\\\1", re.sub(r"\s+", " ", text))
    return text.replace("<-", r"$\leftarrow$")


def block(text: str) -> str:
    """Return the LaTeX of a formula block; SyntaxError if a line is not a formula.

    A line that begins with an operator continues the line before.
    """
    joined = re.sub(r"\s*\n\s*(?=[/*+-] )", " ", text.strip())
    body = " \\\\\n".join(line(part) for part in joined.splitlines() if part.strip())
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"

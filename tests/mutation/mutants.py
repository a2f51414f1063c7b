"""Mutants of a C source: each changes one operator or constant, or deletes one statement."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SWAPS = {
    "+": "-", "*": "/", "+=": "-=", "*=": "/=", "++": "--", "<<": ">>", "&": "|", "&=": "|=",
    "<": "<=", ">": ">=", "==": "!=", "&&": "||",
}  # fmt: skip
ACTS = {"=", "+=", "-=", "*=", "/=", "|=", "&=", "++", "--", "break", "continue"}
SWAPS |= {after: before for before, after in SWAPS.items()} | {"?": "== 0 ?"}
TOKEN = re.compile(
    r"(?P<number>\b0x[0-9a-f]+|(?:\b\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><<=|>>=|->|\+\+|--|[-+*/<>=!&|^]=|&&|\|\||<<|>>|[^\s\w\\])"
)
SKIPPED = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    r"|^[ \t]*\#[ \t]*(?:define[ \t]+\w+(?:\([^)]*\))?|(?!define)(?:\\\n|[^\n])*)",
    re.S | re.M,
)


class Mutant(NamedTuple):
    file: str
    line: int
    before: str  # the line before the change
    after: str  # and after it
    source: str  # the changed file


def tokens_of(source):
    """Return (kind, text, begin, end) of each token outside comments, strings and includes."""
    code = SKIPPED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    return [(m.lastgroup, m[0], *m.span()) for m in TOKEN.finditer(code)]


def changed_number(text):
    """Return a number with another value: 0 and 1 swapped, others increased."""
    if text.startswith("0x"):
        return hex(int(text, 16) + 1)
    if text.isdigit():
        return {"0": "1", "1": "0"}.get(text, str(int(text) + 1))
    return repr(float(text) * 1.0000001) if float(text) else "1.0"


def changes(tokens):
    """Yield (begin, end, replacement) of each change; a replacement of None deletes the text."""
    start, depth, opened = 0, 0, []
    for i, (kind, text, begin, end) in enumerate(tokens):
        before = tokens[i - 1] if i else (None, ";", 0, 0)
        is_operand = before[0] in ("number", "name") or before[1] in (")", "]")
        is_pointer = text in "*&" and tokens[i + 1][2] == end
        if kind == "number":
            yield begin, end, changed_number(text)
        elif text in "-!*&" and (not is_operand or before[1] == "return"):
            if text in "-!":
                yield begin, end, ""
        elif text in SWAPS and not is_pointer:
            yield begin, end, SWAPS[text]
        if text == "(":
            opened.append(i)
            depth += 1
        elif text == ")":
            first = opened.pop()
            depth -= 1
            keyword = tokens[first - 1][1]
            inside = {t[1] for t in tokens[first:i]}
            if keyword in ("if", "while") and not inside & {"<", ">", "<=", ">=", "==", "!="}:
                yield tokens[first][3], tokens[first][3], "0 == "
            if depth == 0 and keyword in ("if", "while", "for"):
                start = i + 1
        elif depth == 0 and (text in ("{", "}", "else") or (text == ";" and i == start)):
            start = i + 1
        elif depth == 0 and text == ";":
            (first, _, *_), (second, mark, *_) = tokens[start : start + 2]
            is_declaration = first == "name" and (second == "name" or mark == "*")
            words = {t[1] for t in tokens[start:i]}
            if not is_declaration and "return" not in words and (before[1] == ")" or words & ACTS):
                yield tokens[start][2], begin, None
            start = i + 1


def mutants_of(file):
    """Yield all mutants of a source, even those that do not compile or change no object code."""
    source = (ROOT / file).read_text()
    for begin, end, new in changes(tokens_of(source)):
        blank = re.sub(r"[^\\\n]", " ", source[begin:end])
        mutated = source[:begin] + (blank if new is None else new) + source[end:]
        line = source.count("\n", 0, begin)
        before, after = (text.splitlines()[line].strip(" \\") for text in (source, mutated))
        if new is None:
            after = "without " + " ".join(source[begin:end].replace("\\\n", " ").split())
        yield Mutant(file, line + 1, before, after, mutated)

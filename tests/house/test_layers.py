"""What a layer may not contain: a search of its files, without their comments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES_DEF = (ROOT / "csrc/rules.def").read_text()
RULES = re.findall(r"^FO_(?:RULE|FACTORED)\((\w+),", RULES_DEF, re.M)
# All hyperparameters but the learning rate and the names of rules.
OPTIONS = {name for line in re.findall(
               r"^FO_(?:RULE|FACTORED)\(\w+, \d, lr,? ?([^)]*)\)", RULES_DEF, re.M)
           for name in re.split(r",\s*", line) if name} - {*RULES}  # fmt: skip

C_COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|("(?:\\.|[^"\\\n])*")', re.S)
PYTHON = (".py", ".pyx", ".pxd", ".pxi")
BOUNDARY = "fastopt/**/*.pyx fastopt/**/*.pxi"
# Docstrings are removed with the comments.
PY_COMMENT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|#[^\n]*|("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')'
)


def code(name, text):
    """Return a file's text without its comments, but with its strings."""
    comment = PY_COMMENT if name.endswith(PYTHON) else C_COMMENT
    return comment.sub(lambda found: found[1] or " ", text)


# For each restriction: its name, files, exceptions among them, a pattern of what is forbidden, and
# an example of it.
FORBIDDEN = [
    ("a rule has no loop", "csrc/rules/*.h", (),
     r"\b(for|while|do|goto)\b", "for (int i = 0; i < n; i++)"),
    ("a rule has no include", "csrc/rules/*.h", (),
     r"#\s*include\b", '#include <math.h>'),
    ("a rule has no omp", "csrc/rules/*.h", (),
     r"\bomp\b|\bomp_|\bpragma\b|_Pragma", "#pragma omp simd"),
    ("a rule has no intrinsics", "csrc/rules/*.h", (),
     r"\b_mm\d*_|\b__m\d+|__builtin_|\bimmintrin\b", "__m256d x = _mm256_sqrt_pd(y);"),
    ("a rule has no static state", "csrc/rules/*.h", (),
     r"\bstatic\b(?!\s+inline\b)|\b_Thread_local\b|\b__thread\b", "static double last;"),
    ("kernels have no omp", "csrc/kernels/**/*", (), r"\bomp\b|\bomp_", "#pragma omp parallel"),
    ("kernels do not detect the CPU", "csrc/kernels/**/*", (),
     r"__builtin_cpu|cpuid|getauxval|xgetbv", "if (__builtin_cpu_supports(\"avx2\"))"),
    ("C does not use Python", "csrc/**/*", (),
     r"\bPython\.h\b|\bPy[A-Z]\w*|(?i:numpy)\b", "#include <Python.h>"),
    ("C does not print", "csrc/**/*", (),
     r"\bv?[fsd]?n?printf\b|\bf?puts\b|\bf?putc\b|\bputchar\b|\bperror\b|\bfwrite\b",
     'fprintf(stderr, "t = %d", t);'),
    ("C does not exit", "csrc/**/*", (),
     r"\b_?exit\b|\b_Exit\b|\babort\b|\bquick_exit\b|\bassert\b|\blongjmp\b", "abort();"),
    ("OpenMP is in one file", "csrc/**/*", ("csrc/parallel.c",),
     r"\bomp\b|\bomp_\w+|\b_OPENMP\b", "n = omp_get_max_threads();"),
    ("memory is allocated in one file", "csrc/**/*", ("csrc/step/plan.c",),
     r"\b(m|c|re|aligned_)alloc\b|\balloca\b|\bposix_memalign\b", "p = malloc(8);"),
    ("instruction sets are in one folder", "csrc/**/*",
     ("csrc/kernels/isa/v3.c", "csrc/kernels/isa/v4.c"),
     r"\btarget\s*\(|\btarget_clones\b|\b_mm\d*_|\b__m\d+\b|\bimmintrin\b",
     '__attribute__((target("avx2"))) void f(void);'),
    ("the boundary has no formula", BOUNDARY, (),
     rf"libc\.math|\b(sqrt|pow|exp|log|fma|fmax|fmin)f?\s*\(|\b({'|'.join(OPTIONS)})\b",
     "w[i] -= lr * m[i] / (sqrt(v[i]) + eps)"),
    ("the boundary reads no element", BOUNDARY, (),
     r"\b(double|float|floating|real)\s*(const\s*)?\[[^\]]*:|"
     r"\bcdef\s+(const\s+)?(double|float|floating|real)\s*\*",
     "cdef double[::1] w"),
    ("the boundary names no rule", BOUNDARY, (),
     rf"(?i)\b(fo_)?({'|'.join(RULES)}|adamw|amsgrad|nesterov)(_\w+)?\b", 'if rule == "adam":'),
    ("the boundary has no default", BOUNDARY, (),
     r"\b\d+\.\d*|\b\d+e-?\d+", "def step(self, double lr=1e-3):"),
    ("classes do not call C", "fastopt/optimizers/*.py", (),
     r"\b_core\b|\bctypes\b|\bcffi\b", "from fastopt import _core"),
    ("classes have no NumPy", "fastopt/optimizers/*.py", (),
     r"\bnumpy\b|\bnp\b", "import numpy as np"),
    ("the references are independent", "tests/*reference.py", (),
     r"\b_*fastopt\b|\bimportlib\b|__import__", "import fastopt._core"),
    ("no flag changes the arithmetic", "setup.py", (),
     r"-ffast-math|-Ofast|-march|-mtune|-mcpu|-funsafe|-ffinite-math|-fassociative|"
     r"-freciprocal|-fno-signed-zeros|-ffp-contract=(?!off)|-mfma|-mavx",
     'CFLAGS += ["-march=native"]'),
]  # fmt: skip
IDS = [layer for layer, *_ in FORBIDDEN]


def classes():
    """Return the modules that have one class for each rule."""
    others = {"conventions", "spellings"}
    return [path for path in text_files("fastopt/optimizers/*.py") if path.stem not in others]


def text_files(globs):
    """Return the source files that match one of several globs, which spaces separate."""
    return [
        path
        for glob in globs.split()
        for path in sorted(ROOT.glob(glob))
        if path.is_file() and path.suffix in {".c", ".h", ".inc", ".def", *PYTHON}
    ]


@pytest.mark.parametrize(
    ("files", "exceptions", "pattern"), [entry[1:4] for entry in FORBIDDEN], ids=IDS
)
def test_a_layer_does_not_contain(files, exceptions, pattern):
    paths = text_files(files)
    assert paths
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if name not in exceptions:
            found = re.search(pattern, code(name, path.read_text()))
            assert not found, f"{name} has {found[0]!r}"


@pytest.mark.parametrize(
    ("files", "pattern", "example"), [(f, p, e) for _, f, _, p, e in FORBIDDEN], ids=IDS
)
def test_the_check_can_fail(files, pattern, example):
    """Each pattern matches its example, but not in a comment, which may follow a string."""
    for glob in files.split():
        name = glob.replace("*", "x") if "." in glob else "csrc/x.c"
        start, end = ("# ", "") if name.endswith(PYTHON) else ("/* ", " */")
        assert re.search(pattern, code(name, f"x = 1;\n{example}\n"))
        assert not re.search(pattern, code(name, f'x = "{start}";\n{start}{example}{end}\n'))


def loops(text):
    """Return the line numbers of loops and comprehensions."""
    kinds = (ast.For, ast.While, ast.comprehension, ast.AsyncFor)
    return [
        getattr(node, "lineno", 0) for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)
    ]


def test_classes_have_no_loops():
    assert loops("for x in y:\n    pass")
    assert loops("[x for x in y]")
    for path in classes():
        assert not loops(path.read_text()), path.name


def test_the_boundary_has_no_loop_over_elements():
    """Every counted loop is over parameters, axes, rules or the like, or is a binary search."""
    allowed = {"self.n_params", "n_params", "FO_N_RULES", "fo_isa_count()", "len(hp)",
               "low < high", "layout.n_axes", "slot.layout.n_axes", "param.ndim",
               "array.ndim"}  # fmt: skip
    counted = re.compile(r"\brange\((\w+(?:\(\w*\)|\.\w+)?|[^\n]*)\)|\bwhile ([^\n:]*):")

    def counts(text):
        return {found[1] or found[2] for found in counted.finditer(text)}

    assert counts("for i in range(n):\n while i < size:") == {"n", "i < size"}
    assert counts("for i in range(0, self.n):") == {"0, self.n"}
    parts = text_files("fastopt/_core.pyx fastopt/core/*.pxi")
    found = set().union(*(counts(code(path.name, path.read_text())) for path in parts))
    assert {"self.n_params", "n_params"} <= found
    assert found <= allowed


def test_a_rule_is_one_header_one_line_and_one_include():
    kernels = (ROOT / "csrc/kernels/kernels.inc").read_text()
    included = re.findall(r'#include "rules/(\w+)\.h"', kernels)
    headers = sorted(path.stem for path in ROOT.glob("csrc/rules/*.h"))
    assert headers == sorted(RULES) == sorted(included)
    for rule in RULES:
        text = code("x.h", (ROOT / f"csrc/rules/{rule}.h").read_text())
        for part in ("coef", "prepare", "element"):
            assert f"FO_T({rule}_{part})" in text, f"{rule}.h has no {part}"


def test_the_learning_rate_comes_first():
    """C reads it as fo_group.hp[0] for every rule."""
    assert len(RULES) == len(re.findall(r"^FO_(?:RULE|FACTORED)\(\w+, \d, lr\b", RULES_DEF, re.M))


def test_flags_of_the_build():
    setup = code("setup.py", (ROOT / "setup.py").read_text())
    for flag in ("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"):
        assert f'"{flag}"' in setup

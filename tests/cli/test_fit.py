"""`fastopt fit`: which model it fits to which rows, what it prints and writes, how it fails."""

import csv
import io
import json
import os
import sys

import numpy as np
import pytest

from fastopt import FastoptError
from fastopt.cli import main
from fastopt.cli.fit.model_file import model_values
from fastopt.cli.fit.wording import in_options
from fastopt.cli.rows.formulas import _is_safe
from fastopt.estimators import GLMClassifier, GLMRegressor

RNG = np.random.default_rng(0)
N = 120
AGE = RNG.normal(50, 10, N).round(2)
COLOUR = RNG.choice(["red", "green", "blue, dark"], N)
YEARS = RNG.integers(1, 4, N)
SIZE = (0.1 * AGE + (COLOUR == "red") + RNG.normal(size=N)).round(3)
SMOKES = np.where(RNG.random(N) < 1 / (1 + np.exp(-(AGE - 50) / 10)), "yes", "no")
CLAIMS = RNG.poisson(YEARS * np.exp(0.02 * AGE - 1))
GROUP = np.arange(N) % 12
COLUMNS = {
    "age": AGE,
    "colour": COLOUR,
    "years": YEARS,
    "größe": SIZE,
    "smokes": SMOKES,
    "claims": CLAIMS,
    "group": GROUP,
}
ONE_HOT = np.column_stack([AGE, COLOUR == "green", COLOUR == "red"]).astype(float)


def write(path, columns, rows=None):
    cells = list(zip(*columns.values(), strict=True)) if rows is None else rows
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *cells])
    return str(path)


@pytest.fixture(autouse=True)
def _without_picture(request, monkeypatch):
    if "report" not in request.node.name:
        monkeypatch.setattr("fastopt.cli.fit.picture.draw", lambda *_: None)


@pytest.fixture
def people(tmp_path):
    return write(tmp_path / "people.csv", COLUMNS)


@pytest.fixture
def fit(tmp_path, capsys):
    """Run `fastopt fit ... --json`; return the object printed."""

    def run(*args):
        code = main(["fit", *map(str, args), "--json", "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return json.loads(printed.out)

    return run


def used(*names):
    """Return the options that leave all columns but these out."""
    return ["--drop", ",".join(name for name in COLUMNS if name not in names)]


def numbers(result, key):
    return [own[key] for own in result["coefficients"]]


# The model

MODELS = [
    (("größe",), (), GLMRegressor(), SIZE, {}),
    (("größe", "years"), ("--weight", "years", "--cov-type", "HC1"),
     GLMRegressor(cov_type="HC1"), SIZE, {"sample_weight": YEARS}),
    (("größe", "years"), ("--freq-weight", "years"),
     GLMRegressor(), SIZE, {"freq_weight": YEARS}),
    (("claims", "years"), ("--family", "poisson", "--exposure", "years"),
     GLMRegressor("poisson"), CLAIMS, {"exposure": YEARS}),
    (("claims", "years"), ("--family", "negative_binomial", "--overdispersion", "0.5",
                           "--offset", "years"),
     GLMRegressor("negative_binomial", overdispersion=0.5), CLAIMS, {"offset": YEARS}),
    (("claims",), ("--family", "tweedie", "--power", "1.3", "--tol", "1e-10"),
     GLMRegressor("tweedie", power=1.3, tol=1e-10), CLAIMS, {}),
    (("claims", "group"), ("--family", "poisson", "--cov-type", "cluster", "--groups", "group"),
     GLMRegressor("poisson", cov_type="cluster"), CLAIMS, {"groups": GROUP}),
    (("größe",), ("--alpha", "0.5", "--l1-ratio", "0.3"),
     GLMRegressor(alpha=0.5, l1_ratio=0.3), SIZE, {}),
    (("größe",), ("--no-intercept",), GLMRegressor(fit_intercept=False), SIZE, {}),
    (("größe",), ("--solver", "adagrad", "--lr", "0.2", "--seed", "3", "--max-iter", "400"),
     GLMRegressor(solver="adagrad", eta0=0.2, random_state=3, max_iter=400), SIZE, {}),
    (("smokes",), (), GLMClassifier(), SMOKES, {}),
    (("smokes",), ("--link", "probit"), GLMClassifier("probit"), SMOKES, {}),
    (("years",), ("--family", "multinomial"), GLMClassifier(), YEARS, {}),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "options", "estimator", "y", "given"), MODELS)
def test_the_fit_is_that_of_the_estimator(fit, people, columns, options, estimator, y, given):
    result = fit(people, "--target", columns[0], *used("age", "colour", *columns), *options)
    estimator.fit(ONE_HOT, y, **given)
    expected = np.column_stack(
        [np.atleast_1d(estimator.intercept_), np.atleast_2d(estimator.coef_)]
    )
    if len(expected) > 1:  # of several classes, the first has no coefficients
        expected = expected[1:]
    if "--no-intercept" in options:
        expected = expected[:, 1:]
    np.testing.assert_allclose(numbers(result, "coef"), expected.ravel(), rtol=1e-9, atol=1e-12)
    names = ["const", "age", "colour=green", "colour=red"][-expected.shape[1] :]
    assert numbers(result, "name") == names * len(expected)
    if not hasattr(estimator, "fitted_") or estimator.alpha:
        assert set(numbers(result, "stderr")) == {None}
        return
    np.testing.assert_allclose(
        np.column_stack([numbers(result, "lower"), numbers(result, "upper")]),
        estimator.conf_int().reshape(-1, 2),
        rtol=1e-9,
    )
    assert result["fit"]["llf"] == pytest.approx(estimator.llf_, rel=1e-12)
    assert result["fit"]["converged"]


@pytest.mark.parametrize(
    ("family", "y", "kind", "n"),
    [
        (None, ["b", "a"] * 5, "GLMClassifier", "binomial"),
        (None, ["b", "a", "c"] * 4, "GLMClassifier", "multinomial"),
        (None, [0.5, 1, 2] * 4, "GLMRegressor", "gaussian"),
        ("binomial", [0, 1, 1, 0, 1] * 2, "GLMClassifier", "binomial"),
        ("binomial", [2, 1, 1, 2, 1] * 2, "GLMClassifier", "binomial"),
        ("binomial", [0.25, 0.75] * 5, "GLMRegressor", "binomial"),
        ("binomial", [0, 0.5, 1] * 4, "GLMRegressor", "binomial"),
    ],
)
def test_the_target_determines_the_estimator(fit, tmp_path, family, y, kind, n):
    path = write(tmp_path / "x.csv", {"a": np.arange(len(y)) ** 2 % 7, "y": y})
    result = fit(path, *([] if family is None else ["--family", family]))
    assert (result["model"]["estimator"], result["model"]["family"]) == (kind, n)


def test_a_target_of_0_and_1_without_a_family_is_noted(fit, tmp_path):
    path = write(tmp_path / "x.csv", {"a": range(9), "y": [0, 1, 1] * 3})
    assert "--family binomial" in fit(path)["notes"][0]


# The file


def test_files_with_equal_rows_give_equal_numbers(fit, tmp_path, people):
    table = fit(people, *used("age", "years", "größe"), "--target", "größe")
    np.savez(tmp_path / "x.npz", X=np.column_stack([AGE, YEARS]), y=SIZE)
    lines = [f"{y} 1:{a} 2:{b}" for y, a, b in zip(SIZE, AGE, YEARS, strict=True)]
    (tmp_path / "x.svm").write_text("\n".join(lines))
    write(tmp_path / "x.tsv", {"age\tyears\ty": 0}, [
        [f"{a}\t{b}\t{y}"] for a, b, y in zip(AGE, YEARS, SIZE, strict=True)
    ])  # fmt: skip
    for name in ("x.npz", "x.svm", "x.tsv"):
        result = fit(tmp_path / name)
        np.testing.assert_allclose(numbers(result, "coef"), numbers(table, "coef"), rtol=1e-10)
        np.testing.assert_allclose(numbers(result, "stderr"), numbers(table, "stderr"), rtol=1e-9)


def test_text_and_missing_values(fit, tmp_path, people):
    age, colour = AGE.astype(object), COLOUR.astype(object)
    age[3], colour[7], colour[9] = "", "NA", "?"
    path = write(tmp_path / "missing.csv", COLUMNS | {"age": age, "colour": colour})
    filled = np.where(np.arange(N) == 3, np.delete(AGE, 3).mean(), AGE)
    texts, counts = np.unique(np.delete(COLOUR, [7, 9]), return_counts=True)
    usual = texts[counts.argmax()]
    whole = COLUMNS | {
        "age": filled, "colour": np.where(np.isin(np.arange(N), [7, 9]), usual, COLOUR)
    }  # fmt: skip
    options = [*used("age", "colour", "größe"), "--target", "größe"]
    imputed = fit(path, *options, "--impute")
    assert imputed["notes"][:2] == [
        f"1 missing value of column 'age': replaced by the mean {filled[3]:.6g}.",
        f"2 missing values of column 'colour': replaced by the most frequent text {str(usual)!r}.",
    ]
    expected = fit(write(tmp_path / "whole.csv", whole), *options)
    np.testing.assert_allclose(numbers(imputed, "coef"), numbers(expected, "coef"), rtol=1e-9)


def test_a_column_is_text_if_a_late_cell_is(fit, tmp_path):
    code = ["1", "2"] * 3000 + ["A", "A"]
    path = write(tmp_path / "x.csv", {"code": code, "y": np.arange(6002) % 7})
    assert numbers(fit(path), "name") == ["const", "code=2", "code=A"]


def test_columns_without_effect_are_named(fit, tmp_path):
    columns = {"": range(20), "a": range(20), "b": [7] * 20, "twice": range(0, 40, 2)}
    columns |= {"one": ["DE"] * 20, "y": np.arange(20) ** 2 % 7}
    assert fit(write(tmp_path / "x.csv", columns))["notes"] == [
        "The first column has no name; it is left out.",
        "Column 'one' has the same text in all rows; it has no effect.",
        "Constant, or combinations of columns before: b, twice.",
    ]


def test_a_line_break_in_a_level_is_printed_as_an_escape(fit, tmp_path):
    path = write(tmp_path / "x.csv", {"a": ["p", "q\nr"] * 6, "y": np.arange(12) % 5})
    assert numbers(fit(path), "name") == ["const", "a=q\\nr"]


# What is printed and written


def test_the_report_and_the_files(people, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    options = [*used("age", "colour", "smokes"), "--target", "smokes", "--out", str(out)]
    for _ in range(2):  # files of the command are replaced
        assert main(["fit", people, *options]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        for text in (
            "Dep. Variable:                  smokes",
            "colour=red",
            "Column 'colour' is text: 3 levels, baseline 'blue, dark'.",
            "The model is that of the probability of 'yes', not of 'no'.",
            f"Picture: {out / 'fit.png'}",
        ):
            assert text in printed.out
        assert sorted(os.listdir(out)) == ["fit.json", "fit.png", "model.json"]
    result = json.loads((out / "fit.json").read_text())
    assert result["data"]["rows"] == N
    assert result["model"]["classes"] == ["no", "yes"]
    assert b"\x89PNG" in (out / "fit.png").read_bytes()[:8]


@pytest.mark.parametrize("name", ["model.json", "fit.json", "fit.png"])
def test_files_of_others_are_not_replaced(people, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert main(["fit", people, "--out", str(tmp_path)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


def test_a_fit_that_has_not_converged_says_so(tmp_path, capsys):
    path = write(tmp_path / "x.csv", {"a": range(20), "y": ["no"] * 10 + ["yes"] * 10})
    assert main(["fit", path, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("fastopt fit: warning: the likelihood has no maximum")
    assert "The fit has not converged" in printed.out
    assert not json.loads((tmp_path / "fit.json").read_text())["fit"]["converged"]


def test_an_interrupted_fit_is_kept(people, tmp_path, capsys, monkeypatch):
    from fastopt.estimators.scoring.rounds import Scoring

    begin, calls = Scoring.begin, []

    def interrupt(self, v, at):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        begin(self, v, at)

    monkeypatch.setattr(Scoring, "begin", interrupt)
    options = [*used("age", "claims"), "--target", "claims", "--family", "poisson"]
    assert main(["fit", people, *options, "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert "has not converged: interrupted in round" in printed.err
    assert "Picture: none" in printed.out
    assert not json.loads((tmp_path / "model.json").read_text())["converged"]


def test_an_early_interrupt_writes_nothing(people, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastopt.cli.fit.fitting.prepare", interrupt)
    assert main(["fit", people, "--out", str(tmp_path / "out")]) == 130
    assert "no file was written" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == []


def test_coefficients_that_are_not_finite_are_not_written():
    model = GLMRegressor().fit(ONE_HOT, SIZE)
    model.coef_[1] = np.nan
    with pytest.raises(FastoptError, match="not finite"):
        model_values(model, "y", ["a", "b", "c"], None, None)


# Errors

USAGE = [
    (["--alpha", "-1"], "'-1' is not a finite number >= 0"),
    (["--l1-ratio", "2"], "'2' is not a number from 0 to 1"),
    (["--family", "cauchy"], "cauchy"),
    (["--max-iter", "0"], "'0' is not a whole number >= 1"),
]


@pytest.mark.parametrize(("options", "message"), USAGE)
def test_bad_usage(capsys, options, message):
    with pytest.raises(SystemExit) as left:
        main(["fit", "x.csv", *options])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


REFUSED = [
    ("", [], "the file is empty"),
    ("a,y\n", [], "no rows below the line with the names"),
    ("1,2\n3,4\n", [], "the first line has numbers only (1, 2)"),
    ("a,a,y\n1,2,3\n", [], "two columns are named 'a'"),
    ("a,,y\n1,2,3\n", [], "column 2 has no name"),
    ("a,y\n1,2\n3\n", [], "line 3: 1 cell; the first line has 2"),
    ("a,y\n1,2\n,3\n", [], "line 3: column 'a' is missing; `fastopt fit --impute`"),
    ("a,y\nx,2\n\nNA,3\n", [], "line 4: column 'a' is missing"),
    ("a,y\n,2\n,3\n", ["--impute"], "column 'a' has no values"),
    ("a,y\n1,2\n1,\n", ["--impute"], "line 3: column 'y' (--target) is missing"),
    ("a,y\n1,2\ninf,3\n", [], "line 3: column 'a' is inf"),
    ("a;y\n1,5;2\n2,5;3\n", [], "column 'a' is '1,5'; a number must have a decimal point"),
    ("a,y\n1,yes\n2,yes\n", [], "the target 'y' is 'yes' in all rows"),
    ("a,y\n1,yes\n2,no\n", ["--family", "poisson"], "the target 'y' is text, such as 'no'"),
    ("a,y\n1,-2\n2,3\n", ["--family", "poisson"], "has values from -2 to 3; the poisson family"),
    ("a,y\n1,2\n2,3\n3,4\n", ["--family", "binomial"], "--family multinomial are needed"),
    ("a,y\n1,b\n2,c\n3,d\n", ["--family", "binomial"], "has more than two labels"),
    ("a,y\n1,2\n2,3\n", ["--target", "z"], "--target is 'z'; the columns are 'a', 'y'"),
    ("a,y\n1,2\n2,3\n", ["--drop", "z"], "--drop is 'z'; the columns are 'a', 'y'"),
    ("a,y\n1,2\n2,3\n", ["--drop", "a", "--weight", "a"], "--drop names 'a', which another"),
    ("a,y\n1,2\n2,3\n", ["--target", "a", "--weight", "a"], "'a' is both --"),
    ("a,y\n1,2\n0,3\n", ["--exposure", "a"], "line 3: column 'a' (--exposure) is 0; allowed: > 0"),
    ("a,y\n1,2\n2,3\n", ["--exposure", "a"], "--exposure needs the log link"),
    ("a,w,y\n1,1,2\n2,-1,3\n", ["--weight", "w"], "(--weight) is -1; allowed: >= 0"),
    ("a,w,y\n1,p,2\n2,q,3\n", ["--weight", "w"], "--weight is 'w', a column of text"),
    ("a,y\n1,2\n2,3\n", ["--power", "1.5"], "--power needs --family tweedie"),
    ("a,y\n1,2\n2,3\n", ["--solver", "newton"], "--solver is 'newton'; allowed: 'auto'"),
    ("a,y\n1,2\n2,3\n", ["--cov-type", "HC9"], "--cov-type is 'HC9'"),
    ("a,y\n1,2\n2,3\n", ["--cov-type", "HC0", "--alpha", "1"], "so --cov-type nonrobust is needed"),
    ("a,y\n1,2\n2,3\n", ["--groups", "a"], "--groups are needed for --cov-type cluster"),
    ("a,y\n1,p\n2,q\n3,r\n", ["--link", "probit"], "is supported with --link probit; y has 3"),
    (
        "a,y\n1,2\n2,3\n3,9\n4,0\n",
        ["--family", "poisson", "--solver", "sgd", "--lr", "1e300"],
        "use a smaller --lr, now 1e+300",
    ),
    ("a,y\n1,2\n2,3\n", ["--link", "log"], "--link is 'log' for the gaussian family"),
]


@pytest.mark.parametrize(("text", "options", "message"), REFUSED)
def test_what_cannot_be_fitted_is_one_line(tmp_path, capsys, text, options, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert main(["fit", str(path), *options, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.txt", b"a", [], "the name must end in one of .csv, .tsv, .npz, .parquet, .svm"),
        ("x.csv", "größe,y\n1,2".encode("latin-1"), [], "not text in UTF-8"),
        ("x.npz", b"a", [], "not an npz file"),
        ("x.svm", b"a b c", [], "not in svmlight's format"),
        ("x.svm", b"1 1:2\n2 1:3", ["--weight", "w"], "--weight needs columns with names"),
        ("x.svm", b"1 99999:2\n2 1:3", [], "99,999 columns are too many for standard errors"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, capsys, name, content, options, message):
    (tmp_path / name).write_bytes(content)
    assert main(["fit", str(tmp_path / name), *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((["fit"], name) for name in ("x.csv", "x.npz", "x.parquet", "x.svm", "x.txt")),
        *((["predict", "model.json"], name) for name in ("x.csv", "x.parquet")),
        (["predict", "x.json"], "x.json"),
        *((["race"], name) for name in ("x.csv", "x.npz", "x.svm")),
    ],
)
def test_a_file_that_does_not_exist(tmp_path, capsys, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", write(tmp_path / "a.csv", {"a": [1, 2, 4], "y": [2, 3, 2]})]) == 0
    capsys.readouterr()
    assert main([*command, name]) == 2
    expected = f"fastopt {command[0]}: error: no such file: {name}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Increase max_iter or tol, or use alpha > 0",
            "Increase --max-iter or --tol, or use --alpha > 0",
        ),
        ("max_iter=1 rounds", "--max-iter 1 rounds"),
        ("the link is 'logit', and the target 'tol' or 'offset' is", None),
        ("column 'alpha is' of the gaussian family allows power", None),
    ],
)
def test_messages_name_options(text, expected):
    assert in_options(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("formula", "hint"),
    [
        ("y ~ a + offset(b)", "leave it out and use --offset b"),
        ("y ~ a + offset(log(b))", "leave it out and use --exposure b"),
        ("y ~ offset(b / 2)", "use the argument offset"),
    ],
)
def test_an_offset_in_a_formula_is_an_option(tmp_path, capsys, formula, hint):
    pytest.importorskip("formulaic")
    path = write(tmp_path / "x.csv", {"a": [1, 2, 4], "b": [1, 2, 3], "y": [2, 3, 2]})
    assert main(["fit", path, "--formula", formula, "--out", str(tmp_path)]) == 2
    assert hint in capsys.readouterr().err


def test_arrays_that_cannot_be_used(tmp_path, capsys):
    for arrays, message in (
        ({"Z": AGE}, "an array X is needed"),
        ({"X": AGE, "y": SIZE}, "X has shape (120,)"),
        ({"X": ONE_HOT, "y": SIZE[:3]}, "y has shape (3,)"),
        ({"X": ONE_HOT, "z": SIZE}, "--target is 'y'; the columns are 'x1', 'x2', 'x3', 'z'"),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        assert main(["fit", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "is_safe"),
    [
        ("C(a, contr.treatment('b'))", True),
        ("bs(a, df=4, degree=3) + np.log(b) ** 2", True),
        ("I((a > 0) * -b)", True),
        ("__import__('os').system('ls')", False),
        ("eval('1')", False),
        ("C(open('x'))", False),
        ("a.__class__", False),
        ("np.fromfile('x')", False),
        ("np.linalg.norm(a)", False),
        ("[b for b in a]", False),
        ("(lambda: a)()", False),
        ("a[0]", False),
        ("f'{a}'", False),
        ("center(**a)(b)", False),
    ],
)
def test_formulas_run_no_other_code(expression, is_safe):
    assert _is_safe(expression) is is_safe


# The display


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_terminal_shows_the_passes(people, tmp_path, monkeypatch, is_terminal):
    monkeypatch.setattr("fastopt.cli.fit.display._PATIENCE", -1.0)
    monkeypatch.setattr("sys.stderr", Stream(is_terminal))
    monkeypatch.setenv("TERM", "xterm")
    assert main(["fit", people, "--out", str(tmp_path)]) == 0
    shown = sys.stderr.getvalue()
    assert ("pass 1 over the rows" in shown) is is_terminal
    assert (f"Reading {people}" in shown) is is_terminal
    assert is_terminal or shown == ""

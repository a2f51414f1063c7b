"""`fastopt predict`: what a model file predicts, and which files it refuses."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastopt.cli import main
from fastopt.estimators import GLMClassifier, GLMRegressor

RNG = np.random.default_rng(1)
N = 150
A = RNG.normal(5, 2, N).round(3)
B = RNG.choice(["x", "y", "10"], N)
T = RNG.integers(1, 4, N)
COUNT = RNG.poisson(T * np.exp(0.1 * A))
LABEL = np.where(RNG.random(N) < 1 / (1 + np.exp(5 - A)), "yes", "no")
ONE_HOT = np.column_stack([A, B == "x", B == "y"]).astype(float)
COLUMNS = {"a": A, "b": B, "t": T, "count": COUNT, "label": LABEL}


def write(path, columns):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    return str(path)


@pytest.fixture(autouse=True)
def _without_picture(monkeypatch):
    monkeypatch.setattr("fastopt.cli.fit.picture.draw", lambda *_: None)


@pytest.fixture
def predicted(tmp_path, capsys):
    """Fit and predict; return the header and the rows of the predictions."""

    def run(fit, options=(), predict=(), new=COLUMNS):
        path = write(tmp_path / "fit.csv", fit)
        assert main(["fit", path, *options, "--out", str(tmp_path)]) == 0
        path = write(tmp_path / "new.csv", new)
        out = tmp_path / "predictions.csv"
        capsys.readouterr()
        command = ["predict", str(tmp_path / "model.json"), path, *predict]
        assert main([*command, "--out", str(out)]) == 0
        assert capsys.readouterr() == ("", "")
        assert main(command) == 0
        assert capsys.readouterr().out == out.read_text()
        header, *rows = csv.reader(out.read_text().splitlines())
        return header, rows

    return run


def columns(*names):
    return {name: COLUMNS[name] for name in names}


def test_means_with_intervals_are_those_of_the_estimator(predicted):
    header, rows = predicted(
        columns("a", "b", "t", "count"),
        ["--family", "poisson", "--exposure", "t"],
        ["--interval", "0.9"],
    )
    model = GLMRegressor("poisson").fit(ONE_HOT, COUNT, exposure=T)
    assert header == ["prediction", "lower", "upper"]
    expected = np.column_stack(model.predict(ONE_HOT, exposure=T, interval=0.9))
    np.testing.assert_allclose(np.array(rows, float), expected, rtol=1e-9)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_labels_and_probabilities_are_those_of_the_estimator(predicted, link):
    header, rows = predicted(columns("a", "b", "label"), ["--link", link], ["--interval", "0.95"])
    model = GLMClassifier(link).fit(ONE_HOT, LABEL)
    assert header == ["prediction", "P(no)", "P(yes)", "lower", "upper"]
    assert [row[0] for row in rows] == model.predict(ONE_HOT).tolist()
    own, lower, upper = model.predict_proba(ONE_HOT, interval=0.95)
    expected = np.column_stack([own, lower[:, 1], upper[:, 1]])
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), expected, rtol=1e-9)


@pytest.mark.parametrize("options", [[], ["--alpha", "0.1"], ["--alpha", "0.1", "--l1-ratio", "1"]])
def test_several_classes(predicted, options):
    header, rows = predicted(
        columns("a", "b", "t"), ["--family", "multinomial", *options], new=columns("b", "a")
    )
    alpha, ratio = float("--alpha" in options) * 0.1, float("--l1-ratio" in options)
    model = GLMClassifier(alpha=alpha, l1_ratio=ratio).fit(ONE_HOT, T)
    assert header == ["prediction", "P(1)", "P(2)", "P(3)"]
    assert [row[0] for row in rows] == model.predict(ONE_HOT).astype(str).tolist()
    found = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(found, model.predict_proba(ONE_HOT), rtol=1e-6)


def test_epochs_and_text_that_looks_like_numbers(predicted):
    options = ["--solver", "adam", "--seed", "1", "--target", "count", "--drop", "t,label"]
    _, rows = predicted(COLUMNS, options, new={"a": [5.0, 5.0], "b": ["10", "10"]})
    model = GLMRegressor(solver="adam", random_state=1).fit(ONE_HOT, COUNT)
    expected = model.predict([[5.0, 0.0, 0.0]] * 2)
    np.testing.assert_allclose(np.array(rows, float)[:, 0], expected, rtol=1e-9)


def test_missing_values_are_replaced_as_in_the_fit(predicted):
    fit = columns("a", "b", "count")
    new = {"a": ["", 2.0], "b": ["x", "NA"]}
    _, rows = predicted(fit, ["--impute"], new=new)
    texts, counts = np.unique(B, return_counts=True)
    usual = texts[counts.argmax()]
    _, expected = predicted(fit, new={"a": [A.sum() / N, 2.0], "b": ["x", usual]})
    assert rows == expected


def test_arrays_and_svmlight(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", X=ONE_HOT, y=COUNT)
    lines = [" ".join([str(y), *(f"{j + 1}:{v}" for j, v in enumerate(x) if v)])
             for x, y in zip(ONE_HOT, COUNT, strict=True)]  # fmt: skip
    (tmp_path / "x.svm").write_text("\n".join(lines))
    (tmp_path / "new.svm").write_text(lines[0] + "\n0 1:5")
    np.savez(tmp_path / "new.npz", X=np.array([ONE_HOT[0], [5, 0, 0]]))
    shown = []
    for ending in ("npz", "svm"):
        assert main(["fit", str(tmp_path / f"x.{ending}"), "--out", str(tmp_path)]) == 0
        capsys.readouterr()
        new = str(tmp_path / f"new.{ending}")
        assert main(["predict", str(tmp_path / "model.json"), new]) == 0
        shown.append(capsys.readouterr().out.split()[1:])
    expected = GLMRegressor().fit(ONE_HOT, COUNT).predict(np.array([ONE_HOT[0], [5, 0, 0]]))
    for lines in shown:
        np.testing.assert_allclose(np.array(lines, float), expected, rtol=1e-9)


# Errors


@pytest.fixture
def model(tmp_path, capsys):
    path = write(tmp_path / "fit.csv", columns("a", "b", "count"))
    assert main(["fit", path, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path / "model.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n", "there is no column 'b', which the model needs; the columns are 'a'"),
        ("a,b\n1,x\n2,z\n", "line 3: column 'b' is 'z', which does not occur in the data of the"),
        ("a,b\n1,x\n?,y\n", "line 3: column 'a' is missing"),
        ("a,b\n1,x\none,y\n", "line 3: column 'a' is 'one'; it was a column of numbers"),
        ("", "the file is empty"),
    ],
)
def test_rows_that_cannot_be_predicted_leave_no_file(tmp_path, capsys, model, text, message):
    new, out = tmp_path / "new.csv", tmp_path / "p.csv"
    new.write_text(text)
    before = sorted(tmp_path.iterdir())
    assert main(["predict", str(model), str(new), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def change(**values):
    return lambda model: json.dumps(json.loads(model) | values)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda _: "", "not a model file of `fastopt fit`"),
        (lambda _: "[1]", "not a model file of `fastopt fit`"),
        (change(format="pickle"), "not a model file of `fastopt fit`"),
        (change(version=2), "version 2 of a model file; 1 is needed"),
        (change(coef=[[1.0]]), "a damaged model file"),
        (change(coef=None), "a damaged model file"),
        (change(columns=[{"name": "a", "levels": None}]), "a damaged model file"),
        (change(parameters={"family": "gaussian", "solver": "x", "nothing": 1}), "a damaged model"),
    ],
)
def test_damaged_models(tmp_path, capsys, model, changed, message):
    model.write_text(changed(model.read_text()))
    assert main(["predict", str(model), str(tmp_path / "fit.csv")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_what_is_read_is_not_replaced(tmp_path, capsys, model):
    data = tmp_path / "fit.csv"
    for path in (model, data):
        assert main(["predict", str(model), str(data), "--out", str(path)]) == 2
        assert "which is read" in capsys.readouterr().err


def test_a_reader_may_close_the_pipe(tmp_path, model):
    """A reader that closes the pipe, as `head` does, is no error."""
    parent, child = os.pipe()
    os.close(parent)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "fastopt", "predict", str(model), str(tmp_path / "fit.csv")],
        stdout=child, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(child)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_an_interval_needs_standard_errors(tmp_path, capsys):
    path = write(tmp_path / "fit.csv", columns("a", "count"))
    assert main(["fit", path, "--alpha", "1", "--out", str(tmp_path)]) == 0
    model = str(tmp_path / "model.json")
    assert main(["predict", model, path, "--interval", "0.9"]) == 2
    assert "the model has no standard errors: it has a penalty" in capsys.readouterr().err

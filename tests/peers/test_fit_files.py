"""`fastopt fit` and `fastopt predict` on parquet files and with formulas."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastopt.cli import main
from fastopt.cli.fit.model_file import load_model
from fastopt.estimators import GLMRegressor

RNG = np.random.default_rng(2)
N = 500
FRAME = pd.DataFrame(
    {
        "a": RNG.normal(5, 1, N).round(3),
        "my b": RNG.choice(["x", "y", "z"], N),
        "k": RNG.integers(1, 4, N),
        "flag": RNG.random(N) < 0.5,
        "when": pd.Timestamp("2020-01-01"),
        "y": RNG.poisson(3.0, N),
    }
)


@pytest.fixture(autouse=True)
def _without_picture(monkeypatch):
    monkeypatch.setattr("fastopt.cli.fit.picture.draw", lambda *_: None)


@pytest.fixture
def fitted(tmp_path, capsys):
    """Fit a file; return the result and the predictions for another."""

    def run(path, new, *options, predict=()):
        assert main(["fit", str(path), *options, "--json", "--out", str(tmp_path)]) == 0
        result = json.loads(capsys.readouterr().out)
        assert main(["predict", str(tmp_path / "model.json"), str(new), *predict]) == 0
        return result, pd.read_csv(io.StringIO(capsys.readouterr().out))

    return run


@pytest.fixture
def files(tmp_path):
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    # Dictionaries of each row group have their own order; the index is the last column.
    table = pa.Table.from_pandas(FRAME.astype({"my b": "category"}).set_index(RNG.permutation(N)))
    assert table.column_names[-1] == "__index_level_0__"
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=64)
    return tmp_path / "x.csv", tmp_path / "x.parquet"


def test_parquet_and_csv_give_equal_fits(fitted, files):
    options = ["--drop", "when,flag", "--family", "poisson"]
    text, own = (fitted(path, files[1], *options) for path in files)
    for key in ("coef", "stderr"):
        numbers = [[own[key] for own in result[0]["coefficients"]] for result in (text, own)]
        np.testing.assert_allclose(*numbers, rtol=1e-9)
    np.testing.assert_allclose(text[1].to_numpy(), own[1].to_numpy(), rtol=1e-12)


def test_columns_that_are_not_read_are_named(files, tmp_path, capsys):
    assert main(["fit", str(files[1]), "--out", str(tmp_path)]) == 2
    assert "column 'when' has type timestamp[" in capsys.readouterr().err


def test_missing_values_of_parquet(fitted, tmp_path, capsys):
    frame = FRAME.drop(columns=["when", "flag"])
    frame.loc[3, "a"] = None
    frame.loc[7, "my b"] = None
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert main(["fit", str(tmp_path / "x.parquet"), "--out", str(tmp_path)]) == 2
    assert "row 7 (counted from 0): column 'my b' is missing" in capsys.readouterr().err
    paths = [tmp_path / "x.csv", tmp_path / "x.parquet"]
    text, own = (fitted(path, path, "--impute") for path in paths)
    np.testing.assert_allclose(
        [own["coef"] for own in own[0]["coefficients"]],
        [own["coef"] for own in text[0]["coefficients"]],
        rtol=1e-12,
    )
    assert own[0]["notes"] == text[0]["notes"]


FORMULAS = [
    "y ~ a + C(k) * `my b`",
    "y ~ center(a) + poly(a, 2) + np.log(a) - 1",
    "np.sqrt(y + 1) ~ bs(a, df=4) + flag",
    "y ~ scale(a):C(k, contr.sum) + I(a > 5)",
]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_formulas(fitted, files, formula, ending):
    path = next(path for path in files if path.suffix == f".{ending}")
    result, found = fitted(path, path, "--formula", formula, predict=["--interval", "0.9"])
    model = GLMRegressor(formula=formula).fit(FRAME)
    coefs = [own["coef"] for own in result["coefficients"]]
    np.testing.assert_allclose(coefs, model.fitted_.coef, rtol=1e-8, atol=1e-10)
    expected = np.column_stack(model.predict(FRAME, interval=0.9))
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-8)


def test_a_formula_in_a_model_file_runs_no_code(fitted, files, tmp_path, capsys):
    fitted(files[0], files[0], "--formula", "y ~ C(k)")
    path = tmp_path / "model.json"
    for code in ("C(open('owned', 'w'))", "C(k.__class__)", "eval('1')", "np.load('x')"):
        values = json.loads(path.read_text())
        values["formula"]["text"] = f"y ~ {code}"
        bad = tmp_path / "bad.json"
        bad.write_text(json.dumps(values))
        assert main(["predict", str(bad), str(files[0])]) == 2
        assert "--formula has" in capsys.readouterr().err
    assert load_model(path).column_names == ["k"]


def test_formulas_that_cannot_be_saved_are_refused_before_the_fit(files, tmp_path, capsys):
    for formula, message in (
        ("y ~ lag(a)", "--formula has 'lag(a)'"),
        ("y ~ nothing", "--formula is 'nothing'; the columns are"),
        ("y ~ a +", "Operator `+`"),
        ("a ~ k + y", None),
    ):
        code = main(["fit", str(files[0]), "--formula", formula, "--out", str(tmp_path / "out")])
        assert code == (0 if message is None else 2)
        assert message is None or message in capsys.readouterr().err

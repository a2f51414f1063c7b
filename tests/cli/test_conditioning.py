"""`fastopt race --conditioning`: the sample, the search for learning rates, and the result."""

import json
import math
from itertools import islice

import numpy as np
import pytest
from matplotlib.axes import Axes

from fastopt import FastoptError, KalmanSGD
from fastopt.cli import main
from fastopt.cli.conditioning import command, measure
from fastopt.cli.conditioning.measure import FILTERS, RULES, one_pass, outcomes, search
from fastopt.cli.conditioning.sample import draw_sample


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(command, "_SHAPE", (200, 3))
    monkeypatch.setattr(command, "_DECADES", 2)


def loss(sample, w):
    return np.mean((sample.X @ w - sample.y) ** 2) / 2


def test_sample_has_the_condition_number_and_the_noise():
    sample = draw_sample(1e4, 100_000, 5, seed=3)
    covariance = sample.root @ sample.root.T
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), np.logspace(0, 4, 5), rtol=1e-10)
    # Rescaling of the features does not remove the condition number.
    scale = np.sqrt(np.diag(covariance))
    assert np.linalg.cond(covariance / np.outer(scale, scale)) > 1e3
    whitened = sample.X @ np.linalg.inv(sample.root).T
    np.testing.assert_allclose(whitened.T @ whitened / 100_000, np.eye(5), atol=0.02)
    assert np.var(sample.y - sample.X @ sample.truth) == pytest.approx(1, abs=0.02)


def test_excess_is_the_loss_minus_the_least_loss():
    sample, w = draw_sample(100.0, 400, 4, seed=1), np.array([1.0, -2.0, 0.5, 3.0])
    apart = loss(sample, w) - loss(sample, sample.minimizer)
    assert sample.excess_on_rows(w) == pytest.approx(apart, rel=1e-12)
    d = w - sample.truth
    assert sample.excess(w) == pytest.approx(d @ sample.root @ sample.root.T @ d / 2, rel=1e-12)
    # The loss of a large sample approximates the expected loss.
    large = draw_sample(100.0, 200_000, 4, seed=2)
    apart = loss(large, w) - loss(large, large.truth)
    assert large.excess(w) == pytest.approx(apart, rel=0.02)


def test_rates_in_one_optimizer_are_independent():
    sample, rates = draw_sample(100.0, 50, 4, seed=1), [1e-4, 1e-3, 1e3]
    reached = one_pass(sample, "nesterov", rates)
    for rate, row in zip(rates[:2], reached, strict=False):
        w, buffer = np.zeros(4), np.zeros(4)
        for x, y in zip(sample.X, sample.y, strict=True):
            gradient = (x @ w - y) * x
            buffer = 0.9 * buffer + gradient
            w -= rate * (gradient + 0.9 * buffer)
        np.testing.assert_allclose(row, w, rtol=1e-10)
    assert np.abs(reached[2]).max() > 1e100


@pytest.mark.parametrize("rule", RULES)
def test_search_grows_until_the_best_rate_is_inside(rule, monkeypatch):
    sample = draw_sample(1e6, 300, 4, seed=0)
    wide = search(sample, rule)
    monkeypatch.setattr(measure, "_HALF_WIDTH", 1)
    grown = search(sample, rule)
    for outcome in (wide, grown):
        assert outcome.inside
        assert outcome.excess == np.nanmin(outcome.excesses) < sample.excess(np.zeros(4))
        assert outcome.lr == outcome.rates[outcome.excesses.index(outcome.excess)]
    assert len(wide.rates) >= 8
    assert len(grown.rates) > 3


def test_kalman_sgd_is_insensitive_to_the_condition_number():
    for decade in range(0, 13, 4):
        sample = draw_sample(10.0**decade, 5000, 20, seed=0)
        plain, square_root = islice(outcomes(sample), len(FILTERS))
        assert square_root.excess_on_rows < 1e-18
        assert plain.excess_on_rows < (1e-10 if decade <= 8 else 1e-5)
        assert plain.excess == pytest.approx(square_root.excess, rel=0.02)
        if decade == 8:
            assert plain.excess_on_rows <= 1e-11


def test_json_and_picture(small, tmp_path, capsys):
    assert main(["race", "--conditioning", "--seed", "4", "--json", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.err == ""
    assert not result["interrupted"]
    assert (result["rows"], result["features"], result["seed"]) == (200, 3, 4)
    assert [found["condition"] for found in result["results"]] == [1.0, 10.0, 100.0]
    for found in result["results"]:
        assert [rule["rule"] for rule in found["rules"]] == [*FILTERS, *RULES]
        for rule in found["rules"][len(FILTERS) :]:
            assert rule["best_is_inside"]
            assert len(rule["learning_rates"]) == len(rule["excess_losses"]) >= 8
            assert rule["excess_loss"] == min(e for e in rule["excess_losses"] if e is not None)
    picture = tmp_path / "conditioning.png"
    assert result["picture"] == str(picture)
    assert b"fastopt race" in picture.read_bytes()[:1000]


def test_table_fits_80_columns_and_marks_a_best_at_the_edge(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(measure, "_HALF_WIDTH", 1)
    monkeypatch.setattr(measure, "_MOST_RATES", 3)
    assert main(["race", "--conditioning", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert KalmanSGD(1).m0 is None
    assert "m0=" not in " ".join(lines)
    rows = [line.split() for line in lines if line.startswith(" 1e+")]
    assert [row[0] for row in rows] == ["1e+00", "1e+01", "1e+02"]
    assert all(len(row) == 1 + len(FILTERS) + len(RULES) + len(FILTERS) for row in rows)
    assert any(cell.endswith("*") for row in rows for cell in row)
    assert any(line.startswith("*: the best rate is at the edge of the grid") for line in lines)
    assert all(math.isfinite(float(cell.rstrip("*"))) for row in rows for cell in row)


def test_table_is_printed_even_if_the_picture_cannot_be_written(
    small, tmp_path, capsys, monkeypatch
):
    def fail(*_args):
        raise OSError("No space left on device")

    monkeypatch.setattr("fastopt.cli.conditioning.picture.draw", fail)
    assert main(["race", "--conditioning", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert " 1e+00 " in printed.out
    assert printed.err == "fastopt race: error: No space left on device\n"


def test_a_filter_that_refuses_the_data_is_shown_as_failed(small, tmp_path, capsys, monkeypatch):
    """With some BLAS libraries, mode "plain" refuses data of condition number 1e12."""

    class Failing(KalmanSGD):
        def partial_fit(self, X, y):
            if self.mode == "plain" and np.linalg.cond(X) > 5:
                raise FastoptError("the covariance is no longer positive definite")
            return super().partial_fit(X, y)

    monkeypatch.setattr(measure, "KalmanSGD", Failing)
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *args, **more: drawn.append(more.get("label")) or plot(*args, **more)
    )
    args = ["race", "--conditioning", "--out", str(tmp_path)]
    assert main(args) == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith(" 1e+")]
    assert [row[1] == "failed" for row in rows] == [False, False, True]
    assert rows[2][-2] == "failed"
    assert math.isfinite(float(rows[2][2]))
    out = " ".join(printed.out.split())
    assert "ksgd failed at 1e+02: the covariance is no longer positive definite." in out
    assert drawn.count("ksgd failed") == 2
    assert main([*args, "--json"]) == 0
    ksgd = [found["rules"][0] for found in json.loads(capsys.readouterr().out)["results"]]
    assert [found["excess_loss"] is None for found in ksgd] == [False, False, True]
    assert ksgd[2]["failure"] == "the covariance is no longer positive definite"


@pytest.mark.parametrize("completed", [0, 2])
def test_ctrl_c_shows_the_completed_condition_numbers(
    completed, small, tmp_path, capsys, monkeypatch
):
    def interrupted(sample):
        if sample.condition == 10.0**completed:
            raise KeyboardInterrupt
        return outcomes(sample)

    monkeypatch.setattr(measure, "outcomes", interrupted)
    args = ["race", "--conditioning", "--out", str(tmp_path)]
    assert main(args) == 130
    printed = capsys.readouterr()
    rows = [line.split()[0] for line in printed.out.splitlines() if line.startswith(" 1e+")]
    assert rows == ["1e+00", "1e+01"][:completed]
    message = f"Interrupted; condition numbers from 1e+0{completed} to 1e+02 are missing\n"
    assert printed.err == message
    assert (tmp_path / "conditioning.png").exists() == bool(completed)
    if completed:
        assert main([*args, "--json"]) == 130
        result = json.loads(capsys.readouterr().out)
        assert result["interrupted"]
        assert len(result["results"]) == completed


def test_table_on_a_narrow_terminal_continues_below(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["race", "--conditioning", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 40
    assert "…" not in "".join(lines)
    rows = [line.split()[1:] for line in lines if line.startswith(" 1e+00")]
    assert len(rows) > 1
    assert sum(map(len, rows)) == len(FILTERS) + len(RULES) + len(FILTERS)


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["data.csv"], "DATA"),
        (["--batch-size", "3"], "--batch-size"),
        (["--lr", "1"], "--lr"),
        (["--no-header"], "--no-header"),
    ],
)
def test_arguments_of_the_race_are_refused(args, option, tmp_path, capsys):
    assert main(["race", "--conditioning", *args, "--out", str(tmp_path)]) == 2
    assert f"{option} cannot be combined with --conditioning" in capsys.readouterr().err


def test_other_pictures_are_not_overwritten(tmp_path, capsys):
    picture = tmp_path / "conditioning.png"
    picture.write_bytes(b"mine")
    assert main(["race", "--conditioning", "--out", str(tmp_path)]) == 2
    assert "was not drawn by fastopt race" in capsys.readouterr().err
    assert picture.read_bytes() == b"mine"

"""`fastopt race`: what it prints and draws, how it trains, and how it fails."""

import copy
import dataclasses
import itertools
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from race_cases import make_run, table, trained, write_csv

import fastopt
from fastopt import optimizers
from fastopt.batching import Batches
from fastopt.cli import main
from fastopt.cli.picture import STYLES
from fastopt.cli.race import run as run_module
from fastopt.cli.race.data.load import load
from fastopt.cli.race.display import Display
from fastopt.cli.race.picture import draw
from fastopt.cli.race.problem import pose
from fastopt.cli.race.reasons import reasons
from fastopt.cli.race.rules import (
    DEFAULT_RULES,
    FILTERS,
    RULES,
    is_too_large,
    learning_rate,
    options,
)

# The rules on the digits


def test_every_rule_reads_digits_with_more_than_90_percent_accuracy(race, tmp_path):
    code, result = race("--rules", ",".join(set(RULES) - set(FILTERS)))
    assert code == 0
    rules = result["rules"]
    assert sorted(r["rule"] for r in rules) == sorted(set(RULES) - set(FILTERS))
    assert {r["rule"]: r["held_out_score"] for r in rules if r["held_out_score"] < 0.9} == {}
    assert {r["note"] for r in rules} == {""}
    assert [r["train_loss"] for r in rules] == sorted(r["train_loss"] for r in rules)
    assert len({r["history"]["train_loss"][0] for r in rules}) == 1
    assert all(len(r["history"]["seconds"]) == 26 for r in rules)
    assert result["model"] == {
        "kind": "mlp",
        "sizes": [64, 64, 10],
        "loss": "softmax",
        "parameters": 4810,
        "dtype": "float32",
    }
    assert result["picture"] == str(tmp_path / "out" / "race.png")


def test_kalman_sgd_reads_digits_with_more_than_90_percent_accuracy_in_two_epochs(race):
    code, result = race("--rules", "ksgd", "--epochs", "2", "--lr", "0.1")
    assert code == 0
    (ksgd,) = result["rules"]
    assert ksgd["held_out_score"] > 0.9
    assert ksgd["learning_rate"] is None
    assert ksgd["batch_size"] == 1
    assert not ksgd["diverged"]


def test_ksgd_full_takes_part_only_if_it_is_named(race, csv_file):
    _, result = race(csv_file, "--epochs", "1")
    assert {r["rule"] for r in result["rules"]} == set(DEFAULT_RULES)
    assert "ksgd_full" not in DEFAULT_RULES
    _, result = race(csv_file, "--epochs", "1", "--rules", "ksgd_full")
    assert [r["rule"] for r in result["rules"]] == ["ksgd_full"]
    assert result["left_out"] == []


def test_all_stands_for_every_rule(race, csv_file, monkeypatch):
    """A filter is stopped after 10 seconds, since it is not named."""
    slow_clock(monkeypatch, 3.0)
    _, result = race(csv_file, "--epochs", "1", "--rules", "ALL")
    assert {r["rule"] for r in result["rules"]} == set(RULES) - set(FILTERS)
    assert result["left_out"] == list(FILTERS)


def test_every_class_takes_part():
    raced = {type(fastopt.create(rule, np.ones(1))) for rule in RULES[1:] if rule not in FILTERS}
    assert raced == {getattr(optimizers, cls) for cls in optimizers.__all__}


def test_every_rule_has_a_style_of_its_own():
    assert {*RULES} < STYLES.keys()
    assert len(set(STYLES.values())) == len(STYLES)


def slow_clock(monkeypatch, seconds):
    """Make the clock advance by `seconds` each time it is read."""
    clock = itertools.count(0.0, seconds)
    monkeypatch.setattr(run_module, "perf_counter", lambda: next(clock))


def test_a_filter_stops_when_its_patience_is_over(race, csv_file, monkeypatch):
    # An epoch of 48 rows reads the clock 50 times.
    slow_clock(monkeypatch, 0.08)
    args = (csv_file, "--epochs", "5")
    _, result = race(*args)
    by_rule = {r["rule"]: r for r in result["rules"]}
    assert by_rule["ksgd"]["epochs"] == len(by_rule["ksgd"]["history"]["seconds"]) - 1 == 2
    assert by_rule["ksgd"]["out_of_patience"]
    assert by_rule["ksgd"]["note"] == (
        "stopped after epoch 2 of 5, since 10 seconds had passed; if it is named in --rules it "
        "trains to the end"
    )
    assert {r["epochs"] for rule, r in by_rule.items() if rule != "ksgd"} == {5}
    _, result = race(*args, "--rules", "ksgd")
    assert result["rules"][0]["epochs"] == 5
    assert not result["rules"][0]["out_of_patience"]


def test_a_filter_whose_first_epoch_takes_too_long_is_left_out(
    race, csv_file, tmp_path, monkeypatch, capsys
):
    slow_clock(monkeypatch, 3.0)
    args = (csv_file, "--epochs", "2")
    _, result = race(*args)
    assert {r["rule"] for r in result["rules"]} == set(DEFAULT_RULES) - set(FILTERS)
    assert result["left_out"] == ["ksgd"]
    assert main(["race", *args, "--out", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "ksgd was left out: an epoch takes more than 10 seconds. It is trained if" in out
    assert "each equally often." in out


def test_patience_that_ends_with_the_last_epoch_changes_nothing(monkeypatch):
    slow_clock(monkeypatch, 1.0)
    made = make_run("ksgd", lr=math.nan, batch_size=1, epochs=1)
    made.patience = 47.5  # the last row ends after 48 seconds
    list(made.train())
    assert (made.epochs_done, made.out_of_patience, made.succeeded) == (1, False, True)


def test_a_filter_whose_covariance_is_huge_is_left_out(race, tmp_path):
    """The covariances of 64 neurons with 2000 weights each take 2 GB."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "wide.npz", X=rng.standard_normal((20, 2000)), y=np.arange(20) % 2)
    problem = pose(load(str(tmp_path / "wide.npz")), "mlp", 0)
    assert [rule for rule in RULES if is_too_large(rule, problem)] == list(FILTERS)
    _, result = race(str(tmp_path / "wide.npz"), "--epochs", "1")
    assert result["left_out"] == ["ksgd"]


@pytest.mark.parametrize("rule", FILTERS)
def test_filter_uses_the_rows_in_the_same_order_as_other_rules(rule):
    made = make_run(rule, lr=learning_rate(rule, 1.0), batch_size=1, epochs=1)
    list(made.train())
    model, (X, y) = made.problem.model, made.problem.train
    params = model.init(seed=0, dtype=np.float32)
    covariance = model.neurons() if rule == "ksgd" else "full"
    k = fastopt.KalmanSGD(model.flatten(params), m0=0.03, covariance=covariance)
    for row in np.random.default_rng([0, 0]).permutation(len(X)):
        params = model.unflatten(k.coef.astype(np.float32))
        mean, jac = model.mean_and_jacobian(params, X[row : row + 1])
        k.update(np.eye(3)[y[row : row + 1]], mean, jac, variance="multinomial")
    loss, _ = model.loss_and_grad(model.unflatten(k.coef.astype(np.float32)), X, y)
    assert made.last.train_loss == pytest.approx(loss, rel=1e-5)
    assert made.last.train_loss < made.evaluations[0].train_loss


@pytest.mark.parametrize("rule", FILTERS)
@pytest.mark.parametrize(
    ("kind", "target", "family"),
    [
        ("linear", "numbers", "gaussian"),
        ("logistic", "halves", "binomial"),
        ("poisson", "counts", "poisson"),
    ],
)
def test_filter_of_a_glm_is_partial_fit(rule, kind, target, family):
    made = table(n=6000, target="counts" if target == "halves" else target)
    if target == "halves":
        made = dataclasses.replace(made, y=(made.y > np.median(made.y)).astype(float))
    problem = pose(made, kind, 0)
    run = trained(rule, problem, 2, math.nan, 1)
    X, y = problem.train
    k = fastopt.KalmanSGD(5, m0=100.0)
    for epoch in range(2):
        order = np.random.default_rng([0, epoch]).permutation(len(X))
        for block in np.split(order, [4096]):
            rows = np.column_stack([X[block].astype(float), np.ones(len(block))])
            k.partial_fit(rows, y[block], family)
    params = {"w1": k.coef[:4, None].astype(np.float32), "b1": k.coef[4:].astype(np.float32)}
    assert run.last.train_loss == problem.model.loss_and_grad(params, X, y)[0]
    others = [trained(name, problem, 2, learning_rate(name, problem.curvature), 32) for name in
              ("adam", "sgd")]  # fmt: skip
    assert run.last.train_loss < min(other.last.train_loss for other in others)


def test_kalman_sgd_takes_part_in_a_poisson_race_of_many_rows(race, tmp_path):
    """A pass takes about as long as with other rules."""
    made = table(n=16_152, d=8, target="counts")
    np.savez(tmp_path / "d.npz", X=made.X, y=made.y)
    _, result = race(str(tmp_path / "d.npz"), "--model", "poisson", "--epochs", "3")
    assert result["left_out"] == []
    ranks = [r["rule"] for r in result["rules"]]
    assert ranks[0] == "ksgd"
    assert not result["rules"][0]["out_of_patience"]


def test_complete_separation_is_no_warning_of_the_race(race, tmp_path):
    made = table(n=300)
    np.savez(tmp_path / "d.npz", X=made.X, y=(made.X[:, 0] > 5).astype(float))
    args = ("--model", "logistic", "--rules", "ksgd", "--epochs", "3")
    _, result = race(str(tmp_path / "d.npz"), *args)
    assert result["rules"][0]["held_out_score"] > 0.9


def test_filter_that_overflows_is_reported_as_diverged(monkeypatch):
    monkeypatch.setattr(run_module, "M0", 1e300)
    made = trained("ksgd", lr=math.nan, batch_size=1)
    assert made.diverged
    (reason,) = reasons(made.problem, [made]).values()
    assert reason == "diverged in epoch 1: its steps are too large"


# What is printed


def test_json_contains_settings_data_and_results(race, csv_file):
    code, result = race(csv_file, "--rules", "sgd,gd,Adam", "--epochs", "3", "--batch-size", "8")
    assert code == 0
    assert result["data"] == {
        "name": "data.csv",
        "features": 4,
        "train_rows": 48,
        "held_out_rows": 12,
        "classes": ["blue", "green", "red"],
        "target_scale": "",
        "constant_columns": ["x3"],
        "notes": [],
    }
    assert result["settings"] == {"epochs": 3, "batch_size": 8, "lr": None, "seed": 0}
    assert result["score"] == "accuracy"
    assert result["versions"]["fastopt"] == fastopt.__version__
    assert not result["interrupted"]
    by_rule = {r["rule"]: r for r in result["rules"]}
    assert by_rule.keys() == {"sgd", "gd", "adam"}
    assert by_rule["gd"]["batch_size"] is None
    assert by_rule["sgd"]["batch_size"] == 8
    for r in by_rule.values():
        assert r["epochs"] == 3
        assert r["train_loss"] == r["history"]["train_loss"][-1] < r["history"]["train_loss"][0]
        assert r["held_out_score"] == r["history"]["held_out_score"][-1]
        assert r["seconds"] == r["history"]["seconds"][-1]
        low, median, high = np.quantile(np.diff(r["history"]["seconds"]), [0.25, 0.5, 0.75])
        assert r["epoch_seconds_quartiles"] == pytest.approx([low, median, high])
        assert r["samples_per_second"] == pytest.approx(48 / median)
        assert not r["diverged"]


def test_table_is_sorted_by_loss_and_fits_80_columns(csv_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["race", csv_file, "--epochs", "2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "\x1b" not in printed.out
    assert lines[-1] == f"Picture: {tmp_path / 'race.png'}"
    assert lines[0] == "data.csv: 4 features, 3 classes; 48 training rows, 12 held out"
    rows = [line.replace("│", " ").split() for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == [str(place) for place in range(1, 1 + len(DEFAULT_RULES))]
    assert sorted(row[1] for row in rows) == sorted(DEFAULT_RULES)
    losses = [float(row[3]) for row in rows]
    assert losses == sorted(losses)


@pytest.mark.parametrize(
    ("quartiles", "shown"),
    [
        ((1.121e-4, 1.234e-4, 1.356e-4), "0.123 (0.112-0.136)"),
        ((0.1121, 0.1234, 0.9996), "123 (112-1,000)"),
        ((0.9, 1.0, 1.0), "1 s (0.9-1)"),
        ((112.1, 123.4, 135.6), "123 s (112-136)"),
    ],
)
def test_a_table_with_long_times_fits_80_columns(
    csv_file, tmp_path, capsys, monkeypatch, quartiles, shown
):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(run_module.Run, "epoch_quartiles", quartiles)
    assert main(["race", csv_file, "--epochs", "2", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert [shown in line for line in lines if line.startswith("│")] == [True] * len(DEFAULT_RULES)


def test_seconds_are_shown_with_their_spread_or_not_at_all(csv_file, tmp_path, capsys):
    args = ["race", csv_file, "--rules", "sgd", "--out", str(tmp_path), "--epochs"]
    assert main([*args, "4"]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("│")]
    median, low, high = re.search(r"([\d.,]+) \(([\d.,]+)-([\d.,]+)\)", row).groups()
    assert 0 < float(low) <= float(median) <= float(high)
    assert main([*args, "1"]) == 0
    out = capsys.readouterr().out
    assert "ms per epoch" not in out
    assert "time of an epoch" not in out


def test_table_on_a_narrow_terminal_continues_below(csv_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert (
        main(["race", csv_file, "--rules", "gd,sgd", "--epochs", "1", "--out", str(tmp_path)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 40
    assert "…" not in "".join(lines)
    rows = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    assert [row[1].strip() for row in rows[:2]] * (len(rows) // 2) == [
        row[1].strip() for row in rows
    ]
    cells = {cell.strip() for row in rows for cell in row}
    assert {"1", "2", "gd", "sgd"} < cells
    assert any(cell.endswith("%") for cell in cells)


def test_long_score_name_fits_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made = table(target="counts")
    np.savez(tmp_path / "d.npz", X=made.X, y=made.y)
    args = ["race", str(tmp_path / "d.npz"), "--model", "poisson", "--epochs", "1"]
    assert main([*args, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()[:-1]) <= 80
    assert all(word in out for word in ("deviance", "explained", "divided by its mean"))


def test_counts_of_one_have_singular_nouns(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    args = ["race", str(path), "--rules", "sgd", "--epochs", "1", "--out", str(tmp_path)]
    assert main(args) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "a.csv: 1 feature, 2 classes;" in out
    assert "1 epoch in batches of 32" in out


def test_seed_fixes_the_result_and_another_seed_changes_it(race, csv_file):
    def history(seed):
        _, result = race(csv_file, "--rules", "nadam", "--epochs", "2", "--seed", seed)
        return result["rules"][0]["history"]["train_loss"]

    assert history("5") == history("5")
    assert history("5") != history("6")


def test_lr_applies_to_all_rules(race, csv_file):
    _, result = race(csv_file, "--rules", "gd,adam", "--epochs", "1", "--lr", "0.25")
    assert [r["learning_rate"] for r in result["rules"]] == [0.25, 0.25]


# What is drawn


def test_picture_is_large_and_has_both_panels_and_a_legend(race, csv_file, tmp_path):
    race(csv_file, "--epochs", "2")
    data = (tmp_path / "out" / "race.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1500
    assert height >= 700
    import matplotlib.image

    image = matplotlib.image.imread(tmp_path / "out" / "race.png")[:, :, :3]
    inked = (image < 0.99).any(axis=2)
    # Nothing is cut off, and there is something in each third: two panels and a legend.
    assert not inked[[0, -1], :].any()
    assert not inked[:, [0, -1]].any()
    assert all(part.any(axis=0).mean() > 0.5 for part in np.array_split(inked, 3, axis=1))
    assert len(np.unique(image.reshape(-1, 3).round(1), axis=0)) > 12


def test_picture_replaces_only_a_picture_of_the_race(race, csv_file, tmp_path, capsys):
    short = (csv_file, "--rules", "sgd", "--epochs", "1")
    assert race(*short)[0] == 0
    assert race(*short)[0] == 0
    mine = tmp_path / "race.png"
    mine.write_bytes(b"\x89PNG\r\n\x1a\n of somebody else")
    assert main(["race", *short, "--out", str(tmp_path)]) == 2
    assert "was not drawn by fastopt race" in capsys.readouterr().err
    assert mine.read_bytes().endswith(b"somebody else")


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_in_place_of_a_folder_is_refused(csv_file, tmp_path, capsys, below):
    mine = tmp_path / "mine"
    mine.write_text("")
    assert main(["race", csv_file, "--out", str(mine / below)]) == 2
    assert f"--out is {mine / below}, which is not a folder" in capsys.readouterr().err


def test_table_is_printed_even_if_the_picture_cannot_be_written(
    csv_file, tmp_path, capsys, monkeypatch
):
    def fail(*_args):
        raise OSError("No space left on device")

    monkeypatch.setattr("fastopt.cli.race.picture.draw", fail)
    args = ["race", csv_file, "--rules", "sgd", "--epochs", "1", "--out", str(tmp_path)]
    assert main(args) == 2
    printed = capsys.readouterr()
    assert "│ sgd" in printed.out
    assert "Picture" not in printed.out
    assert printed.err == "fastopt race: error: No space left on device\n"
    assert main([*args, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["rules"][0]["rule"] == "sgd"


@pytest.mark.parametrize(
    "losses",
    [
        ([1.0, 2.0, 8.0], [1.0, 1.5, 1.5]),
        ([-1.0, 2.0, 8.0], [-1.0, -0.5, 3.0]),
        ([1.0, 1e300], [1.0, math.inf]),
        ([1.0, math.nan], [1.0, math.inf]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_picture_is_not_empty_if_no_loss_falls(losses, tmp_path):
    import matplotlib.image

    problem = pose(table(), "mlp", 0)
    runs = [
        make_run(rule, problem, losses=values)
        for rule, values in zip(("sgd", "adam"), losses, strict=True)
    ]
    draw(tmp_path / "a.png", problem, runs)
    pixels = matplotlib.image.imread(tmp_path / "a.png")[60:-100, 100:700, :3]
    adam = np.array([0xE2, 0x01, 0x34]) / 255  # drawn above sgd
    assert (np.abs(pixels - adam).max(axis=2) < 0.1).any()


# How the rules are trained


def test_rules_share_initial_parameters_and_order_of_rows():
    seen = {}

    class Recording:
        def __init__(self, model):
            self.model = model
            self.rows = []
            self.init, self.score = model.init, model.score

        def loss_and_grad(self, params, X, y):
            self.rows.append(X.copy())
            if len(self.rows) == 1:
                self.start = copy.deepcopy(params)
            return self.model.loss_and_grad(params, X, y)

    problem = pose(table(), "mlp", 0)
    for rule in ("sgd", "adam"):
        seen[rule] = Recording(problem.model)
        trained(rule, problem=dataclasses.replace(problem, model=seen[rule]))
    a, b = seen["sgd"], seen["adam"]
    assert len(a.rows) == 3 + 2 * 3  # 3 evaluations, and 2 epochs of 3 batches
    for x, other in zip(a.rows, b.rows, strict=True):
        np.testing.assert_array_equal(x, other)
    for name in a.start:
        np.testing.assert_array_equal(a.start[name], b.start[name])
    assert not np.array_equal(a.rows[1], a.rows[5])  # the order differs between epochs


def test_seconds_do_not_include_evaluation():
    problem = pose(table(), "mlp", 0)

    class Slow:
        init, loss_and_grad = problem.model.init, problem.model.loss_and_grad

        def score(self, *args):
            time.sleep(0.1)
            return problem.model.score(*args)

    start = time.perf_counter()
    last = trained(problem=dataclasses.replace(problem, model=Slow())).last
    assert 0.0 < last.seconds < time.perf_counter() - start - 0.3


@pytest.mark.parametrize("kind", ["mlp", "linear", "logistic", "poisson"])
def test_every_rule_learns_with_every_model(kind):
    target = {"mlp": "numbers", "linear": "numbers", "poisson": "counts"}.get(kind, "classes")
    problem = pose(table(n=300, target=target), kind, 0)
    runs = [trained(rule, problem, 30, learning_rate(rule, problem.curvature)) for rule in RULES]
    starts = {r.evaluations[0].train_loss for r in runs}
    assert len(starts) == 1
    for r in runs:
        assert r.succeeded, r.rule
        assert r.last.score > (0.2 if kind == "poisson" else 0.7), r.rule


def test_diverged_rule_is_shown_and_other_rules_are_trained(race, tmp_path, capsys):
    path = write_csv(tmp_path / "d.csv", table(target="numbers"))
    args = (path, "--model", "linear", "--rules", "sgd,adam", "--lr", "30", "--epochs", "40")
    code, result = race(*args)
    assert code == 0
    first, last = result["rules"]
    assert (first["rule"], first["diverged"]) == ("adam", False)
    assert (last["rule"], last["diverged"]) == ("sgd", True)
    assert last["train_loss"] is None
    assert last["held_out_score"] is None
    assert last["epochs"] < 40
    assert "the rate 30 is too high" in last["note"]
    assert main(["race", *args, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "│ diverged │" in " ".join(out.split())
    assert f"sgd: {last['note']}." in " ".join(out.split())


def test_ctrl_c_shows_the_completed_epochs(race, csv_file, tmp_path, capsys, monkeypatch):
    show = Display.show

    def interrupt(self, run):
        if run.rule == "adam" and run.epochs_done == 2:
            raise KeyboardInterrupt
        show(self, run)

    monkeypatch.setattr(Display, "show", interrupt)
    args = (csv_file, "--rules", "sgd,adam,nadam", "--epochs", "4")
    code, result = race(*args)
    assert code == 130
    assert result["interrupted"]
    assert [(r["rule"], r["epochs"]) for r in result["rules"]] == [("sgd", 4), ("adam", 2)]
    assert result["rules"][1]["note"] == "interrupted after epoch 2 of 4"
    assert main(["race", *args, "--out", str(tmp_path / "out")]) == 130
    printed = capsys.readouterr()
    assert "adam: interrupted after epoch 2 of 4." in printed.out
    assert printed.err == "Interrupted; rules not started: nadam\n"


def test_ctrl_c_before_the_training_prints_nothing(csv_file, tmp_path, capsys, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastopt.cli.race.data.load.load", interrupt)
    assert main(["race", csv_file, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().out == ""


def test_progress_is_shown_on_a_terminal(csv_file, tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastopt", "race", csv_file, "--rules", "sgd,adam", "--json"]
    with subprocess.Popen(
        [*command, "--epochs", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux raises it when the other end is closed
                chunk = b""
            if not chunk:
                break
            shown += chunk
        os.close(ours)
        result = json.load(process.stdout)
    assert process.returncode == 0
    assert [r["epochs"] for r in result["rules"]] == [2, 2]
    assert all(word in shown for word in (b"sgd", b"adam", b"2/2", b"loss", b"accuracy"))
    assert b"Reading " in shown
    assert b"Scaling 60 rows of 4 features" in shown


# How it fails


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.csv"], "no such file: missing.csv"),
        (["data.csv", "--target", "size"], "--target is 'size'; allowed: an index from -5 to 4"),
        (["data.csv", "--target", "5"], "or a name: x0, x1, x2, x3, colour"),
        (["data.csv", "--model", "linear"], "the target is text; 'linear' needs numbers"),
        (["numbers.csv", "--model", "poisson", "--target", "x0"], "'poisson' needs values >= 0"),
        (["numbers.csv", "--model", "linear", "--target", "x3"], "the target is constant"),
        (["numbers.csv", "--model", "logistic", "--target", "x0"], "classes are needed"),
        (["data.csv", "--rules", "sgd,adm"], "--rules has 'adm'; allowed: gd, sgd, momentum"),
        (["--target", "y"], "--target is 'y'; it needs DATA in .csv or .tsv or .npz"),
        (["data.csv", "--out", "data.csv"], "--out is data.csv, which is not a folder"),
    ],
)
def test_bad_arguments(csv_file, tmp_path, capsys, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    made = table(target="numbers")
    write_csv(tmp_path / "numbers.csv", dataclasses.replace(made, X=made.X - made.X.mean(axis=0)))
    assert main(["race", *args]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--torch", "--conditioning"], "--torch cannot be combined with --conditioning"),
        (["--torch", "data.csv"], "DATA cannot be combined with --torch"),
        (["--torch", "--epochs", "3"], "--epochs cannot be combined with --torch"),
        (["--conditioning", "--threads", "1"], "--threads cannot be combined with --conditioning"),
        (["--steps", "3"], "--steps needs --torch"),
    ],
)
def test_options_of_another_comparison_are_refused(args, message, capsys):
    assert main(["race", *args]) == 2
    assert capsys.readouterr().err == f"fastopt race: error: {message}\n"


@pytest.mark.parametrize(
    ("missing", "args", "extra"),
    [
        ("matplotlib", [], "race"),
        ("rich", [], "race"),
        ("sklearn", [], "race"),
        ("torch", ["--torch"], "race,torch"),
    ],
)
def test_missing_extra_is_named_before_the_race(missing, args, extra, tmp_path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from fastopt.cli import main; "
        f"sys.exit(main(['race', *{args!r}]))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == (
        f"fastopt race: error: {missing} is not installed; from a checkout: "
        f"pip install '.[{extra}]'\n"
    )


@pytest.mark.parametrize("rule", ["asgd", "schedule_free_sgd"])
def test_rules_that_average_are_evaluated_at_their_average(rule):
    run = trained(rule, epochs=40, lr=0.1)
    model, train = run.problem.model, run.problem.train
    params = model.init(seed=0, dtype=np.float32)
    opt = fastopt.create(rule, params, lr=0.1, **options(rule))
    batches = Batches(*train, batch_size=16, seed=0)
    for evaluation in run.evaluations:
        with opt.averaged():
            assert evaluation.train_loss == model.loss_and_grad(params, *train)[0]
            assert evaluation.score == model.score(params, *run.problem.held_out)
        for X, y in batches:
            opt.step(model.loss_and_grad(params, X, y)[1])
    assert run.last.train_loss != model.loss_and_grad(params, *train)[0]
    assert run.at_averages
    assert not trained("sgd").at_averages

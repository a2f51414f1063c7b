"""The `fastopt` command: what it reads, what it prints and draws, and how it fails."""

import copy
import dataclasses
import json
import math
import os
import pty
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import fastopt
from fastopt import FastoptError
from fastopt.cli import main
from fastopt.cli import rivals as rivals_module
from fastopt.cli.data import Table, load
from fastopt.cli.display import Display
from fastopt.cli.problem import pose
from fastopt.cli.reasons import reasons
from fastopt.cli.rivals import FILTERS, RULES, Lap, Rival, learning_rate, ranked, takes_long

COLOURS = ["red", "green", "blue"]


def table(n=60, d=3, target="classes", seed=0):
    """Make a small table; its last column is constant."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([5.0 + 3.0 * rng.standard_normal((n, d)), np.full(n, 7.0)])
    z = (X[:, 0] - 5.0) / 3.0
    y = {
        "classes": np.array(COLOURS)[np.digitize(z, [-0.5, 0.5])],
        "numbers": 1000.0 + 100.0 * z + rng.standard_normal(n),
        "counts": rng.poisson(np.exp(0.5 * z + 1.0)).astype(float),
    }[target]
    return Table("test", X, y, [f"x{i}" for i in range(d + 1)])


def write_csv(path, made, header=True, delimiter=",", newline="\n"):
    rows = [[*map(repr, map(float, x)), str(y)] for x, y in zip(made.X, made.y, strict=True)]
    if header:
        rows.insert(0, [*made.columns, "colour"])
    path.write_text(newline.join(map(delimiter.join, rows)) + newline, newline="")
    return str(path)


@pytest.fixture
def csv_file(tmp_path):
    return write_csv(tmp_path / "data.csv", table())


@pytest.fixture
def race(tmp_path, capsys):
    """Run `fastopt race ... --json`; return the code and the object printed."""

    def run(*args):
        code = main(["race", *args, "--json", "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        assert printed.err == "" or code == 130
        return code, json.loads(printed.out)

    return run


def rival(rule="adam", problem=None, epochs=2, lr=0.01, batch_size=16, losses=(), score=0.5):
    """Make a rival that has run the laps given."""
    laps = [Lap(loss, score, 0.1 * i) for i, loss in enumerate(losses)]
    return Rival(rule, lr, batch_size, epochs, 0, problem or pose(table(), "mlp", 0), laps)


def trained(*args, **kwargs):
    made = rival(*args, **kwargs)
    list(made.train())
    return made


# The promise


def test_every_rule_reads_digits_with_more_than_90_percent_accuracy(race, tmp_path):
    code, result = race("--rules", ",".join(set(RULES) - set(FILTERS)))
    assert code == 0
    rules = result["rules"]
    assert sorted(r["rule"] for r in rules) == sorted(set(RULES) - set(FILTERS))
    assert {r["rule"]: r["held_out_score"] for r in rules if r["held_out_score"] < 0.9} == {}
    assert [r["note"] for r in rules] == [""] * 12
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


def test_what_would_take_long_is_left_out_but_not_if_it_is_named(race, csv_file, monkeypatch):
    digits = pose(load(None, None), "mlp", 0)
    assert [rule for rule in RULES if takes_long(rule, digits, 25)] == ["ksgd_full"]
    assert {"ksgd", "ksgd_full"} == {rule for rule in RULES if takes_long(rule, digits, 500)}
    monkeypatch.setattr(rivals_module, "_MOST_SECONDS", 0.0)
    _, result = race(csv_file, "--epochs", "1")
    assert {r["rule"] for r in result["rules"]} == set(RULES) - set(FILTERS)
    assert result["left_out"] == list(FILTERS)
    _, result = race(csv_file, "--epochs", "1", "--rules", "ksgd_full")
    assert [r["rule"] for r in result["rules"]] == ["ksgd_full"]
    assert result["left_out"] == []


@pytest.mark.parametrize("rule", FILTERS)
def test_a_filter_sees_the_rows_in_the_order_of_the_others(rule):
    made = rival(rule, lr=learning_rate(rule, 1.0), batch_size=1, epochs=1)
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
    assert made.last.train_loss < made.laps[0].train_loss


def test_a_filter_that_leaves_the_range_of_numbers_has_diverged(monkeypatch):
    monkeypatch.setattr(rivals_module, "_M0", 1e300)
    made = trained("ksgd", lr=math.nan, batch_size=1)
    assert made.diverged
    (reason,) = reasons(made.problem, [made]).values()
    assert reason == "diverged in epoch 1: it has moved too far"


# What is printed


def test_json_has_all_that_a_program_needs(race, csv_file):
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
        assert r["samples_per_second"] == pytest.approx(3 * 48 / r["seconds"])
        assert not r["diverged"]


def test_table_is_best_first_and_fits_80_columns(csv_file, tmp_path, capsys, monkeypatch):
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
    assert [row[0] for row in rows] == [str(place) for place in range(1, 15)]
    assert sorted(row[1] for row in rows) == sorted(RULES)
    losses = [float(row[3]) for row in rows]
    assert losses == sorted(losses)


def test_long_score_name_fits_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made = table(target="counts")
    np.savez(tmp_path / "d.npz", X=made.X, y=made.y)
    args = ["race", str(tmp_path / "d.npz"), "--model", "poisson", "--epochs", "1"]
    assert main([*args, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()[:-1]) <= 80
    assert all(word in out for word in ("deviance", "explained", "divided by its mean"))


def test_seed_fixes_the_result_and_another_seed_changes_it(race, csv_file):
    def history(seed):
        _, result = race(csv_file, "--rules", "nadam", "--epochs", "2", "--seed", seed)
        return result["rules"][0]["history"]["train_loss"]

    assert history("5") == history("5")
    assert history("5") != history("6")


def test_lr_is_for_all_rules(race, csv_file):
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


def test_picture_replaces_its_own_kind_alone(race, csv_file, tmp_path, capsys):
    short = (csv_file, "--rules", "sgd", "--epochs", "1")
    assert race(*short)[0] == 0
    assert race(*short)[0] == 0
    mine = tmp_path / "race.png"
    mine.write_bytes(b"\x89PNG\r\n\x1a\n of somebody else")
    assert main(["race", *short, "--out", str(tmp_path)]) == 2
    assert "was not drawn by fastopt race" in capsys.readouterr().err
    assert mine.read_bytes().endswith(b"somebody else")


# How the race is run


def test_rules_share_start_and_order_of_rows():
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
    assert len(a.rows) == 3 + 2 * 3  # evaluations, and epochs of 48 rows by 16
    for x, other in zip(a.rows, b.rows, strict=True):
        np.testing.assert_array_equal(x, other)
    for name in a.start:
        np.testing.assert_array_equal(a.start[name], b.start[name])
    assert not np.array_equal(a.rows[1], a.rows[5])  # epochs differ


def test_seconds_leave_evaluation_out():
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
    rivals = [trained(rule, problem, 30, learning_rate(rule, problem.curvature)) for rule in RULES]
    starts = {r.laps[0].train_loss for r in rivals}
    assert len(starts) == 1
    for r in rivals:
        assert r.arrived, r.rule
        assert r.last.score > (0.2 if kind == "poisson" else 0.7), r.rule


def test_curvature_is_that_of_the_loss():
    problem = pose(table(n=200, target="numbers"), "linear", 0)
    X = problem.train[0].astype(float)
    expected = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    assert problem.curvature == pytest.approx(expected, rel=0.02)
    assert learning_rate("gd", 3.0) == 0.5
    assert learning_rate("adam", 3.0) == learning_rate("adam", 30.0)


def test_diverged_rule_is_shown_and_the_race_goes_on(race, tmp_path, capsys):
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


def test_ctrl_c_shows_what_there_is(race, csv_file, tmp_path, capsys, monkeypatch):
    show = Display.show

    def interrupt(self, rival):
        if rival.rule == "adam" and rival.epochs_done == 2:
            raise KeyboardInterrupt
        show(self, rival)

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
    assert printed.err == "Interrupted; not raced: nadam\n"


def test_ctrl_c_before_the_start_ends_quietly(csv_file, tmp_path, capsys, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastopt.cli.data.load", interrupt)
    assert main(["race", csv_file, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().out == ""


def test_progress_is_live_on_a_terminal(csv_file, tmp_path):
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
            except OSError:  # how Linux says that the other end is closed
                chunk = b""
            if not chunk:
                break
            shown += chunk
        os.close(ours)
        result = json.load(process.stdout)
    assert process.returncode == 0
    assert [r["epochs"] for r in result["rules"]] == [2, 2]
    assert all(word in shown for word in (b"sgd", b"adam", b"2/2", b"loss", b"accuracy"))


# Why a rule fell behind


@pytest.mark.parametrize(
    ("losses", "score", "expected"),
    [
        ([2.0, 1.0, 0.1], 0.95, ""),
        ([2.0, 0.5, 1.5], 0.5, "has risen from 0.5 in epoch 1 to 1.5"),
        ([2.0, 3.0, 9.0], 0.5, "has risen from 2 in epoch 0 to 9"),
        ([2.0, 1.5, 1.0], 0.5, "still fell in the last epoch, from 1.5 to 1"),
        ([2.0, 0.5, 0.5], 0.5, "came to rest at 0.5, the best rule's at 0.1"),
        ([2.0, 0.1, 0.1], 0.5, "it has overfitted"),
        ([2.0, 0.1, np.nan], np.nan, "diverged in epoch 2"),
        ([2.0, 0.1], 0.5, "interrupted after epoch 1 of 2"),
    ],
)
def test_reasons(losses, score, expected):
    best = rival("adam", losses=[2.0, 0.1, 0.1], score=0.99)
    other = rival("sgd", losses=losses, score=score)
    found = reasons(other.problem, [best, other])
    assert expected in found.get("sgd", "")
    assert bool(expected) == bool(found)


def test_expected_score_is_absolute():
    problem = dataclasses.replace(pose(table(), "mlp", 0), expected_score=0.9)
    alone = rival("sgd", problem, losses=[2.0, 1.5, 1.0], score=0.89)
    assert "accuracy 0.89 is below 0.9" in reasons(problem, [alone])["sgd"]
    assert reasons(pose(table(), "mlp", 0), [alone]) == {}


def test_ranks():
    made = [
        rival("sgd", losses=[2.0, 1.0, np.nan]),
        rival("gd", losses=[2.0, 0.1]),
        rival("adam", losses=[2.0, 1.0, 0.9]),
        rival("nadam", losses=[2.0, 1.0, 0.8]),
    ]
    assert [r.rule for r in ranked(made)][:2] == ["nadam", "adam"]


# What a file may look like


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(tmp_path, delimiter, header, newline):
    made = table()
    loaded = load(write_csv(tmp_path / "a.CSV", made, header, delimiter, newline), None)
    np.testing.assert_array_equal(loaded.X, made.X)
    np.testing.assert_array_equal(loaded.y, made.y)
    assert loaded.columns == (made.columns if header else ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("target", "column"), [(None, 4), ("colour", 4), ("x1", 1), ("0", 0), ("-2", 3)]
)
def test_csv_target_by_name_or_index(tmp_path, target, column):
    made = table(target="numbers")
    loaded = load(write_csv(tmp_path / "a.csv", made), target)
    everything = np.column_stack([made.X, made.y])
    np.testing.assert_array_equal(loaded.y, everything[:, column])
    np.testing.assert_array_equal(loaded.X, np.delete(everything, column, axis=1))


def test_csv_with_mark_blank_lines_spaces_quotes_and_numbers_for_names(tmp_path):
    rows = "".join(f'{i}, "{i % 3}.5" ,{i % 2}\n\n' for i in range(12))
    (tmp_path / "a.csv").write_text("\ufeff0,1,label\n\n" + rows, encoding="utf-8")
    loaded = load(str(tmp_path / "a.csv"), None)
    assert loaded.columns == ["0", "1"]
    np.testing.assert_array_equal(loaded.X[:3], [[0, 0.5], [1, 1.5], [2, 2.5]])
    np.testing.assert_array_equal(loaded.y, np.arange(12) % 2)


def test_npz(tmp_path):
    made = table()
    np.savez(tmp_path / "a.npz", X=made.X.astype(np.float32), y=made.y, w=made.X)
    np.savez(tmp_path / "b.npz", inputs=made.X, label=made.y)
    np.savez(tmp_path / "c.npz", X=made.X, y=np.arange(60)[:, None])
    a, b, c = (
        load(str(tmp_path / f"{name}.npz"), target)
        for name, target in (("a", None), ("b", "label"), ("c", None))
    )
    np.testing.assert_array_equal(a.X, made.X.astype(np.float32))
    np.testing.assert_array_equal(b.X, made.X)
    for loaded in (a, b):
        np.testing.assert_array_equal(loaded.y, made.y)
    np.testing.assert_array_equal(c.y, np.arange(60))


@pytest.mark.parametrize("ending", ["svm", "svmlight", "libsvm"])
def test_svmlight(tmp_path, race, ending):
    lines = "".join(f"{(-1) ** i} 1:{i % 2} 3:{i}\n" for i in range(20))
    path = tmp_path / f"a.{ending}"
    path.write_text(lines)
    loaded = load(str(path), None)
    np.testing.assert_array_equal(loaded.X[:3], [[0, 0, 0], [1, 0, 1], [0, 0, 2]])
    _, result = race(str(path), "--model", "logistic", "--rules", "adam", "--epochs", "2")
    assert result["data"]["classes"] == ["-1", "1"]
    assert result["model"]["loss"] == "logistic"


# How the problem is posed


@pytest.mark.parametrize(
    ("y", "kind", "loss", "n_classes"),
    [
        (np.tile([3.0, 7.0, 90.0], 20), "mlp", "softmax", 3),
        (np.tile(["a", "b"], 30), "mlp", "softmax", 2),
        (np.tile([0.5, 1.5], 30), "mlp", "squared", None),
        (np.arange(60.0) % 21, "mlp", "squared", None),
        (np.tile([-1.0, 1.0], 30), "logistic", "logistic", 2),
        (np.arange(60.0) % 21, "logistic", "softmax", 21),
        (np.tile([0.0, 1.0], 30), "linear", "squared", None),
        (np.tile([0.0, 1.0], 30), "poisson", "poisson", None),
    ],
)
def test_the_target_decides_the_loss(y, kind, loss, n_classes):
    problem = pose(Table("t", table().X, y, list("abcd")), kind, 0)
    assert problem.model.loss == loss
    assert (problem.classes and len(problem.classes)) == n_classes
    if n_classes:
        codes = np.concatenate([problem.train[1], problem.held_out[1]])
        assert sorted(set(codes)) == list(range(n_classes))


def test_rows_are_split_by_class_and_scaled_on_the_training_part():
    made = table(n=300)
    problem = pose(made, "mlp", 3)
    (X, _), (X_held, y_held) = problem.train, problem.held_out
    assert (len(X), len(X_held)) == (240, 60)
    for code, name in enumerate(problem.classes):
        assert abs(np.sum(y_held == code) - np.sum(made.y == name) / 5) <= 1
    assert X.dtype == X_held.dtype == np.float32
    np.testing.assert_allclose(X[:, :3].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(X[:, :3].std(axis=0), 1, atol=1e-6)
    assert problem.constant_columns == ["x3"]
    assert not X[:, 3].any()
    assert not X_held[:, 3].any()
    # Undone, the scaling gives the rows back: each once.
    scaled = np.sort(np.concatenate([X, X_held])[:, 0])
    order = np.argsort(made.X[:, 0])
    assert np.corrcoef(scaled, made.X[order, 0])[0, 1] > 1 - 1e-9


def test_column_constant_on_the_training_rows_alone_has_no_effect():
    made = table(n=20, target="numbers")
    for row in range(20):
        made.X[:, 3] = 7.0
        made.X[row, 3] = 8.0
        problem = pose(made, "linear", 0)
        if problem.constant_columns == ["x3"]:
            assert not problem.held_out[0][:, 3].any()
            break
    else:
        pytest.fail("no row was held out")


@pytest.mark.parametrize(
    ("kind", "unit"), [("linear", "standardised"), ("poisson", "divided by its mean")]
)
def test_unit_of_the_target_does_not_matter(kind, unit):
    made = table(target="counts")
    a, b = (pose(dataclasses.replace(made, y=factor * made.y), kind, 0) for factor in (1.0, 1000.0))
    assert a.target_scale == unit
    np.testing.assert_allclose(a.train[1], b.train[1], rtol=1e-6, atol=1e-6)


# How it fails

GOOD_ROWS = "1,2,0\n2,1,1\n" * 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,b,y\n", "0 rows"),
        ("a,b,y\n1,2,0\n", "1 rows of 2 features; 10 rows"),
        ("y\n" + "1\n" * 20, "20 rows of 0 features"),
        (GOOD_ROWS + "1,,0\n", "line 21: column '1' is missing ('')"),
        ("a,b,y\n" + GOOD_ROWS + "NA,1,0\n", "line 22: column 'a' is missing ('NA')"),
        ("?,1,0\n" + GOOD_ROWS, "line 1: column '0' is missing ('?')"),
        ("a,b,y\n\n" + GOOD_ROWS + "1,nan,0\n", "line 23: column 'b' is missing ('nan')"),
        ("a,b,y\n" + GOOD_ROWS + "1,red,0\n", "column 'b' is 'red'; features must be finite"),
        ("a,b,y\n" + GOOD_ROWS + "1,inf,0\n", "column 'b' is 'inf'; features must be finite"),
        ("a,b,y\n" + GOOD_ROWS + "1,2,\n", "line 22: target 'y' is missing"),
        ("a,b,y\n" + GOOD_ROWS + "1,2\n", "line 22: 2 cells; the first line has 3"),
        ("a,b,y\n" + "1,2,0\n" * 20, "the target is always '0"),
        ("a,b,y\n" + "".join(f"1,2,u{i}\n" for i in range(20)), "20 different values in 20"),
        ("a,b,y\n" + GOOD_ROWS + "1,2,inf\n", "the target of row 20 (from 0) is inf"),
        (b"\xff\xfe\x00\x01", "not text in UTF-8"),
    ],
)
def test_bad_csv_is_one_line_on_stderr(tmp_path, capsys, text, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["race", str(path), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("fastopt race: error: ")
    assert message in printed.err
    assert not (tmp_path / "race.png").exists()


X20 = np.arange(40.0).reshape(20, 2)
Y20 = np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X20}, "arrays X and y are needed; it has X"),
        ({"a": X20, "b": X20, "y": Y20}, "arrays X and y are needed; it has a, b, y"),
        ({"X": X20[:, 0], "y": Y20}, "X has shape (20,)"),
        ({"X": X20.astype(str), "y": Y20}, "real numbers"),
        ({"X": X20, "y": Y20[:5]}, "y has shape (5,)"),
        ({"X": X20, "y": X20}, "y has shape (20, 2)"),
        ({"X": X20.astype(object), "y": Y20}, "allow_pickle"),
        ({"X": np.where(X20 == 7, np.nan, X20), "y": Y20}, "row 3, column 1 (from 0) is nan"),
        ({"X": X20, "y": np.where(Y20, np.nan, 1.0)}, "the target of row 1 (from 0) is nan"),
    ],
)
def test_bad_npz(tmp_path, capsys, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert main(["race", str(tmp_path / "bad.npz"), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"PK not a zip", "a.npz"),
        ("a.npz", b"", "a.npz"),
        ("a.svm", b"1 2:x 3:y\n", "not in svmlight's format"),
        ("a.svm", b"1 1:1 900000000:1\n" * 20, "as a dense array; 2 are allowed"),
        ("a.svm", b"1 1:nan\n0 1:2\n" * 20, "row 0, column 0 (from 0) is nan"),
        ("a.xlsx", b"", "must end in one of .csv"),
    ],
)
def test_bad_files(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert main(["race", str(tmp_path / name), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_npy_is_no_npz(tmp_path):
    np.save(tmp_path / "a.npy", X20)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(FastoptError, match="not an npz file"):
        load(str(tmp_path / "a.npz"), None)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.csv"], "No such file"),
        (["data.csv", "--target", "size"], "--target is 'size'; allowed: an index from -5 to 4"),
        (["data.csv", "--target", "5"], "or a name: x0, x1, x2, x3, colour"),
        (["data.csv", "--model", "linear"], "the target is text; 'linear' needs numbers"),
        (["numbers.csv", "--model", "poisson", "--target", "x0"], "'poisson' needs values >= 0"),
        (["numbers.csv", "--model", "linear", "--target", "x3"], "the target is constant"),
        (["numbers.csv", "--model", "logistic", "--target", "x0"], "classes are needed"),
        (["data.csv", "--rules", "sgd,adm"], "--rules has 'adm'; allowed: gd, sgd, momentum"),
        (["--target", "y"], "--target needs DATA"),
        (["data.csv", "--out", "data.csv"], "File exists"),
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
        ([], "COMMAND"),
        (["walk"], "walk"),
        (["race", "--epochs", "0"], "'0' is no whole number from 1"),
        (["race", "--batch-size", "1.5"], "'1.5' is no whole number from 1"),
        (["race", "--seed", "-1"], "--seed"),
        (["race", "--lr", "nan"], "'nan' is no finite number above 0"),
        (["race", "--lr", "fast"], "'fast' is no finite number above 0"),
        (["race", "--model", "tree"], "tree"),
    ],
)
def test_bad_usage(capsys, args, message):
    with pytest.raises(SystemExit) as left:
        main(args)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["matplotlib", "rich", "sklearn"])
def test_missing_extra_is_named_before_the_race(missing, tmp_path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from fastopt.cli import main; "
        "sys.exit(main(['race']))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == (
        f"fastopt race: error: {missing} is not installed; try: pip install 'fastopt[race]'\n"
    )


# The other commands


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("FASTOPT_NUM_THREADS", "3")
    assert main(["info"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastopt"].startswith(fastopt.__version__)
    assert lines["numpy"] == np.__version__
    assert fastopt._core.isa() in lines["instruction"]
    assert "-ffp-contract=off" in lines["build"]
    assert lines["threads"].startswith("3;")
    assert lines["FASTOPT_NUM_THREADS"] == "3"


def test_info_needs_no_extra():
    code = (
        "import sys\nfor name in ('matplotlib', 'rich', 'sklearn'): sys.modules[name] = None\n"
        "from fastopt.cli import main; sys.exit(main(['info']))"
    )
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_version_and_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for args, words in (
        (["--version"], [f"fastopt {fastopt.__version__}"]),
        (["--help"], ["race", "bench", "info"]),
        (["bench", "--help"], ["--size", "--json", "bench.png"]),
        (["race", "--help"], ["--target", "--json", "race.png"]),
    ):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
        assert max(map(len, out.splitlines())) <= 80

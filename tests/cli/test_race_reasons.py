"""`fastopt race`: the ranks, and the reason that is given for a low score."""

import dataclasses

import numpy as np
import pytest
from race_cases import make_run, table

from fastopt.cli.race.problem import pose
from fastopt.cli.race.reasons import reasons
from fastopt.cli.race.run import ranked


@pytest.mark.parametrize(
    ("losses", "score", "expected"),
    [
        ([2.0, 1.0, 0.1], 0.95, ""),
        ([2.0, 0.5, 1.5], 0.5, "rose from 0.5 in epoch 1 to 1.5"),
        ([2.0, 3.0, 9.0], 0.5, "rose from 2 in epoch 0 to 9"),
        ([2.0, 1.5, 1.0], 0.5, "still fell in the last epoch, from 1.5 to 1"),
        ([2.0, 0.5, 0.5], 0.5, "stayed at 0.5; that of the best rule is 0.1"),
        ([2.0, 0.1, 0.1], 0.5, "it has overfitted"),
        ([2.0, 0.1, np.nan], np.nan, "diverged in epoch 2"),
        ([2.0, 0.1], 0.5, "interrupted after epoch 1 of 2"),
    ],
)
def test_reason_for_a_low_score(losses, score, expected):
    best = make_run("adam", losses=[2.0, 0.1, 0.1], score=0.99)
    other = make_run("sgd", losses=losses, score=score)
    found = reasons(other.problem, [best, other])
    assert expected in found.get("sgd", "")
    assert bool(expected) == bool(found)


def test_losses_that_differ_are_shown_as_different():
    best = make_run("adam", losses=[1.0, 0.98, 0.98], score=0.99)
    other = make_run("sgd", losses=[1.0, 0.98503, 0.985], score=0.5)
    assert "from 0.98503 to 0.985:" in reasons(other.problem, [best, other])["sgd"]


@pytest.mark.parametrize("losses", [[2.0, 0.1], [2.0, 0.3, 0.1]])
def test_rule_whose_loss_still_falls_is_not_called_overfitted(losses):
    problem = dataclasses.replace(pose(table(), "mlp", 0), expected_score=0.9)
    alone = make_run("sgd", problem, epochs=len(losses) - 1, losses=losses, score=0.5)
    (reason,) = reasons(problem, [alone]).values()
    assert "still fell in the last epoch" in reason
    assert reason.endswith("it needs more epochs or a higher rate")


def test_expected_score_is_absolute():
    problem = dataclasses.replace(pose(table(), "mlp", 0), expected_score=0.9)
    alone = make_run("sgd", problem, losses=[2.0, 1.5, 1.0], score=0.89)
    assert "accuracy 0.89 is below 0.9" in reasons(problem, [alone])["sgd"]
    assert reasons(pose(table(), "mlp", 0), [alone]) == {}


def test_ranked_by_training_loss():
    made = [
        make_run("sgd", losses=[2.0, 1.0, np.nan]),
        make_run("gd", losses=[2.0, 0.1]),
        make_run("adam", losses=[2.0, 1.0, 0.9]),
        make_run("nadam", losses=[2.0, 1.0, 0.8]),
    ]
    assert [r.rule for r in ranked(made)][:2] == ["nadam", "adam"]

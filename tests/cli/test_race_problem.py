"""`fastopt race`: how a table becomes a model, training rows and held-out rows."""

import dataclasses

import numpy as np
import pytest
from race_cases import table

from fastopt import FastoptError
from fastopt.cli.race.data.table import Table
from fastopt.cli.race.problem import pose
from fastopt.cli.race.rules import learning_rate


def test_curvature_is_the_largest_eigenvalue_of_the_hessian():
    problem = pose(table(n=200, target="numbers"), "linear", 0)
    X = problem.train[0].astype(float)
    expected = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    assert problem.curvature == pytest.approx(expected, rel=0.02)
    assert learning_rate("gd", 3.0) == 0.5
    assert learning_rate("adam", 3.0) == learning_rate("adam", 30.0)


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
    # Each row is in exactly one part: the scaled values correlate perfectly with the original.
    scaled = np.sort(np.concatenate([X, X_held])[:, 0])
    order = np.argsort(made.X[:, 0])
    assert np.corrcoef(scaled, made.X[order, 0])[0, 1] > 1 - 1e-9


def test_column_constant_on_the_training_rows_becomes_zero_in_all_rows():
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


def arrays(problem):
    return *problem.train, *problem.held_out


@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e170, 1e300])
def test_unit_of_a_feature_does_not_matter(factor):
    """Squares of these values underflow or overflow."""
    made = table(target="numbers")
    scaled = dataclasses.replace(made, X=made.X * [1.0, factor, 1.0, 1.0])
    expected, problem = pose(made, "linear", 0), pose(scaled, "linear", 0)
    for a, b in zip(
        expected.train + expected.held_out, problem.train + problem.held_out, strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6)
    assert problem.constant_columns == expected.constant_columns == ["x3"]
    assert problem.curvature == pytest.approx(expected.curvature)


@pytest.mark.parametrize("kind", ["linear", "poisson"])
@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e170, 1e300])
def test_very_small_and_large_units_of_the_target_do_not_matter(kind, factor):
    made = table(target="counts")
    expected = pose(made, kind, 0)
    problem = pose(dataclasses.replace(made, y=made.y * factor), kind, 0)
    for a, b in zip(
        expected.train + expected.held_out, problem.train + problem.held_out, strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6)


def test_scaling_by_a_power_of_two_changes_no_bit():
    made = table(target="numbers")
    expected = pose(made, "linear", 0)
    problem = pose(
        dataclasses.replace(made, X=made.X * 2.0**600, y=made.y * 2.0**-600), "linear", 0
    )
    for a, b in zip(
        expected.train + expected.held_out, problem.train + problem.held_out, strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_one_huge_value_does_not_zero_its_column():
    made = table(n=20, target="numbers")
    held_out = set(np.random.default_rng(0).permutation(20)[2::5])
    for row in range(20):
        huge = np.where(np.arange(20) == row, 1e300, 0.0)
        in_X = dataclasses.replace(made, X=np.column_stack([made.X[:, :3], made.X[:, 3] + huge]))
        in_y = dataclasses.replace(made, y=made.y + huge)
        if row in held_out:
            assert pose(in_X, "linear", 0).constant_columns == ["x3"]
            in_X.X[:, 3] += made.y
            with pytest.raises(FastoptError, match=r"column x3 is 1e\+300 in a held-out row"):
                pose(in_X, "linear", 0)
            with pytest.raises(FastoptError, match=r"the target is 1e\+300 in a held-out row"):
                pose(in_y, "linear", 0)
        else:
            for values in pose(in_X, "linear", 0).train[0][:, 3], pose(in_y, "linear", 0).train[1]:
                assert values.max() == pytest.approx(np.sqrt(15.0))
                assert values.std() == pytest.approx(1.0)

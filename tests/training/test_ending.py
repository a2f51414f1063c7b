"""The criteria by which `minimize` ends a run, tested without a run."""

import math

import pytest

from fastopt.training.ending import (
    BUDGET_USED_UP,
    CONVERGED,
    INTERRUPTED,
    NO_STEP,
    STOPPED,
    Criteria,
)


def status(criteria, nit=0, n_epochs=0, **flags):
    flags = {"is_stopped": False, "is_cut": False, "is_open": False, **flags}
    return criteria.status(nit, n_epochs, **flags)


def test_the_numbers_are_those_of_the_documentation():
    assert (CONVERGED, BUDGET_USED_UP, STOPPED, INTERRUPTED, NO_STEP) == (0, 1, 2, 3, 4)


def test_a_run_continues_until_a_budget_is_used_up():
    criteria = Criteria(epochs=3, max_steps=10)
    assert status(criteria, nit=9, n_epochs=2) is None
    assert status(criteria, nit=9, n_epochs=3) == BUDGET_USED_UP
    assert status(criteria, nit=10, n_epochs=2) == BUDGET_USED_UP
    assert status(criteria, nit=10, n_epochs=2, is_open=True) is None
    assert status(criteria, nit=4, n_epochs=1, is_cut=True) == BUDGET_USED_UP


def test_steps_left_and_description_of_the_budget():
    budget = Criteria(epochs=3, max_steps=10).budget
    assert [budget.steps_left(nit, 0) for nit in (0, 9, 10, 11)] == [10, 1, 0, 0]
    assert budget.steps_left(4, 3) == 0
    assert (budget.describe(10), budget.describe(9)) == ("10 steps", "3 epochs")
    assert Criteria(epochs=3).budget.steps_left(10**9, 0) == math.inf
    assert Criteria().budget.describe(0) == "1000 epochs"
    assert not Criteria(max_steps=10).budget.is_used_up(9, 10**9)


def test_tolerance_has_precedence_over_callback_and_callback_over_budget():
    criteria = Criteria(epochs=2, tol=0.1, patience=1)
    criteria.observe(1.0)
    assert status(criteria, n_epochs=1) is None
    assert status(criteria, n_epochs=2, is_stopped=True) == STOPPED
    criteria.observe(1.0)
    assert status(criteria, n_epochs=2, is_stopped=True) == CONVERGED


@pytest.mark.parametrize(
    ("tol", "reason", "loss", "success"),
    [
        (0.1, CONVERGED, 1.0, True),
        (None, BUDGET_USED_UP, 1.0, True),
        (None, BUDGET_USED_UP, math.nan, False),
        (None, BUDGET_USED_UP, math.inf, False),
        (0.1, BUDGET_USED_UP, 1.0, False),
        (None, STOPPED, 1.0, False),
        (None, INTERRUPTED, 1.0, False),
        (None, NO_STEP, 1.0, False),
    ],
)
def test_success(tol, reason, loss, success):
    criteria = Criteria(tol=tol)
    assert criteria.is_success(reason, loss) is success
    assert criteria.message(reason, 1000)

"""The criteria by which `minimize` ends a run, tested without a run."""

import math

import numpy as np
import pytest

from fastopt.training.ending import (
    BUDGET_USED_UP,
    CONVERGED,
    INTERRUPTED,
    NO_IMPROVEMENT,
    NO_STEP,
    NOT_FINITE,
    STOPPED,
    Criteria,
    default_patience,
)


def status(criteria, nit=0, n_epochs=0, **flags):
    flags = {"is_converged": False, "is_stopped": False, "is_cut": False, **flags}
    return criteria.status(nit, n_epochs, **flags)


def observed(losses, **arguments):
    criteria = Criteria(**arguments)
    for epoch, loss in enumerate(losses):
        criteria.observe(epoch, loss)
    return criteria


def test_the_numbers_are_those_of_the_documentation():
    assert (CONVERGED, BUDGET_USED_UP, STOPPED, INTERRUPTED, NO_STEP) == (0, 1, 2, 3, 4)
    assert (NO_IMPROVEMENT, NOT_FINITE) == (5, 6)


def test_a_run_continues_until_a_budget_is_used_up():
    criteria = Criteria(epochs=3, max_steps=10)
    assert status(criteria, nit=9, n_epochs=2) is None
    assert status(criteria, nit=9, n_epochs=3) == BUDGET_USED_UP
    assert status(criteria, nit=10, n_epochs=2) == BUDGET_USED_UP
    assert status(criteria, nit=4, n_epochs=1, is_cut=True) == BUDGET_USED_UP


def test_the_steps_left():
    budget = Criteria(epochs=3, max_steps=10).budget
    assert [budget.steps_left(nit, 0) for nit in (0, 9, 10, 11)] == [10, 1, 0, 0]
    assert budget.steps_left(4, 3) == 0
    assert Criteria(epochs=3).budget.steps_left(10**9, 0) == math.inf
    assert not Criteria(max_steps=10).budget.is_used_up(9, 10**9)
    assert Criteria().budget.is_used_up(0, 1000)


def test_which_of_several_reasons_is_given():
    criteria = observed([1.0] * 11, tol=0.1, patience=1, epochs=2)
    flags = {"is_converged": True, "is_stopped": True}
    assert status(criteria, n_epochs=2, **flags) == CONVERGED
    assert status(criteria, n_epochs=2, is_stopped=True) == STOPPED
    assert status(criteria, n_epochs=2) == NO_IMPROVEMENT
    criteria.problem = "x is not finite."
    assert status(criteria, n_epochs=2, **flags) == NOT_FINITE
    assert criteria.message(NOT_FINITE, 2) == "x is not finite."


@pytest.mark.parametrize(
    ("beta", "patience"),
    [(0.0, 5), (0.5, 5), (0.6, 5), (0.8, 10), (0.9, 20), (0.99, 200), (1.5, 2000)],
)
def test_the_default_patience(beta, patience):
    assert default_patience(beta) == patience
    assert Criteria(tol=0.1, beta=beta).tolerance.patience == patience
    assert Criteria(tol=0.1, beta=beta, patience=3).tolerance.patience == 3


def settled_after(losses, tol, patience):
    """Return the number of epochs after which the losses have settled, by the definition."""
    for n in range(1, len(losses) + 1):
        best = np.fmin.accumulate(losses[:n]).tolist()
        tols = [tol * max(1, abs(b)) for b in best]
        near = [False] + [
            losses[i] - best[i] <= tols[i] and best[i - 1] - best[i] <= tols[i] for i in range(1, n)
        ]
        window = max(patience, n // 10)
        if n < 2 * window + 1 or not all(near[-patience:]):
            continue
        remaining = []
        while window >= 1:
            d = best[-1 - window] - best[-1]
            before = best[-1 - 2 * window] - best[-1 - window]
            if d > 2.0**-50 * max(1, abs(best[-1])):
                r = d / before if before > 0 else math.inf
                remaining.append(d * r / (1 - r) if r < 1 else math.inf)
            window = window // 2
        if max(remaining, default=0.0) <= tols[-1]:
            return n
    return None


@pytest.mark.parametrize(
    ("losses", "tol", "patience", "epochs"),
    [
        ([5.0] * 30, 0.1, 5, 11),  # the first epoch has no earlier loss to compare with
        ([5.0] * 30, 0.1, 1, 3),
        ([5.0] * 30, 0.0, 2, 5),
        ([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125], 0.25, 1, 6),  # the rest is 0.25 after 0.25
        ([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125], 0.24, 1, 7),
        ([1.0 - 0.001 * i for i in range(50)], 0.01, 2, None),  # a small but steady decrease
        ([0.999**i for i in range(900)], 0.01, 5, None),
        ([1.0 + 0.1 * (-1) ** i for i in range(50)], 0.01, 2, None),  # away from the best
        ([1.0 + i for i in range(50)], 0.01, 2, None),
        ([5.0, 5.0, 5.0, 9.0, 5.0, 5.0, 5.0, 5.0], 0.01, 2, 6),  # counted anew after 9
        ([100.0, 100.0, 99.0, 99.0, 99.0], 0.01, 2, 5),  # relative to the loss
        ([math.nan, 5.0, 5.0, 5.0, 5.0, 5.0], 0.1, 1, 3),
    ],
)
def test_when_the_loss_has_settled(losses, tol, patience, epochs):
    n = None
    criteria = Criteria(tol=tol, patience=patience)
    for epoch, loss in enumerate(losses):
        criteria.observe(epoch, loss)
        if criteria.is_due:
            n = epoch + 1
            break
    assert n == epochs


def test_random_losses_settle_by_the_definition():
    rng = np.random.default_rng(0)
    found = set()
    for trial in range(200):
        rate = rng.choice([0.3, 0.7, 0.95])
        noise = rng.choice([0.0, 1e-3, 0.1])
        losses = (rate ** np.arange(60) + noise * rng.random(60)).tolist()
        tol, patience = rng.choice([0.0, 1e-4, 0.01, 0.3]).item(), int(rng.integers(1, 8))
        expected = settled_after(losses, tol, patience)
        criteria, n = Criteria(tol=tol, patience=patience), None
        for epoch, loss in enumerate(losses):
            criteria.observe(epoch, loss)
            criteria.observe(epoch, loss + 1)  # has no effect: this epoch was already counted
            if criteria.is_due:
                n = epoch + 1
                break
        assert n == expected, trial
        found.add(n)
    assert len(found) > 15
    assert None in found


def test_no_improvement_is_ten_times_patience():
    criteria = observed([3.0] + [4.0] * 20, tol=0.1, patience=2)
    assert criteria.tolerance.is_stuck
    assert not observed([3.0] + [4.0] * 19, tol=0.1, patience=2).tolerance.is_stuck
    # An improvement by tol in several epochs together counts.
    steady = [3.0 - 0.02 * i for i in range(100)]
    assert not observed(steady, tol=0.1, patience=2).tolerance.is_stuck
    assert observed(steady, tol=0.1, patience=1).tolerance.is_stuck is False
    crawling = [3.0 - 1e-4 * i for i in range(21)]
    assert observed(crawling, tol=0.1, patience=2).tolerance.is_stuck


@pytest.mark.parametrize(
    ("loss", "largest", "is_success"),
    [
        (1.0, 0.1, True),
        (2.0, 0.1, True),
        (2.5, 0.1, False),  # worse than the start
        (1.0, 0.11, False),
        (1.0, math.nan, False),
        (math.nan, 0.0, False),
        (-math.inf, 0.0, False),
    ],
)
def test_success_needs_a_small_gradient_at_a_finite_point_no_worse_than_the_start(
    loss, largest, is_success
):
    assert observed([2.0], gtol=0.1).judge(1, loss, largest) is is_success


def test_the_limit_of_the_gradient():
    assert Criteria(gtol=0.3, tol=1e-4).limit(100.0) == 0.3
    assert Criteria(tol=1e-4).limit(-100.0) == pytest.approx(1.0)
    assert Criteria(tol=1e-4).limit(0.1) == pytest.approx(0.01)
    assert Criteria(searches=True).limit(-100.0) == pytest.approx(1e-3)
    assert Criteria(searches=True, tol=1e-4).limit(0.0) == pytest.approx(0.01)
    assert not Criteria().has_limit


def test_messages():
    criteria = observed([2.0], tol=1e-6, patience=4, unit="iteration", max_steps=9)
    assert criteria.message(BUDGET_USED_UP, 9) == "Maximum number of iterations has been reached."
    assert criteria.message(STOPPED, 1) == "Stopped by callback."
    assert criteria.message(INTERRUPTED, 1) == "Interrupted."
    criteria.judge(1, 1.0, 0.25)
    assert criteria.message(NO_IMPROVEMENT, 3) == (
        "The loss has not improved by tol=1e-06 for 40 iterations. At the last check, max|g| is "
        "0.25, gtol is 0.001."
    )
    assert "max|g| is 0.25, gtol is 0.001" in criteria.message(NO_STEP, 3)
    criteria.judge(1, 1.0, 0.0005)
    assert criteria.message(CONVERGED, 3) == (
        "Optimization terminated successfully: the loss has settled to tol=1e-06 for 4 iterations "
        "and max|g| is 0.0005, gtol is 0.001."
    )
    assert Criteria(epochs=3).message(BUDGET_USED_UP, 9) == (
        "Maximum number of epochs has been reached."
    )
    assert Criteria(max_steps=9).message(BUDGET_USED_UP, 9) == (
        "Maximum number of steps has been reached."
    )


def test_resuming_restores_the_criteria():
    losses = [5.0] * 8
    one = observed(losses[:5], tol=0.1, patience=1)
    one.judge(5, 5.0, 1e9)
    one.look_later()
    for epoch, loss in enumerate(losses[5:], 5):
        one.observe(epoch, loss)
    two = Criteria(tol=0.1, patience=1)
    two.resume(losses, one.looked)
    assert vars(two.tolerance) == vars(one.tolerance)
    assert (two.first, two.judged) == (one.first, one.judged)
    assert two.tolerance.near == 3

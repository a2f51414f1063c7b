"""If minimize reports success, it is at the minimum: 24 problems, all rules, several rates."""

import numpy as np
import pytest
from truth import FUNCTIONS, Problem, data_sets

from fastopt import minimize, schedules
from fastopt.models import GLM

TOL = 1e-6
SCALED = {"gd": 1.0, "momentum": 0.25, "nesterov": 0.25}  # steps are multiples of the gradient
OTHERS = {
    "adagrad": 10.0,
    "adadelta": 20.0,
    "rmsprop": 1.0,
    "adam": 1.0,
    "amsgrad": 1.0,
    "adamw": 1.0,
    "adamax": 1.0,
    "nadam": 1.0,
}
RULES = [*SCALED, *OTHERS, "line search"]
PROBLEMS: dict[str, Problem] = {**FUNCTIONS, **data_sets()}

# Problems on which every rule must succeed with its own learning rate.
EASY = [
    "matyas",
    "sum_of_squares",
    "logistic",
    "bowl",
    "exponential",
    "iris, logistic",
]


def solve(problem, rule, factor, epochs, **options):
    """Minimize a problem with `factor` times a rule's learning rate for it."""
    if rule == "line search":
        options.update(method="gd", line_search=True)
    else:
        lr = SCALED[rule] * problem.lr if rule in SCALED else OTHERS[rule] * problem.lr_of_others
        options.update(method=rule, lr=lr * factor)
    if rule == "adamw":
        options["weight_decay"] = 0.0  # weight decay would move the minimum
    with np.errstate(all="ignore"):  # runs may diverge
        return minimize(problem.fun, problem.x0, problem.data, tol=TOL, epochs=epochs, **options)


def flat(values):
    return np.concatenate(
        [np.ravel(v) for v in (values.values() if isinstance(values, dict) else [values])]
    )


def require_true(problem, result, where):
    """Check that a success is true; return it."""
    assert result.success == (result.status == 0), where
    if result.success:
        arguments = () if problem.data is None else problem.data
        fun = getattr(problem.fun, "loss_and_grad", problem.fun)
        loss, grad = fun(result.x, *arguments)
        start = fun(problem.x0, *arguments)[0]
        scale = max(1.0, abs(problem.least))
        assert result.fun == pytest.approx(loss, rel=1e-12, abs=1e-12), where
        assert np.isfinite(loss), where
        assert loss <= start, where
        assert (loss - problem.least) / scale <= 10 * TOL, where
        assert abs(flat(grad)).max() <= np.sqrt(TOL) * max(1.0, abs(loss)), where
        assert np.isfinite(flat(result.x)).all(), where
    return result.success


@pytest.mark.parametrize(("factor", "epochs"), [(1.0, 1500), (3.0, 600), (0.03, 400), (1e-4, 200)])
@pytest.mark.parametrize("name", PROBLEMS)
def test_success_is_true(name, factor, epochs):
    succeeded = [
        rule
        for rule in (RULES if factor == 1.0 else RULES[:-1])
        if require_true(
            PROBLEMS[name], solve(PROBLEMS[name], rule, factor, epochs), (name, rule, factor)
        )
    ]
    if factor == 1.0 and name in EASY:
        assert succeeded == RULES
    if factor == 1e-4:
        assert len(succeeded) < 6  # the learning rate is too small for most rules


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_constant_in_the_loss_makes_no_success(name):
    """A large constant hides changes of the loss, but the gradient is the same."""
    problem = FUNCTIONS[name]

    def fun(x):
        loss, grad = problem.fun(x)
        return loss + 1e6, grad

    for rule in RULES:
        result = solve(problem._replace(fun=fun), rule, 1.0, 300)
        if result.success:
            start = problem.fun(problem.x0)[0]
            left = problem.fun(result.x)[0] - problem.least
            assert left <= 0.01 * (start - problem.least), rule


def test_enough_is_easy():
    """Adam succeeds on all problems except the four hardest, so success is reported at all."""
    unsolved = {"absolute", "iris, softmax", "powell_singular", "diabetes, raw"}
    for name in set(PROBLEMS) - unsolved:
        assert solve(PROBLEMS[name], "adam", 1.0, 3000).success, name


@pytest.mark.parametrize("rule", ["gd", "momentum", "adam", "rmsprop", "nadam"])
@pytest.mark.parametrize("name", ["iris", "wine", "breast cancer", "digits", "diabetes, poisson"])
def test_success_with_mini_batches_is_true(name, rule):
    problem = PROBLEMS[name]
    own = problem.lr * 0.3 if rule in ("gd", "momentum") else 0.02
    for factor in (1.0, 0.1):
        schedule = schedules.polynomial(
            own * factor, total_steps=60 * -(-len(problem.data[1]) // 32)
        )
        result = minimize(
            problem.fun, problem.x0, problem.data, method=rule, batch_size=32, seed=0,
            schedule=schedule, tol=TOL, epochs=60,
        )  # fmt: skip
        require_true(problem, result, (name, rule, factor))


@pytest.mark.parametrize("name", ["iris", "wine", "digits", "linnerud", "diabetes, poisson"])
def test_success_of_ksgd_is_true(name):
    problem = PROBLEMS[name]
    assert isinstance(problem.fun, GLM)
    result = minimize(
        problem.fun, problem.x0, problem.data, method="ksgd", batch_size=16, seed=0, m0=1e6,
        tol=TOL, epochs=60,
    )  # fmt: skip
    require_true(problem, result, name)

"""Sparse COO gradients have torch's result or torch's error."""

import warnings

import pytest
import torch

from tests.torch.pairs import (
    DENSE,
    NAMES,
    OPTIONS,
    PAIRS,
    TAKE_SPARSE,
    assert_same,
    make_params,
    normal,
    outcome,
    params_of,
    rows,
    tolerance,
)


def sparse_gradient(kind, seed):
    """Return a sparse gradient for a parameter of shape (6, 4)."""
    values = normal((6, 4), seed)
    if kind == "coalesced":
        return rows(values)
    if kind == "uncoalesced":
        return rows(values, repeat=True)
    if kind == "empty":
        return torch.sparse_coo_tensor(
            torch.zeros(1, 0, dtype=torch.int64), values[:0], (6, 4), check_invariants=True
        )
    if kind == "other rows each step":
        index = torch.tensor([[seed % 6, (3 * seed + 1) % 6, seed % 6]])
        return torch.sparse_coo_tensor(index, values[:3], (6, 4), check_invariants=True)
    if kind == "dense at every second step" and seed % 2:
        return values
    if kind == "elements":
        return values.where(values.abs() > 0.3, 0).to_sparse(2)
    return rows(values)


SPARSE = ["coalesced", "uncoalesced", "empty", "other rows each step", "elements",
          "dense at every second step"]  # fmt: skip
SPARSE_OPTIONS = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, maximize=True)),
    ("SGD", dict(lr=0.1, momentum=0.8)),
    ("SGD", dict(lr=0.1, momentum=0.8, dampening=0.2)),
    ("SGD", dict(lr=0.1, momentum=0.8, nesterov=True)),
    ("SGD", dict(lr=0.1, weight_decay=0.1)),
    ("Adagrad", dict(lr=0.1)),
    ("Adagrad", dict(lr=0.1, maximize=True)),
    ("Adagrad", dict(lr=0.1, weight_decay=0.1)),
    ("Adagrad", dict(lr=0.1, lr_decay=0.2, eps=0.01, initial_accumulator_value=0.3)),
    ("SparseAdam", OPTIONS["SparseAdam"]),
    ("SparseAdam", dict(lr=0.1, maximize=True)),
    *((name, OPTIONS[name]) for name in NAMES if name not in TAKE_SPARSE),
]


def dense(value):
    return value.to_dense() if torch.is_tensor(value) and value.is_sparse else value


def trained(cls, name, options, kind, change=lambda g: g):
    """Return parameters after each step, and state, or the first error and its step."""
    opt = cls(make_params([(6, 4), (6, 4)]), **options)
    p, q = params_of(opt)
    results = []
    for t in range(5):
        p.grad = normal((6, 4), 70 + t) if name in DENSE else rows(normal((6, 4), 70 + t))
        q.grad = change(sparse_gradient(kind, t))
        before = [p.detach().clone(), q.detach().clone()]
        error = outcome(opt.step)
        after = [p.detach().clone(), q.detach().clone()]
        if error:
            if cls is PAIRS[name][0]:
                assert_same(after, before, 0, f"after the failed step {t}")
            return {"step": t, "error": error}
        results.append(after)
    state = {key: dense(value) for key, value in opt.state.get(q, {}).items()}
    return {"params": results, "state": state}


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize(("name", "options"), SPARSE_OPTIONS)
def test_sparse_gradients(name, options, kind):
    """The result or the error is torch's, and a step that raises an error changes nothing.

    There are three differences.  SparseAdam needs gradients with whole rows.  SGD with momentum
    accepts a dense gradient after a sparse one.  SGD with weight decay raises the error that
    Adagrad raises; torch's SGD raises one about the addition of tensors.
    """
    ours_class, theirs_class = PAIRS[name]
    ours = trained(ours_class, name, options, kind)
    with warnings.catch_warnings(action="ignore"):  # from torch's Adagrad
        theirs = trained(theirs_class, name, options, kind)
        if name == "SGD" and "momentum" in options and kind == "dense at every second step":
            assert theirs["error"][0] is RuntimeError
            theirs = trained(theirs_class, name, options, kind, dense)
    if name == "SparseAdam" and kind == "elements":
        assert issubclass(ours["error"][0], ValueError)
        assert "2 sparse dimensions" in ours["error"][1]
    elif name == "SGD" and "weight_decay" in options:
        message = "weight_decay option is not compatible with sparse gradients"
        assert ours["error"] == (RuntimeError, message)
    else:
        assert_same(ours, theirs, 2e-6, kind)


@pytest.mark.parametrize("name", TAKE_SPARSE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_sparse_embedding(name, dtype):
    """The gradient that autograd makes for nn.Embedding(sparse=True)."""

    def trained(cls):
        table = torch.nn.Embedding(20, 3, sparse=True, dtype=dtype)
        table.weight.data.copy_(normal((20, 3), 0, dtype))
        opt = cls(table.parameters(), lr=0.1)
        for t in range(4):
            opt.zero_grad()
            index = torch.tensor([[1, 5, 5, 19], [t, 5, 0, 2 * t]])
            (table(index) ** 2).sum().backward()
            assert table.weight.grad.is_sparse
            opt.step()
        return [(p.detach(), dict(opt.state.get(p, {}))) for p in params_of(opt)]

    ours, theirs = (trained(cls) for cls in PAIRS[name])
    assert_same(ours, theirs, tolerance(name, dtype), "embedding")


def test_dense_gradient_of_sparse_adam_is_refused():
    ours, theirs = (outcome_of_step(cls, normal((4, 4), 1)) for cls in PAIRS["SparseAdam"])
    assert theirs[0] is RuntimeError
    assert ours == theirs


def outcome_of_step(cls, gradient):
    (p,) = params = make_params([tuple(gradient.shape)])
    opt = cls(params)
    p.grad = gradient
    return outcome(opt.step)

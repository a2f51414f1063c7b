"""The directions of rules that work on whole matrices, computed before the step in C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastopt._core import Plan
from fastopt.arrays.accepted import as_gradient
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.arrays.layout import new_like
from fastopt.arrays.sparse import is_of_rows
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base.groups import ParamGroup
from fastopt.optimizers.base.parameters import Parameters
from fastopt.optimizers.base.rule import Direction

Lent = list[tuple[int, int, Array]]  # as `Plan.step_in_call` takes it

_WITHOUT_EFFECTS = {"on_nonfinite": "propagate", "zero_grads": False}  # the step itself has them


class _Matrix(NamedTuple):
    """A matrix that has a gradient in this step."""

    name: str
    position: int  # in the optimizer's plan
    group: int  # index into the groups with directions
    grad: Array
    states: tuple[Array, ...]
    scalars: tuple[Array, Array]  # copies
    work: Array  # becomes the input of the orthogonalization, then the direction


def directions(
    parameters: Parameters,
    groups: Sequence[ParamGroup],
    plan: Plan,
    extras: Mapping[str, Any],
    n_threads: int,
    grads: Any,
) -> Lent:
    """Return the direction of each matrix that has a gradient, as a state that exists for one step.

    A second plan, of the matrices alone, computes the input of the orthogonalization: a step of it
    does to the gradients what a step of the optimizer does before its rule.  It writes new arrays
    only, so that a step that fails or is skipped later changes nothing.

    Parameters
    ----------
    parameters, plan, extras, n_threads
        Those of the optimizer.
    groups
        Its groups of matrices.
    grads
        The argument of `step`.
    """
    matrices = _with_gradients(parameters, groups, plan.ordered(grads))
    before = Plan(
        "list",
        [matrix.work for matrix in matrices],
        [matrix.name for matrix in matrices],
        [None] * len(matrices),
        [None] * len(matrices),
        [matrix.states for matrix in matrices],
        [(None, None, None)] * len(matrices),
        [matrix.scalars for matrix in matrices],
        [()] * len(matrices),
        [matrix.group for matrix in matrices],
        [""] * len(matrices),
        len(groups),
        n_threads,
    )
    before.set_extras(_extras.for_c({**extras, **_WITHOUT_EFFECTS}))
    if extras["max_grad_norm"] is not None:
        before.set_norm(plan.norm_of(plan.ordered(grads)) * (1.0 / extras["grad_scale"]))
    options = [_for_c(group) for group in groups]
    before.step([matrix.grad for matrix in matrices], options, None)
    return [_direction(matrix, _of(groups[matrix.group])) for matrix in matrices]


def _with_gradients(
    parameters: Parameters, groups: Sequence[ParamGroup], grads: Sequence[Any]
) -> list[_Matrix]:
    indices = {key: i for i, key in enumerate(parameters.by_key())}
    found = []
    for i, group in enumerate(groups):
        for key, w in group.arrays.items():
            grad = grads[indices[key]]
            if grad is not None and not is_of_rows(grad):  # a step refuses the latter
                arrays, (step, saved) = parameters.arrays[key], parameters.scalars[key]
                # The parameter is needed for coupled weight decay only.
                start = arrays.get("master", w) if _coupled(group) else 0.0
                matrix = _Matrix(
                    f"parameter {key!r}",
                    indices[key],
                    i,
                    as_gradient(f"parameter {key!r}", w, grad),
                    tuple(arrays[name] for name in group.state_names),
                    (step.copy(), saved.copy()),
                    new_like(w, computed_in(w), start),
                )
                found.append(matrix)
    return found


def _of(group: ParamGroup) -> Direction:
    found = group.rule._direction(group.options)
    assert found is not None
    return found


def _coupled(group: ParamGroup) -> float:
    """Return the coupled weight decay."""
    decay: float = group["weight_decay"]
    return 0.0 if group["decoupled_weight_decay"] else decay


def _for_c(group: ParamGroup) -> Any:
    _, hyperparameters, _, _, base_lr, maximize, *_ = group.for_c()
    return (
        _of(group).kernel,
        hyperparameters,
        _coupled(group),
        "coupled",
        base_lr,
        maximize,
        0,
        None,
    )


def _direction(matrix: _Matrix, direction: Direction) -> tuple[int, int, Array]:
    """Replace the input of a matrix by the direction; return it in the dtype of the states."""
    direction.orthogonalize(matrix.work)
    dtype = matrix.states[0].dtype
    work = matrix.work if matrix.work.dtype == dtype else new_like(matrix.work, dtype, matrix.work)
    return matrix.position, len(matrix.states), work

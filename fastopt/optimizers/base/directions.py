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
from fastopt.optimizers.base.rule import Direction
from fastopt.optimizers.base.state.groups import ParamGroup
from fastopt.optimizers.base.state.parameters import Parameters

Lent = list[tuple[int, int, Array]]  # as `Plan.step_in_call` takes it

_WITHOUT_EFFECTS = {"on_nonfinite": "propagate", "zero_grads": False}  # the step itself has them


class Matrix(NamedTuple):
    """A matrix that has a gradient in this step.

    Attributes
    ----------
    name
        The name of the parameter, for error messages.
    position
        The index of the parameter in the optimizer.
    group
        An index into the options of `computed`.
    grad, states, scalars
        The gradient, the state arrays, and copies of the step count and the saved numbers.
    work
        An array of `work_like`.
    direction
        How the direction is computed.
    """

    name: str
    position: int
    group: int
    grad: Array
    states: tuple[Array, ...]
    scalars: tuple[Array, Array]
    work: Array
    direction: Direction


def work_like(w: Array, master: Array | None, coupled: float) -> Array:
    """Return the array in which a direction is computed, which starts as the parameter.

    The values of the parameter are needed for coupled weight decay only.
    """
    start = 0.0 if coupled == 0 else w if master is None else master
    return new_like(w, computed_in(w), start)


def options_for_c(
    direction: Direction, hyperparameters: tuple[float, ...], coupled: float, maximize: bool
) -> tuple[Any, ...]:
    """Return the argument of `Plan.set_group`, given the coupled weight decay."""
    return direction.kernel, hyperparameters, coupled, "coupled", 0.0, maximize, 0.0, None


def computed(
    matrices: Sequence[Matrix],
    options: Sequence[tuple[Any, ...]],
    extras: Mapping[str, Any],
    norm: float | None,
    n_threads: int,
) -> Lent:
    """Return the direction of each matrix, as a state that exists for one step.

    A plan of the matrices alone computes the input of the orthogonalization: a step of it does to
    the gradients what a step of the optimizer does before its rule.  It writes new arrays only, so
    that a step that fails or is skipped later changes nothing.

    Parameters
    ----------
    matrices
        The matrices that have a gradient.
    options
        The results of `options_for_c` for their groups.
    extras, n_threads
        Those of the optimizer.
    norm
        The norm of all gradients if they are clipped by it, else None.
    """
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
        len(options),
        n_threads,
    )
    before.set_extras(_extras.for_c({**extras, **_WITHOUT_EFFECTS}))
    if norm is not None:
        before.set_norm(norm)
    before.step([matrix.grad for matrix in matrices], [*options], None)
    return [_direction(matrix) for matrix in matrices]


def _direction(matrix: Matrix) -> tuple[int, int, Array]:
    """Replace the input of a matrix by the direction; return it in the dtype of the states."""
    matrix.direction.orthogonalize(matrix.work)
    dtype = matrix.states[0].dtype
    work = matrix.work if matrix.work.dtype == dtype else new_like(matrix.work, dtype, matrix.work)
    return matrix.position, len(matrix.states), work


def directions(
    parameters: Parameters,
    groups: Sequence[ParamGroup],
    plan: Plan,
    extras: Mapping[str, Any],
    n_threads: int,
    grads: Any,
) -> Lent:
    """Return the directions of a step of an optimizer, given its groups of matrices."""
    matrices, options = [], []
    positions = {key: i for i, key in enumerate(parameters.by_key())}
    ordered = plan.ordered(grads)
    for i, group in enumerate(groups):
        direction = group.rule._direction(group.options)
        assert direction is not None
        coupled = 0.0 if group["decoupled_weight_decay"] else group["weight_decay"]
        options.append(options_for_c(direction, group.for_c()[1], coupled, group["maximize"]))
        for key, w in group.arrays.items():
            name, grad = f"parameter {key!r}", ordered[positions[key]]
            if grad is None or is_of_rows(grad):  # a step refuses the latter
                continue
            arrays, (step, saved) = parameters.arrays[key], parameters.scalars[key]
            matrix = Matrix(
                name,
                positions[key],
                i,
                as_gradient(name, w, grad),
                tuple(arrays[state] for state in group.state_names),
                (step.copy(), saved.copy()),
                work_like(w, arrays.get("master"), coupled),
                direction,
            )
            matrices.append(matrix)
    clips = extras["max_grad_norm"] is not None
    norm = plan.norm_of(ordered) * (1.0 / extras["grad_scale"]) if clips else None
    return computed(matrices, options, extras, norm, n_threads)

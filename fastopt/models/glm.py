"""Generalized linear models: an `MLP` without a hidden layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastopt._checks import Choice
from fastopt.models.inputs import real_dtype
from fastopt.models.mlp import MLP, Params

_FAMILIES = {
    "linear": "squared",
    "logistic": "logistic",
    "poisson": "poisson",
    "softmax": "softmax",
}


class GLM(MLP):
    """Generalized linear model with its canonical link: an MLP without a hidden layer.

    The linear predictor is z = X w1 + b1. The losses, the mean of y and the accepted y are those
    in the table of `MLP`. All methods of `MLP` are available.

    Parameters
    ----------
    n_features : int, at least 1
    family : "linear", "logistic", "poisson" or "softmax"
        The loss of `MLP` is "squared", "logistic", "poisson" or "softmax", respectively.
    n_outputs : int, at least 1
        The number of columns of y; for "softmax" the number of classes, at least 2.

    Raises
    ------
    FastoptError, TypeError
        As in `MLP`.

    Notes
    -----
    "softmax" has one column of weights per class, which is one more than the data identify: adding
    the same vector to all columns leaves the loss unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> model = GLM(3, "poisson")
    >>> model
    GLM(n_features=3, family='poisson', n_outputs=1)
    >>> model.loss_and_grad(model.init(), np.eye(3), [0, 1, 5])
    (1.0, {'w1': array([[ 0.33333333],
           [ 0.        ],
           [-1.33333333]]), 'b1': array([-1.])})
    """

    def __init__(self, n_features: int, family: str = "linear", n_outputs: int = 1) -> None:
        Choice(tuple(_FAMILIES))("family", family)
        super().__init__((n_features, n_outputs), loss=_FAMILIES[family])
        self.family = family

    def __repr__(self) -> str:
        n_features, n_outputs = self.sizes
        return f"GLM(n_features={n_features}, family={self.family!r}, n_outputs={n_outputs})"

    def init(
        self,
        seed: int | np.random.Generator | None = None,  # noqa: ARG002
        dtype: npt.DTypeLike = np.float64,
    ) -> Params:
        """Return zeros; `seed` is ignored, because the loss is convex, so any start is suitable."""
        dtype = real_dtype("dtype", {np.dtype(dtype)})
        return {name: np.zeros(shape, dtype) for name, shape in self.shapes.items()}

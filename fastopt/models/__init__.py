"""Multilayer perceptrons and generalized linear models with gradients, in NumPy.

A model object holds shapes and formulas, no parameters. The parameters are a dict of arrays that
the caller holds and an optimizer updates in place:

>>> import numpy as np
>>> from fastopt.models import MLP
>>> model = MLP([2, 8, 2], activation="tanh", loss="softmax")
>>> params = model.init(seed=0)
>>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
>>> y = np.array([0, 1, 1, 0])
>>> for _ in range(300):
...     loss, grads = model.loss_and_grad(params, X, y)
...     for name in params:
...         params[name] -= 1.0 * grads[name]
>>> model.predict(params, X)
array([0, 1, 1, 0])

Computations use the dtype of the parameters, float32 or float64; sums over the rows of a batch are
accumulated in float64, so that losses and gradients do not lose digits as the number of rows grows.
Computations use BLAS and exp, so bit-identical results are promised on one machine with one number
of BLAS threads.

| module | what it answers |
|---|---|
| `mlp` | What are the parameters, predictions and gradients of an `MLP`? |
| `glm` | How is a `GLM` an `MLP` without a hidden layer? |
| `losses` | What are the value and the derivative of each loss, and which y does it accept? |
| `activations` | What are the values and the derivatives of each activation? |
| `sums` | How are losses and gradients summed over the rows of a batch? |
| `inputs` | Which arrays does a model accept? |
"""

from fastopt.models.glm import GLM
from fastopt.models.mlp import MLP

__all__ = ["GLM", "MLP"]

# A pickle contains the documented name, so that a class may move to another module.
for _name in __all__:
    globals()[_name].__module__ = __name__

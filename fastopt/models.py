"""Models with gradients in NumPy: multilayer perceptrons and generalized linear models.

A model knows shapes and formulas. Its parameters are a dict of arrays that belong to the
caller, for an optimizer to update in place:

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

All is computed in the parameters' dtype, float32 or float64, but a batch's losses are summed
in float64. BLAS and exp take part: equal bits are promised per machine and BLAS thread count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._checks import Choice
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array

__all__ = ["GLM", "MLP"]

Params = dict[str, Array]


class MLP:
    """Multilayer perceptron.

    h_0 = X, h_l = activation(h_(l-1) w_l + b_l) and z = h_(L-1) w_L + b_L, of shape (n, k) for
    n rows and k = sizes[-1] outputs. The loss of a batch is the mean over its rows of

    ==========  =================================  ===================  ======================
    loss        of one row                         mean of y            y
    ==========  =================================  ===================  ======================
    "softmax"   log(sum_j exp(z_j)) - z_y          exp(z_j)/their sum   (n,), ints in [0, k)
    "squared"   sum_j (z_j - y_j)^2 / 2            z                    (n, k), real
    "logistic"  sum_j log(1 + exp(z_j)) - y_j z_j  1/(1 + exp(-z))      (n, k), 0 or 1
    "poisson"   sum_j exp(z_j) - y_j z_j           exp(z)               (n, k), at least 0
    ==========  =================================  ===================  ======================

    which is minus the log-likelihood up to what the parameters do not change. Where k = 1, y
    may be (n,) too, and predictions are (n,).

    Parameters
    ----------
    sizes : sequence of at least 2 ints, each at least 1
        Widths of the layers, the inputs first. "softmax" needs 2 outputs or more.
    activation : "relu", "tanh" or "sigmoid"
        Of the hidden layers.
    loss : "softmax", "squared", "logistic" or "poisson"

    Attributes
    ----------
    shapes : dict of str to tuple
        The parameters: w1 (sizes[0], sizes[1]), b1 (sizes[1],), w2, b2, ...
    n_params : int
        How many numbers they are.

    Raises
    ------
    FastoptError, TypeError
        Here and in every method, naming the argument, what was received and what is allowed.

    Examples
    --------
    >>> model = MLP([64, 32, 10])
    >>> model
    MLP(sizes=(64, 32, 10), activation='relu', loss='softmax')
    >>> model.shapes
    {'w1': (64, 32), 'b1': (32,), 'w2': (32, 10), 'b2': (10,)}
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", loss: str = "softmax"
    ) -> None:
        Choice(tuple(_ACTIVATIONS))("activation", activation)
        Choice(tuple(_LOSSES))("loss", loss)
        if not all(isinstance(size, (int, np.integer)) for size in sizes):
            raise TypeError(f"sizes is {sizes!r}; whole numbers are needed")
        if len(sizes) < 2 or min(sizes) < 1:
            raise FastoptError(f"sizes is {sizes!r}; 2 numbers or more, each >= 1, are needed")
        if loss == "softmax" and sizes[-1] < 2:
            raise FastoptError(f"sizes is {sizes!r}; 'softmax' needs 2 outputs or more")
        self.sizes = tuple(int(size) for size in sizes)
        self.activation = activation
        self.loss = loss
        self.shapes: dict[str, tuple[int, ...]] = {}
        for layer, (n_in, n_out) in enumerate(pairwise(self.sizes), 1):
            self.shapes[f"w{layer}"] = (n_in, n_out)
            self.shapes[f"b{layer}"] = (n_out,)
        self.n_params = sum(math.prod(shape) for shape in self.shapes.values())

    def __repr__(self) -> str:
        return f"MLP(sizes={self.sizes}, activation={self.activation!r}, loss={self.loss!r})"

    def init(
        self, seed: int | np.random.Generator | None = None, dtype: npt.DTypeLike = np.float64
    ) -> Params:
        """Draw parameters to start from.

        Biases are 0 and weights normal with mean 0 and variance 1/n_in (LeCun et al. 1998), or
        2/n_in before a relu (He et al. 2015). A seed fixes the numbers, rounded to `dtype`.

        Parameters
        ----------
        seed : int or Generator, optional
            Drawn by default.
        dtype : float32 or float64
            Default float64.

        Returns
        -------
        dict of str to array
            As `shapes` says.
        """
        dtype = _real_dtype("dtype", {np.dtype(dtype)})
        rng = np.random.default_rng(seed)
        params: Params = {}
        for name, shape in self.shapes.items():
            if name.startswith("b"):
                params[name] = np.zeros(shape, dtype)
            else:
                before_relu = self.activation == "relu" and name != f"w{len(self.sizes) - 1}"
                scale = math.sqrt((2 if before_relu else 1) / shape[0])
                params[name] = (scale * rng.standard_normal(shape)).astype(dtype)
        return params

    def loss_and_grad(
        self, params: Mapping[str, Array], X: npt.ArrayLike, y: npt.ArrayLike
    ) -> tuple[float, Params]:
        """Give the mean loss of a batch and its gradient.

        Parameters
        ----------
        params : dict
            As `init` gives it.
        X : (n, sizes[0]) array
        y : array
            As the class says for its loss.

        Returns
        -------
        loss : float
        grads : dict
            New C-contiguous arrays with the names, shapes, order and dtype of the parameters.
        """
        X = self._checked(params, X)
        n = len(X)
        loss = _LOSSES[self.loss]
        y = loss.targets(y, (n, self.sizes[-1]), X.dtype)
        inputs, z = self._forward(params, X)
        total, slope = loss.value_and_slope(z, y)
        slope /= n
        return total / n, self._backward(params, inputs, slope)

    def mean(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        """Give the mean of y at each row of X: probabilities where y are classes.

        Parameters
        ----------
        params : dict
            As `init` gives it.
        X : (n, sizes[0]) array

        Returns
        -------
        (n, k) array, or (n,) where k = 1
        """
        return _squeeze(_LOSSES[self.loss].mean(self._output(params, X)))

    def predict(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        """Give the likeliest class at each row of X, or the mean where y are no classes.

        Parameters
        ----------
        params : dict
            As `init` gives it.
        X : (n, sizes[0]) array

        Returns
        -------
        (n,) array of int for "softmax", else (n, k), or (n,) where k = 1
        """
        loss = _LOSSES[self.loss]
        z = self._output(params, X)
        return _squeeze(loss.classes(z) if loss.has_classes else loss.mean(z))

    def score(self, params: Mapping[str, Array], X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Give the share of right classes, or the share of the deviance that is explained.

        That share is 1 - D(y, mean)/D(y, average of y), NaN where y is constant. For "squared"
        it is R^2 (several outputs being weighted by their variances).

        Parameters
        ----------
        params : dict
            As `init` gives it.
        X : (n, sizes[0]) array
        y : array
            As the class says for its loss.

        Returns
        -------
        float
            At most 1.
        """
        loss = _LOSSES[self.loss]
        z = self._output(params, X)
        y = loss.targets(y, z.shape, np.dtype(np.float64))
        if loss.has_classes:
            return float(np.mean(loss.classes(z) == y))
        if (y == y[0]).all():
            return math.nan
        return 1.0 - loss.deviance(y, loss.mean(z)) / loss.deviance(y, y.mean(axis=0))

    def mean_and_jacobian(
        self, params: Mapping[str, Array], X: npt.ArrayLike
    ) -> tuple[Array, Array]:
        """Give the mean of y at each row of X and its derivatives by the parameters.

        With `variance`, what `KalmanSGD.update` needs. For "softmax" the derivatives are those of
        z, whose mean are the probabilities.

        Parameters
        ----------
        params : dict
            As `init` gives it.
        X : (n, sizes[0]) array

        Returns
        -------
        mean : (n, k) array
        jac : (n, k, n_params) array
            The parameters in the order of `flatten`.

        Examples
        --------
        >>> model = GLM(2, "poisson")
        >>> mean, jac = model.mean_and_jacobian(model.init(), [[3.0, 5.0]])
        >>> print(mean, jac, model.variance(mean))
        [[1.]] [[[3. 5. 1.]]] [[1.]]
        """
        X = self._checked(params, X)
        inputs, z = self._forward(params, X)
        jac = self._jacobian(params, inputs)
        mean = _LOSSES[self.loss].mean(z)
        if self.loss in ("logistic", "poisson"):  # canonical links: d mean / d z is the variance
            jac *= _LOSSES[self.loss].variance(mean)[:, :, None]
        return mean, jac

    def variance(self, mean: Array) -> Array | str:
        """Give the variance of y at a mean, as `KalmanSGD.update` takes it.

        Parameters
        ----------
        mean : (n, k) array
            As `mean_and_jacobian` gives it.

        Returns
        -------
        (n, k) array, or "multinomial" for "softmax"
        """
        return "multinomial" if self.loss == "softmax" else _LOSSES[self.loss].variance(mean)

    def flatten(self, params: Mapping[str, Array]) -> Array:
        """Give all parameters in a vector of its own: w1 row by row, b1, w2, ...

        Parameters
        ----------
        params : dict
            As `init` gives it.

        Returns
        -------
        (n_params,) array
        """
        return np.concatenate([params[name].ravel() for name in self.shapes])

    def unflatten(self, vector: Array) -> Params:
        """Give the parameters that such a vector holds, as views of it.

        Parameters
        ----------
        vector : (n_params,) array
            As `flatten` gives it.

        Returns
        -------
        dict of str to array

        Raises
        ------
        FastoptError
            A vector of another shape.
        """
        if vector.shape != (self.n_params,):
            raise FastoptError(f"vector has shape {vector.shape}; ({self.n_params},) is needed")
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])
        parts = np.split(vector, ends[:-1])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def neurons(self) -> list[Array]:
        """Give the places in `flatten` of each neuron's incoming weights and bias.

        As the `covariance` of a `KalmanSGD` they leave out what neurons have in common.

        Returns
        -------
        list of (n_in + 1,) arrays of int
            The layers in order, and in a layer its neurons.
        """
        places = self.unflatten(np.arange(self.n_params))
        return [
            np.append(weights, bias)
            for layer in range(1, len(self.sizes))
            for weights, bias in zip(places[f"w{layer}"].T, places[f"b{layer}"], strict=True)
        ]

    def _output(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        return self._forward(params, self._checked(params, X))[1]

    def _forward(self, params: Mapping[str, Array], X: Array) -> tuple[list[Array], Array]:
        """Give each layer's inputs h_0, ..., h_(L-1), which `_backward` needs, and z."""
        activate, _ = _ACTIVATIONS[self.activation]
        inputs: list[Array] = []
        z = X
        for layer in range(1, len(self.sizes)):
            inputs.append(activate(z) if inputs else z)
            z = inputs[-1] @ params[f"w{layer}"]
            z += params[f"b{layer}"]
        return inputs, z

    def _backward(self, params: Mapping[str, Array], inputs: list[Array], slope: Array) -> Params:
        """Give the gradient, summed over the rows, of what has the derivative `slope` by z."""
        _, activation_slope = _ACTIVATIONS[self.activation]
        grads: Params = {}
        for layer in range(len(inputs), 0, -1):
            h = inputs[layer - 1]
            grads[f"w{layer}"] = h.T @ slope
            grads[f"b{layer}"] = slope.sum(axis=0)
            if layer > 1:
                slope = slope @ params[f"w{layer}"].T
                slope *= activation_slope(h)
        return {name: grads[name] for name in self.shapes}

    def _jacobian(self, params: Mapping[str, Array], inputs: list[Array]) -> Array:
        """Give the derivatives of each row's z."""
        _, activation_slope = _ACTIVATIONS[self.activation]
        n, k = len(inputs[0]), self.sizes[-1]
        jac = np.empty((n, k, self.n_params), inputs[0].dtype)
        # Of the last layer's z by this layer's: at first by itself.
        slope = np.broadcast_to(np.eye(k, dtype=jac.dtype), (n, k, k))
        end = self.n_params
        for layer in range(len(inputs), 0, -1):
            h, (n_in, n_out) = inputs[layer - 1], self.shapes[f"w{layer}"]
            bias, start = end - n_out, end - n_out - n_in * n_out
            jac[:, :, bias:end] = slope
            weights = jac[:, :, start:bias].reshape(n, k, n_in, n_out)  # a view
            np.multiply(h[:, None, :, None], slope[:, :, None, :], out=weights)
            if layer > 1:
                slope = slope @ params[f"w{layer}"].T
                slope *= activation_slope(h)[:, None, :]
            end = start
        return jac

    def _checked(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        """Refuse parameters that are not this model's; give X in their dtype."""
        if not isinstance(params, Mapping):
            raise TypeError(f"params is a {type(params).__name__}; a dict is needed")
        if params.keys() != self.shapes.keys():
            raise FastoptError(
                f"params has the keys {list(params)}; {list(self.shapes)} are needed"
            )
        for name, shape in self.shapes.items():
            param = params[name]
            if not isinstance(param, np.ndarray):
                raise TypeError(
                    f"params[{name!r}] is a {type(param).__name__}; a numpy.ndarray is needed"
                )
            if param.shape != shape:
                raise FastoptError(f"params[{name!r}] has shape {param.shape}; {shape} is needed")
        dtype = _real_dtype("params", {param.dtype for param in params.values()})
        X = _dense("X", X)
        if X.ndim != 2 or X.shape[1] != self.sizes[0] or len(X) == 0:
            raise FastoptError(f"X has shape {X.shape}; (n >= 1, {self.sizes[0]}) is needed")
        return X.astype(dtype, copy=False)


class GLM(MLP):
    """Generalized linear model with its canonical link: an MLP without a hidden layer.

    The linear predictor is z = X w1 + b1. Losses, the mean of y and what y may be are those of
    `MLP`, whose methods it has.

    Parameters
    ----------
    n_features : int, at least 1
    family : "linear", "logistic", "poisson" or "softmax"
        The loss "squared", "logistic", "poisson" or "softmax".
    n_outputs : int, at least 1
        Columns of y; for "softmax" the number of classes, at least 2.

    Raises
    ------
    FastoptError, TypeError
        As in `MLP`.

    Notes
    -----
    "softmax" has a column of weights for each class, one more than are identified: minimisers
    differ by what is added to all columns alike.

    Examples
    --------
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
        """Give zeros, whatever the seed: the loss is convex, so no start is better."""
        dtype = _real_dtype("dtype", {np.dtype(dtype)})
        return {name: np.zeros(shape, dtype) for name, shape in self.shapes.items()}


def _relu(z: Array) -> Array:
    return np.maximum(z, 0, out=z)


def _tanh(z: Array) -> Array:
    return np.tanh(z, out=z)


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))  # at most 1, so neither side overflows
    numerator = np.where(z >= 0, 1, e)
    e += 1
    return np.divide(numerator, e, out=z)


# Each overwrites its argument; its derivative is a function of its value h, not of z.
_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (_relu, lambda h: h > 0),
    "tanh": (_tanh, lambda h: 1 - h * h),
    "sigmoid": (_sigmoid, lambda h: h * (1 - h)),
}


class _Loss:
    """What a loss knows of z and y, both (n, k). z belongs to it, to be overwritten."""

    has_classes = False

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Give y, checked, in a form for the other methods; `shape` is that of z."""
        y = _dense("y", y)
        n, k = shape
        # Without this (n, 1) - (n,) would quietly be (n, n).
        if y.shape != shape and not (k == 1 and y.shape == (n,)):
            needed = f"{(n,)} or {shape}" if k == 1 else f"{shape}"
            raise FastoptError(f"y has shape {y.shape}; {needed} is needed")
        return y.reshape(shape).astype(dtype, copy=False)

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        """Give the sum of the rows' losses and its derivative by z."""
        raise NotImplementedError

    def mean(self, z: Array) -> Array:
        raise NotImplementedError

    def variance(self, mean: Array) -> Array:
        """Give the variance of y, above 0 where rounding has brought the mean to a bound."""
        raise NotImplementedError

    def classes(self, z: Array) -> Array:
        raise NotImplementedError

    def deviance(self, y: Array, mean: Array) -> float:
        """Give twice the loss at this mean less its least possible value."""
        raise NotImplementedError


class _Squared(_Loss):
    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        z -= y
        return 0.5 * _sum(z * z), z

    def mean(self, z: Array) -> Array:
        return z

    def variance(self, mean: Array) -> Array:
        return np.ones_like(mean)

    def deviance(self, y: Array, mean: Array) -> float:
        return _sum((y - mean) ** 2)


class _Poisson(_Loss):
    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        y = super().targets(y, shape, dtype)
        wrong = y[~((y >= 0) & (y < np.inf))]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed for 'poisson': finite, >= 0")
        return y

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        slope = np.exp(z)
        z *= y
        value = _sum(slope) - _sum(z)
        slope -= y
        return value, slope

    def mean(self, z: Array) -> Array:
        return np.exp(z, out=z)

    def variance(self, mean: Array) -> Array:
        return np.asarray(np.maximum(mean, np.finfo(mean.dtype).tiny))

    def deviance(self, y: Array, mean: Array) -> float:
        ratio = np.divide(y, mean, out=np.ones_like(y), where=y > 0)  # 0 log 0 = 0
        return 2.0 * _sum(y * np.log(ratio) - (y - mean))


class _Logistic(_Loss):
    has_classes = True

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        y = super().targets(y, shape, dtype)
        wrong = y[(y != 0) & (y != 1)]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed for 'logistic': 0 and 1")
        return y

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        # log(1 + exp(z)) - y z is log(1 + exp(s z)) with s = 1 - 2y, where nothing cancels.
        sign = 1 - 2 * y
        z *= sign
        value = _sum(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))
        slope = _sigmoid(z)
        slope *= sign
        return value, slope

    def mean(self, z: Array) -> Array:
        return _sigmoid(z)

    def variance(self, mean: Array) -> Array:
        return np.asarray(np.maximum(mean * (1 - mean), np.finfo(mean.dtype).eps))

    def classes(self, z: Array) -> Array:
        return (z > 0).astype(np.intp)


class _Softmax(_Loss):
    has_classes = True

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        del dtype
        y = _dense("y", y)
        n, k = shape
        if y.dtype.kind not in "iub":
            raise TypeError(f"y has dtype {y.dtype}; 'softmax' needs integers, the classes")
        if y.shape != (n,):
            raise FastoptError(f"y has shape {y.shape}; {(n,)} is needed")
        wrong = y[(y < 0) | (y >= k)]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed: classes 0 to {k - 1}")
        return y.astype(np.intp, copy=False)

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        rows = np.arange(len(y))
        z -= z.max(axis=1, keepdims=True)
        right = z[rows, y]
        np.exp(z, out=z)
        total = z.sum(axis=1, keepdims=True)
        z /= total
        z[rows, y] -= 1
        return _sum(np.log(total)) - _sum(right), z

    def mean(self, z: Array) -> Array:
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    def classes(self, z: Array) -> Array:
        classes: Array = z.argmax(axis=1)
        return classes


_LOSSES: dict[str, _Loss] = {
    "softmax": _Softmax(),
    "squared": _Squared(),
    "logistic": _Logistic(),
    "poisson": _Poisson(),
}

_FAMILIES = {
    "linear": "squared",
    "logistic": "logistic",
    "poisson": "poisson",
    "softmax": "softmax",
}


def _sum(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def _squeeze(values: Array) -> Array:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _dense(name: str, values: npt.ArrayLike) -> Array:
    array = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} is a {type(values).__name__} of dtype {array.dtype}; "
            "a dense array of real numbers is needed"
        )
    return array


def _real_dtype(name: str, dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    dtype, *others = dtypes
    if others or dtype not in (np.float32, np.float64):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} has dtype {found}; float32 or float64, one for all, is needed")
    return dtype

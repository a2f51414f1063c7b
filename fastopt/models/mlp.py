"""Multilayer perceptrons: their parameters, forward pass, gradient and Jacobian."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastopt._checks import Choice
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.models.activations import ACTIVATIONS
from fastopt.models.inputs import dense, real_dtype
from fastopt.models.losses import LOSSES
from fastopt.models.sums import of_products, over_rows

Params = dict[str, Array]


class MLP:
    """Multilayer perceptron.

    h_0 = X, h_l = activation(h_(l-1) w_l + b_l) and z = h_(L-1) w_L + b_L, of shape (n, k) for
    n rows and k = sizes[-1] outputs. The loss of a batch is the mean over its rows of

    ==========  =================================  ===================  ======================
    loss        loss of a row                      mean of y            y
    ==========  =================================  ===================  ======================
    "softmax"   log(sum_j exp(z_j)) - z_y          softmax(z)           (n,), ints in [0, k)
    "squared"   sum_j (z_j - y_j)^2 / 2            z                    (n, k), real
    "logistic"  sum_j log(1 + exp(z_j)) - y_j z_j  1/(1 + exp(-z))      (n, k), 0 or 1
    "poisson"   sum_j exp(z_j) - y_j z_j           exp(z)               (n, k), at least 0
    ==========  =================================  ===================  ======================

    which is the negative log-likelihood up to terms that do not depend on the parameters. If
    k = 1, y may also have shape (n,), and predictions have shape (n,).

    Parameters
    ----------
    sizes : sequence of at least 2 ints, each at least 1
        Widths of the layers from the inputs to the outputs. "softmax" needs at least 2 outputs.
    activation : "relu", "tanh" or "sigmoid"
        Activation of the hidden layers.
    loss : "softmax", "squared", "logistic" or "poisson"

    Attributes
    ----------
    shapes : dict of str to tuple
        The shapes of the parameters: w1 (sizes[0], sizes[1]), b1 (sizes[1],), w2, b2, ...
    n_params : int
        The number of elements of all parameters.

    Raises
    ------
    FastoptError, TypeError
        Raised by the constructor and by every method for an invalid argument. The message
        contains the argument, the value received and the values allowed.

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
        Choice(tuple(ACTIVATIONS))("activation", activation)
        Choice(tuple(LOSSES))("loss", loss)
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
        """Return initial parameters.

        Biases are 0. Weights are normal with mean 0 and variance 1/n_in (LeCun et al. 1998), or
        2/n_in before a relu (He et al. 2015). They are drawn in float64 and rounded to `dtype`.

        Parameters
        ----------
        seed : int or Generator, optional
            By default the weights differ from call to call.
        dtype : float32 or float64
            Default float64.

        Returns
        -------
        dict of str to array
            Arrays with the names and shapes in `shapes`.
        """
        dtype = real_dtype("dtype", {np.dtype(dtype)})
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
        """Return the mean loss of a batch and its gradient.

        Parameters
        ----------
        params : dict
            As returned by `init`.
        X : (n, sizes[0]) array
        y : array
            As described in the table of `MLP` for its loss.

        Returns
        -------
        loss : float
        grads : dict
            New C-contiguous arrays with the names, shapes, order and dtype of the parameters.
        """
        X = self._checked(params, X)
        n = len(X)
        loss = LOSSES[self.loss]
        y = loss.targets(y, (n, self.sizes[-1]), X.dtype)
        inputs, z = self._forward(params, X)
        total, slope = loss.value_and_slope(z, y)
        slope /= n
        return total / n, self._backward(params, inputs, slope)

    def mean(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        """Return the mean of y for each row of X: probabilities if y contains classes.

        Parameters
        ----------
        params : dict
            As returned by `init`.
        X : (n, sizes[0]) array

        Returns
        -------
        (n, k) array, or (n,) if k = 1
        """
        return _squeeze(LOSSES[self.loss].mean(self._output(params, X)))

    def predict(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        """Return the most likely class for each row of X, or the mean if y is not a class.

        Parameters
        ----------
        params : dict
            As returned by `init`.
        X : (n, sizes[0]) array

        Returns
        -------
        (n,) array of int for "softmax", otherwise (n, k), or (n,) if k = 1
        """
        loss = LOSSES[self.loss]
        z = self._output(params, X)
        return _squeeze(loss.classes(z) if loss.has_classes else loss.mean(z))

    def score(self, params: Mapping[str, Array], X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Return the accuracy, or the fraction of the deviance that the model explains.

        That fraction is 1 - D(y, mean)/D(y, average of y), or NaN if y is constant. For "squared"
        it is R^2 (with several outputs, weighted by their variances).

        Parameters
        ----------
        params : dict
            As returned by `init`.
        X : (n, sizes[0]) array
        y : array
            As described in the table of `MLP` for its loss.

        Returns
        -------
        float
            At most 1.
        """
        loss = LOSSES[self.loss]
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
        """Return the mean of y for each row of X, and its Jacobian for the parameters.

        Together with `variance` these are the arguments of `KalmanSGD.update`. For "softmax" the
        mean is that of y, the probabilities, but the derivatives are those of z.

        Parameters
        ----------
        params : dict
            As returned by `init`.
        X : (n, sizes[0]) array

        Returns
        -------
        mean : (n, k) array
        jac : (n, k, n_params) array
            The parameters are in the order of `flatten`.

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
        mean = LOSSES[self.loss].mean(z)
        if self.loss in ("logistic", "poisson"):  # canonical links: d mean / d z is the variance
            jac *= LOSSES[self.loss].variance(mean)[:, :, None]
        return mean, jac

    def variance(self, mean: Array) -> Array | str:
        """Return the variance of y for a given mean, as `KalmanSGD.update` takes it.

        Parameters
        ----------
        mean : (n, k) array
            As returned by `mean_and_jacobian`.

        Returns
        -------
        (n, k) array, or "multinomial" for "softmax"
        """
        return "multinomial" if self.loss == "softmax" else LOSSES[self.loss].variance(mean)

    def flatten(self, params: Mapping[str, Array]) -> Array:
        """Return a new vector of all parameters: w1 row by row, b1, w2, ...

        Parameters
        ----------
        params : dict
            As returned by `init`.

        Returns
        -------
        (n_params,) array
        """
        return np.concatenate([params[name].ravel() for name in self.shapes])

    def unflatten(self, vector: Array) -> Params:
        """Return the parameters that a vector contains, as views of it.

        Parameters
        ----------
        vector : (n_params,) array
            As returned by `flatten`.

        Returns
        -------
        dict of str to array

        Raises
        ------
        FastoptError
            The vector has another shape.
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
        """Return, for each neuron, the indices of its weights and bias in the vector of `flatten`.

        Passed to `KalmanSGD` as `covariance`, they give each neuron a covariance block and no
        covariance between neurons.

        Returns
        -------
        list of (n_in + 1,) arrays of int
            One array per neuron, layer by layer.
        """
        indices = self.unflatten(np.arange(self.n_params))
        return [
            np.append(weights, bias)
            for layer in range(1, len(self.sizes))
            for weights, bias in zip(indices[f"w{layer}"].T, indices[f"b{layer}"], strict=True)
        ]

    def _output(self, params: Mapping[str, Array], X: npt.ArrayLike) -> Array:
        return self._forward(params, self._checked(params, X))[1]

    def _forward(self, params: Mapping[str, Array], X: Array) -> tuple[list[Array], Array]:
        """Return the inputs h_0, ..., h_(L-1) of the layers, which `_backward` needs, and z."""
        activate, _ = ACTIVATIONS[self.activation]
        inputs: list[Array] = []
        z = X
        for layer in range(1, len(self.sizes)):
            inputs.append(activate(z) if inputs else z)
            z = inputs[-1] @ params[f"w{layer}"]
            z += params[f"b{layer}"]
        return inputs, z

    def _backward(self, params: Mapping[str, Array], inputs: list[Array], slope: Array) -> Params:
        """Return the gradient, summed over rows, from the derivative `slope` with respect to z."""
        _, activation_slope = ACTIVATIONS[self.activation]
        grads: Params = {}
        for layer in range(len(inputs), 0, -1):
            h = inputs[layer - 1]
            grads[f"w{layer}"] = of_products(h, slope)
            grads[f"b{layer}"] = over_rows(slope)
            if layer > 1:
                slope = slope @ params[f"w{layer}"].T
                slope *= activation_slope(h)
        return {name: grads[name] for name in self.shapes}

    def _jacobian(self, params: Mapping[str, Array], inputs: list[Array]) -> Array:
        """Return the derivatives of z with respect to the parameters, for each row."""
        _, activation_slope = ACTIVATIONS[self.activation]
        n, k = len(inputs[0]), self.sizes[-1]
        jac = np.empty((n, k, self.n_params), inputs[0].dtype)
        # Derivative of the outputs with respect to z of a layer; for the last, the identity.
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
        """Check the names, shapes and dtype of `params`; return X in that dtype."""
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
        dtype = real_dtype("params", {param.dtype for param in params.values()})
        X = dense("X", X)
        if X.ndim != 2 or X.shape[1] != self.sizes[0] or len(X) == 0:
            raise FastoptError(f"X has shape {X.shape}; (n >= 1, {self.sizes[0]}) is needed")
        return X.astype(dtype, copy=False)


def _squeeze(values: Array) -> Array:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

"""The optimizers: each extends the class of torch.optim with its name."""

from __future__ import annotations

from typing import Any

import torch

from fastopt import optimizers
from fastopt.torch import state
from fastopt.torch.door import Door


class SGD(Door, torch.optim.SGD):
    """Stochastic gradient descent, with momentum or Nesterov's momentum.

    Sparse gradients (torch.sparse_coo) update only the rows that they have; with momentum they are
    made dense, as in PyTorch.

    Parameters
    ----------
    params, lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, differentiable,
    fused
        As in `torch.optim.SGD`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.SGD`.
    """

    _rule = optimizers.SGD
    _keys = ("step", "momentum_buffer")
    _sparse = "allowed"


class Adagrad(Door, torch.optim.Adagrad):
    """AdaGrad.

    Sparse gradients (torch.sparse_coo) update only the rows that they have.

    Parameters
    ----------
    params, lr, lr_decay, weight_decay, initial_accumulator_value, eps, foreach, maximize,
    differentiable, fused
        As in `torch.optim.Adagrad`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.Adagrad`.
    """

    _rule = optimizers.Adagrad
    _keys = ("step", "sum")
    _sparse = "allowed"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # PyTorch has made each state, without ours and in the parameter's dtype.
        if self._options["master"] is not None or self._options["ema_decay"] is not None:
            self.state.clear()
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.dtype in state.LOW:
                    start = self.defaults["initial_accumulator_value"]
                    self.state[p]["sum"] = self.state[p]["sum"].float().fill_(start)


class Adadelta(Door, torch.optim.Adadelta):
    """AdaDelta.

    Parameters
    ----------
    params, lr, rho, eps, weight_decay, foreach, capturable, maximize, differentiable
        As in `torch.optim.Adadelta`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.Adadelta`.
    """

    _rule = optimizers.Adadelta
    _keys = ("step", "square_avg", "acc_delta")


class RMSprop(Door, torch.optim.RMSprop):
    """RMSProp.

    With ``centered``, a variance that rounding makes negative counts as 0; PyTorch gives NaN.

    Parameters
    ----------
    params, lr, alpha, eps, weight_decay, momentum, centered, capturable, foreach, maximize,
    differentiable
        As in `torch.optim.RMSprop`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.RMSprop`.
    """

    _rule = optimizers.RMSprop
    _keys = ("step", "square_avg", "momentum_buffer", "grad_avg")


class Adam(Door, torch.optim.Adam):
    """Adam and AMSGrad.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, foreach, maximize, capturable,
    differentiable, fused, decoupled_weight_decay
        As in `torch.optim.Adam`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.Adam`.
    """

    _rule = optimizers.Adam
    _keys = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _sparse_error = "Adam does not support sparse gradients, please consider SparseAdam instead"


class AdamW(Door, torch.optim.AdamW):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable,
    differentiable, fused
        As in `torch.optim.AdamW`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.AdamW`.
    """

    _rule = optimizers.AdamW
    _keys = Adam._keys
    _sparse_error = Adam._sparse_error


class Adamax(Door, torch.optim.Adamax):
    """AdaMax.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, foreach, maximize, differentiable, capturable
        As in `torch.optim.Adamax`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.Adamax`.
    """

    _rule = optimizers.Adamax
    _keys = ("step", "exp_avg", "exp_inf")


class NAdam(Door, torch.optim.NAdam):
    """Adam with Nesterov's momentum.

    The product of momenta is kept in double precision; PyTorch rounds it to single at each step.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, momentum_decay, decoupled_weight_decay, foreach,
    maximize, capturable, differentiable
        As in `torch.optim.NAdam`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.NAdam`.
    """

    _rule = optimizers.NAdam
    _keys = ("step", "mu_product", "exp_avg", "exp_avg_sq")


class SparseAdam(Door, torch.optim.SparseAdam):
    """Adam for sparse gradients, which updates only the rows that they have.

    Gradients are torch.sparse_coo with one sparse dimension.  Rows without gradient keep their
    state as it is.  eps is added as in ``fastopt.Adam(eps_mode="hat")``.

    Parameters
    ----------
    params, lr, betas, eps, maximize
        As in `torch.optim.SparseAdam`.
    **own
        The keywords of `Door`: ``max_grad_norm``, ``ema_decay``, ``rounding``, ``master`` and more.

    Notes
    -----
    The formula is that of `fastopt.Adam`.
    """

    _rule = optimizers.Adam
    _fixed = {"eps_mode": "hat", "weight_decay": 0.0}
    _keys = ("step", "exp_avg", "exp_avg_sq")
    _sparse = "only"

    @staticmethod
    def _first_step() -> Any:
        return 0

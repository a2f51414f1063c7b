"""The optimizers: each extends the class of torch.optim that has its name."""

from __future__ import annotations

from typing import Any

import torch

from fastopt import optimizers
from fastopt.optimizers.base.points.averages import added_by
from fastopt.torch import tensors
from fastopt.torch.door import Door


class SGD(Door, torch.optim.SGD):
    """Stochastic gradient descent, with momentum or Nesterov's momentum.

    A sparse gradient (torch.sparse_coo) updates only the rows that are present in it.  With
    momentum, it is converted to a dense gradient first, as in PyTorch.

    Parameters
    ----------
    params, lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, differentiable,
    fused
        As in `torch.optim.SGD`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.SGD`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import SGD
    >>> w = torch.zeros(2, requires_grad=True)
    >>> opt = SGD([w], lr=0.1, momentum=0.9)
    >>> w.sum().backward()
    >>> opt.step()
    >>> w.detach()
    tensor([-0.1000, -0.1000])
    """

    _rule = optimizers.SGD
    _keys = ("step", "momentum_buffer")
    _counts_steps = False
    _sparse = "without momentum"


class Adagrad(Door, torch.optim.Adagrad):
    """AdaGrad: the learning rate of each element falls with the sum of its squared gradients.

    A sparse gradient (torch.sparse_coo) updates only the rows that are present in it.

    Parameters
    ----------
    params, lr, lr_decay, weight_decay, initial_accumulator_value, eps, foreach, maximize,
    differentiable, fused
        As in `torch.optim.Adagrad`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adagrad`.
    """

    _rule = optimizers.Adagrad
    _keys = ("step", "sum")
    _sparse = "allowed"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # PyTorch's constructor has made each state in the parameter's dtype, without the items that
        # fastopt adds.
        own = self._options
        is_float8 = own["state_dtype"] == "float8"
        if is_float8 or own["master"] is not None or added_by(own) is not None:
            self.state.clear()
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.dtype in tensors.LOW_PRECISION:
                    start = self.defaults["initial_accumulator_value"]
                    self.state[p]["sum"] = self.state[p]["sum"].float().fill_(start)


class Adadelta(Door, torch.optim.Adadelta):
    """AdaDelta: updates scaled by the ratio of two running means, of updates and of gradients.

    Parameters
    ----------
    params, lr, rho, eps, weight_decay, foreach, capturable, maximize, differentiable
        As in `torch.optim.Adadelta`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adadelta`.
    """

    _rule = optimizers.Adadelta
    _keys = ("step", "square_avg", "acc_delta")


class RMSprop(Door, torch.optim.RMSprop):
    """RMSProp: the gradient divided by the root of a running mean of its square.

    With ``centered``, the running variance can become negative by rounding.  It then counts as 0;
    PyTorch's result is NaN.

    Parameters
    ----------
    params, lr, alpha, eps, weight_decay, momentum, centered, capturable, foreach, maximize,
    differentiable
        As in `torch.optim.RMSprop`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.RMSprop`.
    """

    _rule = optimizers.RMSprop
    _keys = ("step", "square_avg", "momentum_buffer", "grad_avg")


class Adam(Door, torch.optim.Adam):
    """Adam and AMSGrad.

    Weight decay is added to the gradient, unless ``decoupled_weight_decay`` is True.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, foreach, maximize, capturable,
    differentiable, fused, decoupled_weight_decay
        As in `torch.optim.Adam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adam`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Adam
    >>> w = torch.zeros(2, requires_grad=True)
    >>> opt = Adam([w], lr=0.1)
    >>> w.sum().backward()
    >>> opt.step()
    >>> w.detach()
    tensor([-0.1000, -0.1000])
    """

    _rule = optimizers.Adam
    _keys = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _sparse_error = "Adam does not support sparse gradients, please consider SparseAdam instead"


class AdamW(Door, torch.optim.AdamW):
    """Adam with decoupled weight decay.

    Before the update of Adam, each parameter is multiplied by ``1 - lr * weight_decay``.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable,
    differentiable, fused
        As in `torch.optim.AdamW`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.AdamW`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import AdamW
    >>> w = torch.zeros(2, requires_grad=True)
    >>> opt = AdamW([w], lr=0.1, weight_decay=0.01, max_grad_norm=1.0)
    >>> (3 * w[0] + 4 * w[1]).backward()
    >>> opt.step()
    >>> w.detach(), round(opt.grad_norm, 3)  # the norm before clipping
    (tensor([-0.1000, -0.1000]), 5.0)
    """

    _rule = optimizers.AdamW
    _keys = Adam._keys
    _sparse_error = Adam._sparse_error


class Adamax(Door, torch.optim.Adamax):
    """AdaMax: Adam with a decaying maximum of the gradient's magnitude in place of its mean square.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, foreach, maximize, differentiable, capturable
        As in `torch.optim.Adamax`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adamax`.
    """

    _rule = optimizers.Adamax
    _keys = ("step", "exp_avg", "exp_inf")


class Muon(Door, torch.optim.Muon):
    """Muon: orthogonalized momentum, for matrices.

    The iterations are computed in float32, or in float64 for float64 parameters.  PyTorch computes
    them in bfloat16, so that its steps differ by about half a percent.

    Parameters
    ----------
    params, lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps, adjust_lr_fn
        As in `torch.optim.Muon`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Muon`.  The products of matrices are computed by NumPy's BLAS,
    with its own number of threads.  Parameters must be matrices, as in PyTorch; other parameters
    need an `AdamW`.  Shards of matrices are refused.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Muon
    >>> w = torch.zeros(2, 2, requires_grad=True)
    >>> opt = Muon([w], lr=0.1)
    >>> w.grad = torch.tensor([[3.0, 4.0], [-4.0, 3.0]])
    >>> opt.step()
    >>> w.detach()
    tensor([[-0.0665, -0.0886],
            [ 0.0886, -0.0665]])
    """

    _rule = optimizers.Muon
    _fixed = {"decoupled_weight_decay": True}
    _keys = ("step", "momentum_buffer")
    _counts_steps = False


class NAdam(Door, torch.optim.NAdam):
    """Adam with Nesterov's momentum.

    The product of the momentum coefficients is stored in double precision.  PyTorch rounds it to
    single precision at each step.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, momentum_decay, decoupled_weight_decay, foreach,
    maximize, capturable, differentiable
        As in `torch.optim.NAdam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.NAdam`.
    """

    _rule = optimizers.NAdam
    _keys = ("step", "mu_product", "exp_avg", "exp_avg_sq")


class RAdam(Door, torch.optim.RAdam):
    """Adam that takes steps of momentum until its mean of squares has averaged enough of them.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, foreach, maximize, capturable,
    differentiable
        As in `torch.optim.RAdam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.RAdam`.
    """

    _rule = optimizers.RAdam
    _keys = ("step", "exp_avg", "exp_avg_sq")


class Rprop(Door, torch.optim.Rprop):
    """Each element has a step size, which grows while the sign of its gradient is the same.

    A NaN gradient makes the element NaN; in PyTorch the element keeps its value.  The signs of
    gradients are compared, while PyTorch takes the sign of their product, which may underflow.

    Parameters
    ----------
    params, lr, etas, step_sizes, capturable, foreach, maximize, differentiable
        As in `torch.optim.Rprop`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Rprop`.
    """

    _rule = optimizers.Rprop
    _keys = ("step", "prev", "step_size")


class ASGD(Door, torch.optim.ASGD):
    """Averaged SGD: gradient descent with a decreasing learning rate, and the mean of its path.

    ``averaged()`` replaces the parameters by the mean, which is ``state[p]["ax"]``.  ``eta`` and
    ``mu`` are stored in double precision.  PyTorch rounds them to single precision at each step.

    Parameters
    ----------
    params, lr, lambd, alpha, t0, weight_decay, foreach, maximize, differentiable, capturable
        As in `torch.optim.ASGD`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``, except ``l1`` and ``bounds``; see `fastopt.torch.Door`, which also
        documents the errors.

    Notes
    -----
    The formula is that of `fastopt.ASGD`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import ASGD
    >>> w = torch.zeros(1, requires_grad=True)
    >>> opt = ASGD([w], lr=0.5, lambd=0.0, t0=0)
    >>> for _ in range(3):
    ...     w.grad = torch.tensor([2.0])
    ...     opt.step()
    >>> with opt.averaged():
    ...     print(w.detach())
    tensor([-2.5000])
    >>> w.detach()
    tensor([-3.])
    """

    _rule = optimizers.ASGD
    _keys = ("step", "eta", "mu", "ax")


class SparseAdam(Door, torch.optim.SparseAdam):
    """Adam for sparse gradients: only the rows that are present in a gradient are updated.

    Gradients must be torch.sparse_coo with one sparse dimension.  Rows that are not present in the
    gradient, and their state, are unchanged.

    Parameters
    ----------
    params, lr, betas, eps, maximize
        As in `torch.optim.SparseAdam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``master`` and
        ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adam` with ``eps_mode="hat"``, for each row that is present.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import SparseAdam
    >>> w = torch.zeros(3, 2, requires_grad=True)
    >>> opt = SparseAdam([w], lr=0.1)
    >>> torch.nn.functional.embedding(torch.tensor([1]), w, sparse=True).sum().backward()
    >>> opt.step()
    >>> (w.detach() != 0).any(1).tolist()  # which rows have changed
    [False, True, False]
    """

    _rule = optimizers.Adam
    _fixed = {"eps_mode": "hat", "weight_decay": 0.0}
    _keys = ("step", "exp_avg", "exp_avg_sq")
    _sparse = "only"

    @staticmethod
    def _first_step() -> Any:
        return 0


class Adafactor(Door, torch.optim.Adafactor):
    """Adafactor: the mean squares of a matrix are estimated from those of its rows and columns.

    Parameters
    ----------
    params, lr, beta2_decay, eps, d, weight_decay, foreach, maximize
        As in `torch.optim.Adafactor`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adafactor`.  If eps[0] is None, it is the machine epsilon of the
    dtype of each parameter; PyTorch uses that of the first parameter of a group for all.  State is
    float32 or float64, whatever ``state_dtype`` is.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the means are of all elements of a row or column.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Adafactor
    >>> w = torch.ones(2, 2, requires_grad=True)
    >>> w.grad = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    >>> Adafactor([w], lr=0.1).step()
    >>> w.detach()
    tensor([[0.9000, 0.9000],
            [0.9000, 0.9000]])
    """

    _rule = optimizers.Adafactor
    _fixed = {"decoupled_weight_decay": True}
    _keys = ("step",)

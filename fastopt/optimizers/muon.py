"""Muon for matrices, and AdamW for all other parameters: the rules muon and adam of csrc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastopt._checks import Choice, Pair, Real, Triple, Whole, at_least_0, decay_rate, flag
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Lr, Params
from fastopt.optimizers.base.newton_schulz import NewtonSchulz
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import Direction
from fastopt.optimizers.base.state.structure import Part, by_matrices, forgotten_use_muon


class Muon(Optimizer):
    """Muon: orthogonalized momentum for matrices, and AdamW for all other parameters.

    For a matrix, with ``momentum`` = mu and the coefficients a, b, c::

        B <- mu*B + (1 - mu)*G
        U  = mu*B + (1 - mu)*G                         nesterov=True;  U = B without
        X  = U / max(|U|, eps)                         |U|: the Frobenius norm
        A  = X*X'                                      this line and the next: ns_steps times
        X <- a*X + b*A*X + c*A^2*X
        W <- W * (1 - lr*weight_decay) - lr * s * X    s: see adjust_lr_fn

    The iterations bring the singular values of X near 1 and keep its singular vectors.  With the
    default coefficients and five iterations, those above 0.0016 become 0.7 to 1.2; smaller ones
    are multiplied by up to 480.  They are computed in float32, or in float64 for
    a float64 matrix; torch.optim.Muon computes them in bfloat16.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    weight_decay
        >= 0.  Default 0.1.
    momentum
        mu, 0 <= mu < 1.  Default 0.95.
    nesterov
        True, False, or "corrected": U = mu*B/(1 - mu^(t+1)) + (1 - mu)*G/(1 - mu^t), as in optax.
        Default True.
    ns_coefficients
        a, b and c.  Default (3.4445, -4.775, 2.0315).
    eps
        >= 0.  A matrix U whose norm is smaller is divided by eps instead.  Default 1e-7.
    ns_steps
        The number of iterations, 0 to 99.  Default 5.
    adjust_lr_fn
        The factor s of a matrix with r rows and c columns.  None or "original": sqrt(max(1, r/c)),
        for weights of shape (outputs, inputs).  "inputs_first": sqrt(max(1, c/r)), the same for
        weights of shape (inputs, outputs), as in optax.  "match_rms_adamw": 0.2*sqrt(max(r, c)), so
        that elements change about as much as with AdamW, and its learning rate and weight decay can
        be used (Keras's default).  "none": 1.  Default None.
    use_muon
        True: parameters with two axes are matrices, and all others, such as kernels of convolutions
        with four axes, are updated by AdamW.  False:
        AdamW updates all.  A callable that takes the name of a parameter and returns a bool, for a
        dict of parameters: those with two axes for which it returns True are matrices.  Embeddings
        and the output layer are usually left to AdamW.  In a group dict, True or False.  It cannot
        be changed later.  Pickles and copies do not contain the callable: a group that is added to
        a copy must give its use_muon.  Default True.
    adamw_lr, adamw_weight_decay
        Learning rate and weight decay of the parameters that AdamW updates.  A group dict that has
        ``lr`` or ``weight_decay`` uses those for all its parameters.  Default None: lr and
        weight_decay.
    adamw_betas, adamw_eps
        As ``betas`` and ``eps`` of `fastopt.AdamW`.  Default (0.9, 0.999) and 1e-8.
    decoupled_weight_decay
        As in `fastopt.Optimizer`.  Default True.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        step raises an error if the gradient of a matrix is row-sparse.

    Notes
    -----
    Muon is for the weights of hidden layers of neural networks, which it trains in fewer steps than
    AdamW.

    State: ``momentum_buffer`` (B) of a matrix; ``exp_avg`` and ``exp_avg_sq`` of other parameters.
    During a step, memory for another array of the size of each matrix is needed.  With
    ``state_dtype="bfloat16"``, the X that is subtracted is rounded to bfloat16, too.

    The products of matrices are computed by NumPy's BLAS, which has its own number of threads (see
    threadpoolctl).  Results have equal bits on the same machine with the same number of BLAS
    threads, for any memory layout and any ``n_threads``; another BLAS may round differently.

    A NaN or an infinity in the gradient of a matrix makes all its elements NaN.

    Keras and the paper add mu*B + G: B is then 1/(1 - mu) times as large, and the steps are the
    same, except for eps.

    References
    ----------
    Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks
    (kellerjordan.github.io/posts/muon).
    Liu et al. 2025, Muon is scalable for LLM training (arXiv 2502.16982): "match_rms_adamw".

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> params = {"embedding": np.ones((4, 2)), "hidden": np.zeros((2, 2)), "bias": np.zeros(2)}
    >>> opt = fastopt.Muon(
    ...     params, lr=0.02, adamw_lr=1e-3, use_muon=lambda name: name != "embedding"
    ... )
    >>> [(list(group.arrays), group["lr"]) for group in opt.param_groups]
    [(['hidden'], 0.02), (['embedding', 'bias'], 0.001)]
    >>> opt.step({"embedding": None, "hidden": np.array([[3.0, 4.0], [-4.0, 3.0]]), "bias": None})
    >>> (params["hidden"] / 0.02).round(2)
    array([[-0.66, -0.89],
           [ 0.89, -0.66]])
    """

    _checks = {
        "momentum": decay_rate,
        "nesterov": Choice((False, True, "corrected")),
        "ns_coefficients": Triple(Real()),
        "eps": at_least_0,
        "ns_steps": Whole(0, 99),
        "adjust_lr_fn": Choice((None, "original", "inputs_first", "match_rms_adamw", "none")),
        "use_muon": flag,
        "adamw_betas": Pair(decay_rate),
        "adamw_eps": at_least_0,
    }

    _only_at_start = frozenset({"use_muon"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool | str = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        use_muon: bool | Callable[[str], bool] = True,
        adamw_lr: Lr | None = None,
        adamw_weight_decay: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        decoupled_weight_decay: bool | str = True,
        **common: Any,
    ) -> None:
        self._use_muon = use_muon if callable(use_muon) else flag("use_muon", use_muon)
        if not (adamw_lr is None or callable(adamw_lr)):
            adamw_lr = at_least_0("adamw_lr", adamw_lr)
        if adamw_weight_decay is not None:
            adamw_weight_decay = at_least_0("adamw_weight_decay", adamw_weight_decay)
        options = dict(
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
            adamw_lr=adamw_lr,
            adamw_weight_decay=adamw_weight_decay,
            adamw_betas=adamw_betas,
            adamw_eps=adamw_eps,
        )
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    def _by_kind(self, group: Mapping[str, Any], params: Mapping[Any, Array]) -> list[Part]:
        of_adamw = {
            "lr": self._defaults["adamw_lr"],
            "weight_decay": self._defaults["adamw_weight_decay"],
        }
        return by_matrices(group, params, self._use_muon, of_adamw)

    def __getstate__(self) -> dict[str, Any]:
        # None: a callable, which is not pickled
        use_muon = None if callable(self._use_muon) else self._use_muon
        return {"use_muon": use_muon, **super().__getstate__()}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        use_muon = pickled["use_muon"]
        self._use_muon = forgotten_use_muon if use_muon is None else use_muon
        super().__setstate__(pickled)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        if options["use_muon"]:
            return "muon", ("momentum_buffer",)
        return "adam", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        if options["use_muon"]:
            return {
                "nesterov": options["nesterov"] is True,
                "nesterov_corrected": options["nesterov"] == "corrected",
            }
        beta1, beta2 = options["adamw_betas"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "eps": options["adamw_eps"],
            "eps_root": 0.0,
            "eps_hat": False,
            "correct_m": True,
            "correct_v": True,
        }

    @staticmethod
    def _direction(options: Mapping[str, Any]) -> Direction | None:
        if not options["use_muon"]:
            return None
        iterations = NewtonSchulz(
            options["ns_coefficients"],
            options["ns_steps"],
            options["eps"],
            options["adjust_lr_fn"],
        )
        return Direction("muon_direction", iterations.orthogonalize)

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return "the rule needs all rows of a matrix" if options["use_muon"] else ""

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        return bool(options["eps" if options["use_muon"] else "adamw_eps"] == 0.0)

"""The optimizers that torch.optim lacks: each has the arguments of the class of fastopt."""

from __future__ import annotations

from fastopt import optimizers
from fastopt.torch.base import Further


class LAMB(Further):
    """LAMB: Adam whose step is scaled, for each parameter, to the norm of the parameter.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, bias_correction, always_adapt, trust_clip,
    decoupled_weight_decay, maximize
        As in `fastopt.LAMB`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.LAMB`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the norms are of all elements of a parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import LAMB
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = torch.tensor([2.0, -8.0])
    >>> LAMB([w], lr=0.1).step()
    >>> w.detach()  # norm(w)/norm(u) is 5/sqrt(2)
    tensor([2.6464, 4.3536])
    """

    _rule = optimizers.LAMB


class Lion(Further):
    """Lion: steps of equal size in the direction of the sign of an averaged gradient.

    Parameters
    ----------
    params, lr, betas, weight_decay, decoupled_weight_decay, cautious, maximize
        As in `fastopt.Lion`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Lion`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Lion
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> Lion([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.1000])
    """

    _rule = optimizers.Lion


class Signum(Further):
    """Signum: steps of equal size in the direction of the sign of the mean gradient.

    Parameters
    ----------
    params, lr, momentum, weight_decay, decoupled_weight_decay, maximize
        As in `fastopt.Signum`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Signum`.  With ``momentum=0`` this is signSGD, which has no
    state.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Signum
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> Signum([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.1000])
    """

    _rule = optimizers.Signum


class AdaBelief(Further):
    """AdaBelief: Adam, with the squared difference of the gradient and its mean in place of g^2.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, eps_root, eps_in_state, eps_mode,
    nesterov, rectify, maximize
        As in `fastopt.AdaBelief`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.AdaBelief`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import AdaBelief
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> AdaBelief([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1111,  0.1111])
    """

    _rule = optimizers.AdaBelief


class Yogi(Further):
    """Yogi: Adam whose mean of squares changes by at most (1 - beta2)*g^2 at each step.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, initial_accumulator_value, initial_exp_avg, eps_root,
    eps_mode, bias_correction, decoupled_weight_decay, maximize
        As in `fastopt.Yogi`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Yogi`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Yogi
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> Yogi([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.0293])
    """

    _rule = optimizers.Yogi


class QHAdam(Further):
    """QHAdam: Adam with weighted means of g and m, and of g^2 and v, in its step.

    Parameters
    ----------
    params, lr, betas, nus, weight_decay, eps, decoupled_weight_decay, maximize
        As in `fastopt.QHAdam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.QHAdam`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import QHAdam
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> QHAdam([w], lr=0.1, nus=(0.7, 1.0)).step()
    >>> w.detach()
    tensor([-0.1000,  0.1000])
    """

    _rule = optimizers.QHAdam


class Ftrl(Further):
    """FTRL-Proximal: AdaGrad for sparse linear models, with a penalty that makes weights 0.

    Parameters
    ----------
    params, lr, initial_accumulator_value, l1_regularization_strength, l2_regularization_strength,
    l2_shrinkage_regularization_strength, beta, keep_start, weight_decay, decoupled_weight_decay,
    maximize
        As in `fastopt.Ftrl`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Ftrl`.  A step with a sparse gradient has the result of a step
    with the equal dense gradient.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Ftrl
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> Ftrl([w], lr=0.1, l1_regularization_strength=0.05).step()
    >>> w.detach()
    tensor([-0.0978,  0.0000])
    """

    _rule = optimizers.Ftrl


class AdEMAMix(Further):
    """AdEMAMix: AdamW with a second running mean of the gradient, of thousands of steps.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, eps_root, alpha, alpha_warmup,
    beta3_warmup, maximize
        As in `fastopt.AdEMAMix`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.AdEMAMix`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import AdEMAMix
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> AdEMAMix([w], lr=0.1, betas=(0.9, 0.999, 0.96)).step()
    >>> w.detach()
    tensor([-0.1200,  0.1200])
    """

    _rule = optimizers.AdEMAMix


class SMORMS3(Further):
    """SMORMS3: RMSProp whose step and memory adapt to the noise of each element's gradient.

    Parameters
    ----------
    params, lr, eps, weight_decay, decoupled_weight_decay, maximize
        As in `fastopt.SMORMS3`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.SMORMS3`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import SMORMS3
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> SMORMS3([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1414,  0.1414])
    """

    _rule = optimizers.SMORMS3


class ADOPT(Further):
    """ADOPT: Adam that divides a gradient by the v of the step before, so that any beta2 converges.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, clip_exp, maximize
        As in `fastopt.ADOPT`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.ADOPT`.  The first step changes no parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import ADOPT
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> opt = ADOPT([w], lr=0.1)
    >>> opt.step()
    >>> opt.step()
    >>> w.detach()
    tensor([-0.0100,  0.0100])
    """

    _rule = optimizers.ADOPT


class Adan(Further):
    """Adan: Adam with Nesterov's momentum, computed from the differences of gradients.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, eps_root, maximize
        As in `fastopt.Adan`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Adan`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Adan
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> Adan([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.1000])
    """

    _rule = optimizers.Adan


class ScheduleFreeSGD(Further):
    """Schedule-Free SGD: averaging that replaces a schedule of the learning rate.

    Gradients are taken at the parameters.  ``with opt.averaged():`` moves them to the average: this
    is the point to evaluate, and to save for use elsewhere.  To resume training, save the model and
    ``opt.state_dict()`` outside of the block.  The methods ``train`` and ``eval`` of the authors'
    class are not needed.

    Parameters
    ----------
    params, lr, momentum, weight_decay, warmup_steps, r, weight_lr_power, decoupled_weight_decay,
    maximize
        As in `fastopt.ScheduleFreeSGD`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``master`` and ``rounding``,
        except ``ema_decay``, ``lookahead_steps``, ``l1`` and ``bounds``; see `fastopt.torch.Door`,
        which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.ScheduleFreeSGD`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import ScheduleFreeSGD
    >>> w = torch.ones(1, requires_grad=True)
    >>> opt = ScheduleFreeSGD([w], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.zero_grad()
    ...     (w**2 / 2).sum().backward()
    ...     opt.step()
    >>> with opt.averaged():
    ...     print(w.detach())
    tensor([0.3750])
    >>> w.detach()
    tensor([0.3125])
    """

    _rule = optimizers.ScheduleFreeSGD


class ScheduleFreeAdamW(Further):
    """Schedule-Free AdamW: averaging that replaces a schedule of the learning rate.

    Evaluate inside ``with opt.averaged():``, as with `ScheduleFreeSGD`.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, warmup_steps, r, weight_lr_power, decoupled_weight_decay,
    maximize
        As in `fastopt.ScheduleFreeAdamW`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``master`` and ``rounding``,
        except ``ema_decay``, ``lookahead_steps``, ``l1`` and ``bounds``; see `fastopt.torch.Door`,
        which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.ScheduleFreeAdamW`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import ScheduleFreeAdamW
    >>> w = torch.ones(1, requires_grad=True)
    >>> opt = ScheduleFreeAdamW([w], lr=0.1)
    >>> for _ in range(2):
    ...     opt.zero_grad()
    ...     (w**2 / 2).sum().backward()
    ...     opt.step()
    >>> with opt.averaged():
    ...     print(w.detach())
    tensor([0.8527])
    """

    _rule = optimizers.ScheduleFreeAdamW


class ScheduleFreeRAdam(Further):
    """Schedule-Free RAdam: averaging that replaces a schedule, and no warm-up to be tuned.

    Evaluate inside ``with opt.averaged():``, as with `ScheduleFreeSGD`.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, r, weight_lr_power, silent_sgd_phase,
    decoupled_weight_decay, maximize
        As in `fastopt.ScheduleFreeRAdam`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``master`` and ``rounding``,
        except ``ema_decay``, ``lookahead_steps``, ``l1`` and ``bounds``; see `fastopt.torch.Door`,
        which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.ScheduleFreeRAdam`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import ScheduleFreeRAdam
    >>> w = torch.ones(1, requires_grad=True)
    >>> opt = ScheduleFreeRAdam([w], lr=0.1)
    >>> for _ in range(8):
    ...     opt.zero_grad()
    ...     (w**2 / 2).sum().backward()
    ...     opt.step()
    >>> with opt.averaged():
    ...     print(w.detach())
    tensor([0.9919])
    """

    _rule = optimizers.ScheduleFreeRAdam


class LARS(Further):
    """LARS: momentum whose steps are scaled, for each parameter, to its norm.

    Parameters
    ----------
    params, lr, momentum, dampening, weight_decay, nesterov, trust_coefficient, eps, lr_in_buffer,
    first_step, decay_in_norm, always_adapt, trust_clip, decoupled_weight_decay, maximize
        As in `fastopt.LARS`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.LARS`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the rule needs sums over all elements of a parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import LARS
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> LARS([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.3000,  0.0010])
    """

    _rule = optimizers.LARS


class StableAdamW(Further):
    """StableAdamW: AdamW whose learning rate falls where gradients suddenly grow.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize
        As in `fastopt.StableAdamW`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.StableAdamW`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the rule needs sums over all elements of a parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import StableAdamW
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> StableAdamW([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.1000])
    """

    _rule = optimizers.StableAdamW


class NovoGrad(Further):
    """NovoGrad: momentum of gradients that are divided by their mean norm, for each parameter.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, grad_averaging, eps_root, decoupled_weight_decay, maximize
        As in `fastopt.NovoGrad`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.NovoGrad`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the rule needs sums over all elements of a parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import NovoGrad
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.01])
    >>> NovoGrad([w], lr=0.1).step()
    >>> w.detach()
    tensor([-0.1000,  0.0003])
    """

    _rule = optimizers.NovoGrad


class SM3(Further):
    """SM3-II: AdaGrad with one accumulator for each index of each axis.

    Parameters
    ----------
    params, lr, momentum, eps, weight_decay, decoupled_weight_decay, maximize
        As in `fastopt.SM3`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.SM3`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the maxima are over all elements of a row or column.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import SM3
    >>> w = torch.zeros(2, 2, requires_grad=True)
    >>> w.grad = torch.tensor([[1.0, 2.0], [0.5, 4.0]])
    >>> SM3([w]).step()
    >>> w.detach()
    tensor([[-0.1000, -0.1000],
            [-0.1000, -0.1000]])
    """

    _rule = optimizers.SM3


class DoG(Further):
    """DoG: gradient descent that needs no learning rate, by distance over gradients.

    The norms are over all parameters together, so a parameter cannot be updated in the backward
    pass; with ``layerwise``, they are of each parameter.

    Parameters
    ----------
    params, reps_rel, lr, weight_decay, eps, layerwise, decoupled_weight_decay, maximize
        As in `fastopt.DoG`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.DoG`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused.  ``ZeroRedundancyOptimizer`` is not detected: norms
    would be those of a part of the parameters.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import DoG
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = torch.tensor([0.0, 2.0])
    >>> DoG([w], reps_rel=0.1).step()
    >>> w.detach()  # the distance is 0.1*(1 + 5)
    tensor([3.0000, 3.4000])
    """

    _rule = optimizers.DoG


class Prodigy(Further):
    """Prodigy: Adam that estimates its learning rate from the distance that it has moved.

    The sums are over all parameters together, so a parameter cannot be updated in the backward
    pass.

    Parameters
    ----------
    params, lr, betas, beta3, eps, weight_decay, decoupled_weight_decay, use_bias_correction,
    safeguard_warmup, d0, d_coef, growth_rate, maximize
        As in `fastopt.Prodigy`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.Prodigy`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused.  ``ZeroRedundancyOptimizer`` is not detected: its sums
    would be those of a part of the parameters.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import Prodigy
    >>> w = torch.tensor([3.0, -1.0], requires_grad=True)
    >>> opt = Prodigy([w])
    >>> for _ in range(100):
    ...     opt.zero_grad()
    ...     (w**2).sum().backward()
    ...     opt.step()
    >>> float(opt.state[w]["d"]) > 0.01
    True
    """

    _rule = optimizers.Prodigy

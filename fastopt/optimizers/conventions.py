"""The formula and defaults of each rule in each library, from which `create` makes optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastopt import optimizers
from fastopt._errors import FastoptError
from fastopt.optimizers import (
    ADOPT,
    LAMB,
    LARS,
    SGD,
    SM3,
    AdaBelief,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    AdEMAMix,
    DoG,
    Ftrl,
    Lion,
    Muon,
    NAdam,
    NovoGrad,
    Prodigy,
    RAdam,
    RMSprop,
    Rprop,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
    Yogi,
)
from fastopt.optimizers.base.arguments import Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.spellings import in_our_words

__all__ = ["create"]


@dataclass(frozen=True)
class _Rule:
    """A rule of one library: our class, and the options that give its formula and defaults."""

    cls: type[Optimizer]
    options: Mapping[str, Any] = field(default_factory=dict)
    eps_fills: tuple[str, ...] = ("eps",)  # the options that its epsilon sets
    required: tuple[str, ...] = ()  # options without a default
    refused: Mapping[str, str] = field(default_factory=dict)  # option -> why
    doubled: tuple[str, ...] = ()  # options that are half of ours in the library


_IN_ROOT = ("eps_root",)
_NO_LR = {"lr": "this rule has no learning rate"}
_NO_EPS = {"eps": "this AdaMax has no epsilon to set"}
_NO_MOMENTUM = {
    "momentum": "DL4J's SGD has no momentum; see the rule nesterovs",
    "nesterov": "use the rule nesterovs",
}
_NO_AMSGRAD = {"amsgrad": "its AMSGrad has another formula; see the rule amsgrad"}

_NONE = _Rule(
    SGD,
    {"lr": 1.0},
    refused=dict.fromkeys(
        ("lr", "momentum", "nesterov", "weight_decay"), "its update is the raw gradient"
    ),
)

# Our classes have PyTorch's formulas and defaults, so few options are needed.
_TORCH = {
    **{cls.lower(): _Rule(getattr(optimizers, cls)) for cls in optimizers.__all__},
    "momentum": _Rule(SGD, {"momentum": 0.9}),
    "nesterov": _Rule(SGD, {"momentum": 0.9, "nesterov": True}),
    "amsgrad": _Rule(Adam, {"amsgrad": "raw"}),
    "none": _NONE,
}

_KERAS_SGD = {"lr": 0.01, "lr_in_buffer": True, "decoupled_weight_decay": "lr"}
_KERAS_ALL = {"lr": 1e-3, "eps": 1e-7, "decoupled_weight_decay": "lr"}
_KERAS_IN_ROOT = {**_KERAS_ALL, "eps": 0.0, "eps_root": 1e-7}
_KERAS_ADAM = {**_KERAS_ALL, "eps_mode": "hat"}
_KERAS = {
    "sgd": _Rule(SGD, _KERAS_SGD),
    "momentum": _Rule(SGD, {**_KERAS_SGD, "momentum": 0.9}),
    "nesterov": _Rule(SGD, {**_KERAS_SGD, "momentum": 0.9, "nesterov": True}),
    "adagrad": _Rule(Adagrad, {**_KERAS_IN_ROOT, "initial_accumulator_value": 0.1}, _IN_ROOT),
    "adadelta": _Rule(Adadelta, {**_KERAS_ALL, "rho": 0.95}),
    "rmsprop": _Rule(RMSprop, {**_KERAS_IN_ROOT, "alpha": 0.9, "lr_in_buffer": True}, _IN_ROOT),
    "adam": _Rule(Adam, _KERAS_ADAM),
    "amsgrad": _Rule(Adam, {**_KERAS_ADAM, "amsgrad": "raw"}),
    "adamw": _Rule(AdamW, {**_KERAS_ADAM, "weight_decay": 0.004}),
    "adamax": _Rule(Adamax, {**_KERAS_ALL, "eps_mode": "outside"}),
    "nadam": _Rule(NAdam, {**_KERAS_ALL, "momentum_decay": 1.0}),
    "lion": _Rule(Lion, {"lr": 1e-3, "decoupled_weight_decay": "lr"}),
    "ftrl": _Rule(
        Ftrl,
        {"keep_start": False},
        refused={"weight_decay": "Keras's Ftrl decays w and recomputes it without the decay"},
        doubled=("l2_regularization_strength", "l2_shrinkage_regularization_strength"),
    ),
    "lamb": _Rule(LAMB, _KERAS_ALL),
    "adafactor": _Rule(
        Adafactor,
        {"lr": 1e-3, "eps": (1e-30, 1e-3), "eps_mode": "mean", "decoupled_weight_decay": "lr"},
    ),
    "muon": _Rule(
        Muon,
        {"weight_decay": 0.004, "adamw_weight_decay": 0.004, "adamw_eps": 1e-7}
        | {"adjust_lr_fn": "match_rms_adamw", "decoupled_weight_decay": "lr"},
        ("eps", "adamw_eps"),
    ),
    "none": _NONE,
}

_LR = ("lr",)  # the aliases of optax have no default learning rate
_OPTAX = {
    "sgd": _Rule(SGD, required=_LR),
    "momentum": _Rule(SGD, {"momentum": 0.9}, required=_LR),
    "nesterov": _Rule(SGD, {"momentum": 0.9, "nesterov": True}, required=_LR),
    "adagrad": _Rule(
        Adagrad,
        {"initial_accumulator_value": 0.1, "eps": 0.0, "eps_root": 1e-7},
        _IN_ROOT,
        required=_LR,
    ),
    "adadelta": _Rule(Adadelta, {"decoupled_weight_decay": False}),
    "rmsprop": _Rule(
        RMSprop,
        {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-8, "lr_in_buffer": True},
        _IN_ROOT,
        required=_LR,
    ),
    "adam": _Rule(Adam, required=_LR, refused=_NO_AMSGRAD),
    "amsgrad": _Rule(Adam, {"amsgrad": "corrected"}, required=_LR),
    "adamw": _Rule(
        AdamW,
        {"weight_decay": 1e-4, "decoupled_weight_decay": "lr"},
        required=_LR,
        refused=_NO_AMSGRAD,
    ),
    "adamax": _Rule(Adamax, required=_LR),
    "nadam": _Rule(NAdam, {"nadam_schedule": "none"}, required=_LR),
    "lion": _Rule(Lion, {"weight_decay": 1e-3, "decoupled_weight_decay": "lr"}, required=_LR),
    "sign_sgd": _Rule(
        Signum,
        {"momentum": 0.0},
        required=_LR,
        refused={"momentum": "its sign_sgd has no momentum"},
    ),
    "rprop": _Rule(Rprop, {"limit_unchanged": False}, required=_LR),
    "radam": _Rule(RAdam, {"eps_mode": "corrected"}, required=_LR),
    "adabelief": _Rule(AdaBelief, required=_LR),
    "yogi": _Rule(Yogi, {"initial_exp_avg": 1e-6}, required=_LR),
    "adan": _Rule(Adan, {"eps_root": 1e-8, "decoupled_weight_decay": "lr"}, required=_LR),
    "adopt": _Rule(ADOPT, required=_LR),
    "ademamix": _Rule(AdEMAMix, {"decoupled_weight_decay": "lr"}, required=_LR),
    "lamb": _Rule(LAMB, {"decoupled_weight_decay": False}, required=_LR),
    "lars": _Rule(
        LARS,
        {"eps": 0.0, "lr_in_buffer": True, "decay_in_norm": True, "decoupled_weight_decay": False},
        required=_LR,
    ),
    "novograd": _Rule(
        NovoGrad,
        {"betas": (0.9, 0.25), "eps": 1e-6, "decoupled_weight_decay": False},
        required=_LR,
    ),
    "sm3": _Rule(SM3, {"momentum": 0.9, "eps": 1e-8}, required=_LR),
    "prodigy": _Rule(Prodigy, {"use_bias_correction": True, "decoupled_weight_decay": "lr"}),
    "dog": _Rule(DoG, {"decoupled_weight_decay": False}),
    "schedule_free_sgd": _Rule(ScheduleFreeSGD, {"decoupled_weight_decay": False}),
    "schedule_free_adamw": _Rule(ScheduleFreeAdamW, {"decoupled_weight_decay": False}),
    "muon": _Rule(
        Muon,
        {"weight_decay": 0.0, "adamw_weight_decay": 0.0, "eps": 1e-8, "nesterov": "corrected"}
        | {"adjust_lr_fn": "inputs_first", "decoupled_weight_decay": "lr"},
        ("eps", "adamw_eps"),
        required=_LR,
    ),
    "none": _NONE,
}

_DL4J = {
    "sgd": _Rule(SGD, {"lr": 1e-3}, refused=_NO_MOMENTUM),
    "nesterov": _Rule(SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "lr_in_buffer": True}),
    # AdaGradUpdater starts its sum at a constant of the class, not at the user's epsilon;
    "adagrad": _Rule(Adagrad, {"lr": 0.1, "eps": 1e-6, "initial_accumulator_value": 1e-6}),
    "adadelta": _Rule(Adadelta, {"lr": 1.0, "rho": 0.95, "eps": 1e-6}, refused=_NO_LR),
    # RmsPropUpdater starts it at the user's.
    "rmsprop": _Rule(
        RMSprop,
        {"lr": 0.1, "alpha": 0.95, "eps": 1e-8, "initial_accumulator_value": 1e-8},
        ("eps", "initial_accumulator_value"),
    ),
    "adam": _Rule(Adam, {"eps_mode": "hat"}),
    "amsgrad": _Rule(Adam, {"eps_mode": "hat", "amsgrad": "raw"}),
    "adamax": _Rule(Adamax, {"lr": 1e-3, "eps": 1e-32, "eps_mode": "state"}, refused=_NO_EPS),
    "nadam": _Rule(NAdam, {"lr": 1e-3, "nadam_schedule": "uncorrected"}),
    "adabelief": _Rule(
        AdaBelief, {"eps": 1e-14, "eps_root": 1e-14, "eps_mode": "hat"}, ("eps", "eps_root")
    ),
    "none": _NONE,
}

_BOOK_SGD = {"lr": 0.01, "lr_in_buffer": True}
_BOOK_ADAM = {"eps": 0.0, "eps_root": 1e-8}
_TEXTBOOK = {
    "sgd": _Rule(SGD, _BOOK_SGD, refused={"nesterov": "use the rule nesterov"}),
    "momentum": _Rule(SGD, {**_BOOK_SGD, "momentum": 0.9}),
    "nesterov": _Rule(SGD, {**_BOOK_SGD, "momentum": 0.9, "nesterov": "lookahead"}),
    "adagrad": _Rule(Adagrad, {"lr": 0.01, "eps": 0.0, "eps_root": 1e-8}, _IN_ROOT),
    "adadelta": _Rule(Adadelta, {"lr": 1.0, "rho": 0.95, "eps": 1e-8}, refused=_NO_LR),
    "rmsprop": _Rule(
        RMSprop,
        {"lr": 1e-3, "alpha": 0.9, "eps": 0.0, "eps_root": 1e-8, "lr_in_buffer": True},
        _IN_ROOT,
    ),
    "adam": _Rule(Adam, _BOOK_ADAM, _IN_ROOT, refused=_NO_AMSGRAD),
    "amsgrad": _Rule(
        Adam, {**_BOOK_ADAM, "amsgrad": "raw", "bias_correction": (False, False)}, _IN_ROOT
    ),
    "adamw": _Rule(
        AdamW,
        {**_BOOK_ADAM, "decoupled_weight_decay": "schedule_only"},
        _IN_ROOT,
        required=("weight_decay",),
        refused=_NO_AMSGRAD,
    ),
    "adamax": _Rule(Adamax, {"eps": 0.0}, refused=_NO_EPS),
    "nadam": _Rule(NAdam, {"nadam_schedule": "paper"}),
    "none": _NONE,
}

_CONVENTIONS: dict[str, dict[str, _Rule]] = {
    "torch": _TORCH,
    "keras": _KERAS,
    "optax": _OPTAX,
    "dl4j": _DL4J,
    "textbook": _TEXTBOOK,
}
_ALIASES = {"gd": "sgd", "nesterovs": "nesterov"}

# Conventions in which the user chooses coupled or decoupled weight decay, and why.
_UNDECIDED_DECAY = {
    "optax": "optax has a separate transformation, placed before or after the rule",
    "dl4j": "DL4J has L2Regularization (coupled) and WeightDecay (decoupled)",
    "textbook": "of the textbook's rules only AdamW specifies it",
}


def create(name: str, params: Params, convention: str = "torch", **options: Any) -> Optimizer:
    """Return the optimizer that a library calls `name`, with its formula and its defaults.

    Parameters
    ----------
    name : str
        In upper or lower case, with or without underscores: ``"sgd"`` (or ``"gd"``),
        ``"momentum"``, ``"nesterov"`` (or DL4J's ``"NESTEROVS"``), ``"adagrad"``, ``"adadelta"``,
        ``"rmsprop"``, ``"adam"``, ``"amsgrad"``, ``"adamw"``, ``"adamax"``, ``"nadam"``, and
        DL4J's ``"NONE"``, which subtracts the raw gradient. DL4J has neither ``"momentum"`` nor
        ``"adamw"``. The names of further rules are listed in Notes. With the convention "torch",
        the name of every class of fastopt is allowed, and the formula and defaults are those of the
        class.
    params : array, list, dict or list of group dicts
        As for every class. Options in group dicts, and later in ``param_groups``, are those of the
        class.
    convention : {"torch", "keras", "optax", "dl4j", "textbook"}
        The library whose formula and defaults are used.
    **options
        Override the defaults below. ``eps`` is the epsilon of the library's formula, inside or
        outside the root; if ``eps_root`` is given too, both have the meanings of the class. All
        other options have the names and meanings of the class, even if the library lacks them.
        The library's own spellings are allowed too: keras ``learning_rate, beta_1, beta_2,
        epsilon, rho, clipvalue, global_clipnorm``, and those of Adafactor and Muon; optax
        ``learning_rate, b1, b2, b3, decay, initial_scale``, and those of rprop and muon; dl4j
        ``learningRate, beta1, beta2, epsilon, rmsDecay``. If only one beta is given, the others
        keep their defaults.

    Returns
    -------
    Optimizer
        An instance of the class of the rule.

    Raises
    ------
    FastoptError
        The name or convention is not listed here; an option is not allowed by the convention, or is
        given in two spellings; an option without a default is missing; or a value is not allowed.
    TypeError
        An option does not exist; the message lists all options.

    Notes
    -----
    g is the gradient, w the parameter, t counts from 1, c_i = 1 - beta_i^t.

    **Momentum** (momentum .9 for the names momentum and nesterov, else 0)

    ===============  =========================================================================
    torch, optax     b = mu b + g; w -= lr b.            Nesterov: w -= lr (g + mu b)
    keras            b = mu b + lr g; w -= b.            Nesterov: w -= mu b + lr g
    dl4j             no plain momentum.                  Nesterov: as keras
    textbook         b = mu b + lr g; w -= b.            Nesterov: the same, but g is taken at
                     w - mu b: inside ``with opt.extrapolated():``
    ===============  =========================================================================

    lr: torch .001, keras .01, dl4j .001 (nesterovs .1), textbook .01 (the books give none).

    **AdaGrad** s += g^2

    ===============  =========================================================================
    torch            w -= lr g/(sqrt(s) + eps); lr .01, eps 1e-10, s starts at 0; lr_decay
    keras, optax     w -= lr g/sqrt(s + eps); lr .001 (keras), eps 1e-7, s starts at .1
    dl4j             w -= lr g/(sqrt(s) + eps); lr .1, eps 1e-6, s starts at 1e-6 for any eps
    textbook         w -= lr g/sqrt(s + eps); lr .01, eps 1e-8, s starts at 0
    ===============  =========================================================================

    **AdaDelta** s = rho s + (1-rho) g^2, d = g sqrt(u + eps)/sqrt(s + eps),
    u = rho u + (1-rho) d^2, w -= lr d, everywhere

    ===============  =========================================================================
    torch, optax     lr 1, rho .9, eps 1e-6
    keras            lr .001, rho .95, eps 1e-7
    dl4j, textbook   no lr, rho .95, eps 1e-6 (textbook 1e-8)
    ===============  =========================================================================

    **RMSprop** s = alpha s + (1-alpha) g^2; centered: s - (mean g)^2 in place of s

    ===============  =========================================================================
    torch            x = g/(sqrt(s) + eps); lr .01, alpha .99, eps 1e-8
    keras, optax     x = g/sqrt(s + eps); lr .001 (keras), alpha .9, eps 1e-7 (optax 1e-8)
    dl4j             x = g/(sqrt(s) + eps); lr .1, alpha .95, eps 1e-8; s starts at eps
    textbook         x = g/sqrt(s + eps); lr .001, alpha .9, eps 1e-8
    ===============  =========================================================================

    With momentum: torch and dl4j b = mu b + x, w -= lr b; the others b = mu b + lr x, w -= b.
    The ``eps_in_sqrt=False`` of optax is ``eps=..., eps_root=0.0``, and its ``initial_scale``
    is ``initial_accumulator_value``.

    **Adam** m = beta1 m + (1-beta1) g, v = beta2 v + (1-beta2) g^2; lr .001,
    betas (.9, .999), eps 1e-8 (keras 1e-7)

    ===============  =========================================================================
    torch, optax     w -= lr/c1 m/(sqrt(v/c2) + eps); in optax ``eps_root`` is added to v/c2
    keras, dl4j      w -= lr sqrt(c2)/c1 m/(sqrt(v) + eps)
    textbook         w -= lr/c1 m/sqrt(v/c2 + eps)
    amsgrad          torch, keras, dl4j: the largest v so far in place of v; optax: the
                     largest v/c2 in place of v/c2; textbook: the largest v, c1 = c2 = 1
    adamw            w *= 1 - lr weight_decay first; weight_decay torch .01, keras .004,
                     optax 1e-4; textbook: w *= 1 - lr/(initial lr) weight_decay, no default
    ===============  =========================================================================

    **AdaMax** w -= lr/c1 m/u

    ===============  =========================================================================
    torch, optax     u = max(beta2 u, abs(g) + eps); lr .002 (torch), eps 1e-8
    keras            u = max(beta2 u, abs(g)), divides by u + eps; lr .001, eps 1e-7
    dl4j             u = max(beta2 u, abs(g)) + 1e-32; lr .001
    textbook         u = max(beta2 u, abs(g)); lr .002. A parameter whose gradient was 0 at
                     every step so far gets 0/0 = NaN
    ===============  =========================================================================

    **NAdam** mu_t = beta1 (1 - .96^(t momentum_decay)/2), P_t = mu_1 ... mu_t

    ===============  =========================================================================
    torch, keras     w -= lr (mu_{t+1} m/(1-P_{t+1}) + (1-mu_t) g/(1-P_t))/(sqrt(v/c2) + eps);
                     torch: lr .002, momentum_decay .004, eps 1e-8; keras: .001, 1, 1e-7
    optax            w -= lr (beta1 m/(1-beta1^(t+1)) + (1-beta1) g/c1)/(sqrt(v/c2) + eps)
    dl4j             w -= lr (beta1 m + (1-beta1) g)/c1/(sqrt(v) + eps); lr .001, eps 1e-8
    textbook         as torch, but m = mu_t m + (1-mu_t) g and beta2 v/c2 for v/c2
    ===============  =========================================================================

    **Further rules.** The docstring of each class has the formula. Options that are not listed
    have the default of the class. optax also has adabelief, ademamix, adopt, lamb,
    schedule_free_sgd and schedule_free_adamw, with the defaults of the classes.

    ==================  ======================================================================
    keras lion          lr .001
    keras lamb          lr .001, eps 1e-7; w decays before the norms are taken
    keras ftrl          keep_start False. Its l2 and l2_shrinkage are half of ours:
                        what is given is doubled
    keras adafactor     lr .001, eps (1e-30, .001), eps_mode "mean"
    keras muon          lr .001, weight_decay .004 everywhere, adjust_lr_fn "match_rms_adamw"
    optax lion          weight_decay .001
    optax sign_sgd      Signum with momentum 0
    optax rprop         limit_unchanged False
    optax radam         eps_mode "corrected", as in its adam
    optax yogi          m, too, starts at 1e-6
    optax adan          eps and eps_root 1e-8
    optax lars          eps 0, lr_in_buffer and decay_in_norm True
    optax novograd      betas (.9, .25), eps 1e-6
    optax sm3           momentum .9, eps 1e-8
    optax prodigy       use_bias_correction True
    optax dog           the value of its ``init_step`` is reps_rel
    optax muon          weight_decay 0, eps 1e-8, nesterov "corrected", adjust_lr_fn
                        "inputs_first"
    dl4j adabelief      lr .001, eps_mode "hat", eps and eps_root 1e-14
    ==================  ======================================================================

    **Learning rate.** In optax it must be given, except for adadelta, dog, prodigy,
    schedule_free_sgd and schedule_free_adamw.

    **Weight decay.** torch adds it to the gradient (AdamW: decoupled). keras subtracts
    lr weight_decay w from the parameter for every rule but ftrl. In optax, adamw, lion, adan,
    ademamix, muon and prodigy are decoupled; adadelta, dog, lamb, lars, novograd,
    schedule_free_sgd and schedule_free_adamw are coupled as their classes say. For the other
    rules of optax, dl4j and textbook, choose one with ``decoupled_weight_decay``.

    **Not reproduced.** DL4J replaces an epsilon of 0 by 1e-7, and a step size of 0 by epsilon;
    ``optax.adagrad`` gives 0 for 0/0; ``optax.adadelta()`` without a learning rate ascends,
    because it lacks the minus sign. See `RMSprop` for centered variances that rounding makes
    negative. optax 0.2.8: ``adan`` has 1 - beta2 where beta2 belongs, and ``rprop`` applies the
    updates of the step before; here both are as in their papers. ``muon`` has NAdamW for the
    parameters that are not matrices. Keras's ``Muon`` has its epsilon as in its Adam, and its
    ``Adafactor`` takes rms(w) after the decay; here both are as in the class.

    References
    ----------
    PyTorch 2.13, Keras 3.15, optax 0.2.8 and deeplearning4j, their sources. Textbook: Polyak
    1964; Nesterov 1983 as in Sutskever et al. 2013; Duchi et al. 2011; Zeiler 2012; Tieleman
    and Hinton 2012; Kingma and Ba 2015 (Adam, AdaMax); Reddi et al. 2018, Algorithm 2;
    Loshchilov and Hutter 2019, Algorithm 2; Dozat 2016, Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.create("RMSProp", w, convention="keras", eps=0.01)
    >>> opt.step(np.array([1.0, -0.1]))
    >>> print(w)  # 0.001/sqrt(0.1 + 0.01) and 0.0001/sqrt(0.001 + 0.01)
    [-0.00301511  0.00095346]
    >>> try:
    ...     fastopt.create("AdaDelta", w, convention="dl4j", lr=0.1)
    ... except fastopt.FastoptError as error:
    ...     print(error)
    lr is 0.1 for 'AdaDelta' of convention 'dl4j': this rule has no learning rate
    """
    rule = find_rule(name, convention)
    which = f"{name!r} of convention {convention!r}"
    options = in_our_words(which, rule.cls, convention, rule.options, options)
    _require_allowed(which, rule, options)
    if "eps" in options and "eps_root" not in options:
        eps = options.pop("eps")
        options = {"eps": 0.0, **dict.fromkeys(rule.eps_fills, eps), **options}
    for option in rule.doubled:
        if option in options:
            options[option] = 2 * options[option]
    values = {**rule.options, **options}
    if convention in _UNDECIDED_DECAY and "decoupled_weight_decay" not in values:
        _require_no_decay(which, options, _UNDECIDED_DECAY[convention])
    return rule.cls(params, **values)


def find_rule(name: str, convention: str, argument: str = "name") -> _Rule:
    """Return the rule that a library calls `name`, or raise an error that lists what is allowed.

    argument : what the caller's argument `name` is called in its signature.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {name!r}; a string is needed")
    if convention not in _CONVENTIONS:
        raise FastoptError(
            f"convention is {convention!r}; allowed: {', '.join(map(repr, _CONVENTIONS))}"
        )
    rules = {spelled.replace("_", ""): rule for spelled, rule in _CONVENTIONS[convention].items()}
    key = name.lower().replace("_", "")
    key = _ALIASES.get(key, key)
    if key == "custom":
        raise FastoptError(
            f"{argument} is {name!r}, DL4J's name for an updater class written by the user, which "
            "has no formula here"
        )
    if key not in rules:
        allowed = sorted([*_CONVENTIONS[convention], *_ALIASES])
        raise FastoptError(
            f"{argument} is {name!r}; allowed with convention {convention!r}, in upper or lower "
            f"case: {', '.join(allowed)}"
        )
    return rules[key]


def _require_allowed(which: str, rule: _Rule, options: Mapping[str, Any]) -> None:
    """Raise an error if an option is given that the rule lacks, or one that it needs is missing."""
    for option, reason in rule.refused.items():
        if option in options:
            raise FastoptError(f"{option} is {options[option]!r} for {which}: {reason}")
    for option in rule.required:
        if option not in options:
            raise FastoptError(f"{option} must be given: {which} has no default for it")


def _require_no_decay(which: str, options: Mapping[str, Any], reason: str) -> None:
    """Raise an error for weight decay that is declared neither coupled nor decoupled."""
    if options.get("weight_decay", 0.0) != 0.0:
        raise FastoptError(
            f"weight_decay is {options['weight_decay']!r} for {which}, which does not define its "
            f"kind ({reason}): also give decoupled_weight_decay, False or True"
        )

"""The rules and options that are tested, and the data: a new rule is one row of RULES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import reference

import fastopt

Array = npt.NDArray[Any]


class Rule(NamedTuple):
    """A class of fastopt with its reference, its default learning rate and option sets to test.

    ``defaults`` are options whose default in the class differs from that in the reference;
    ``refused`` are options of COMMON, or values of them, that the class refuses; ``always`` are
    options of all cases.
    """

    name: str
    reference: Callable[..., reference.Path]
    lr: float
    options: list[dict[str, Any]]
    defaults: dict[str, Any] = {}
    refused: frozenset[str] = frozenset()
    always: dict[str, Any] = {}


class Case(NamedTuple):
    """A rule with one set of options."""

    rule: Rule
    options: dict[str, Any]

    def __str__(self) -> str:
        return ",".join([self.rule.name, *(f"{k}={v}" for k, v in self.options.items())])

    def make(self, params: Any, **others: Any) -> fastopt.Optimizer:
        """Return the optimizer, with the default learning rate unless ``others`` contains one."""
        cls: type[fastopt.Optimizer] = getattr(fastopt, self.rule.name)
        return cls(params, **self.options, **others)

    def follow(self, w: Array, grads: Any, lrs: Sequence[float]) -> reference.Path:
        """Return the path of the reference from w."""
        exact = [g.astype(np.float64) for g in grads]
        return self.rule.reference(
            w.astype(np.float64), exact, lrs, base_lr=self.rule.lr, **self.with_defaults
        )

    @property
    def with_defaults(self) -> dict[str, Any]:
        """The options for the reference."""
        return {**self.rule.defaults, **self.options}

    @property
    def is_of_all(self) -> bool:
        """Whether the rule needs sums over all tensors, not over each."""
        return self.options.get("normalized") == "all" or (
            self.rule.name in ("DoG", "Prodigy") and not self.options.get("layerwise")
        )

    def step(self, opt: fastopt.Optimizer, grads: Any = None) -> None:
        """Take a step with given gradients, which do not depend on the parameters."""
        looks_ahead = self.options.get("nesterov") == "lookahead"
        with opt.extrapolated() if looks_ahead else nullcontext():
            pass
        opt.step(grads)


# In the first row every option has its default.
COMMON: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled_weight_decay": True},
    {"weight_decay": 0.1, "decoupled_weight_decay": "lr"},
    {"weight_decay": 0.1, "decoupled_weight_decay": "schedule_only"},
    {"maximize": True},
    {"maximize": True, "weight_decay": 0.1},
    {"maximize": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"weight_decay": 0.1, "decoupled_weight_decay": "proximal"},
    {"l1": 0.2, "bounds": (-0.5, None), "maximize": True},
    {"bounds": (0.1, 0.7), "weight_decay": 0.1, "decoupled_weight_decay": True},
]

# Options that would apply to one of the points of Schedule-Free alone.
AVERAGING = frozenset({"decoupled_weight_decay", "l1", "bounds"})

RULES = [
    Rule(
        "SGD",
        reference.sgd,
        1e-3,
        [
            {"momentum": 0.9},
            {"momentum": 0.9, "weight_decay": 0.1, "maximize": True},
            {"momentum": 0.9, "weight_decay": 0.1, "decoupled_weight_decay": "schedule_only"},
            {"momentum": 0.9, "dampening": 0.3},
            {"momentum": 0.9, "dampening": 0.3, "first_step": "accumulate"},
            {"momentum": 0.9, "nesterov": True},
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"momentum": 0.9, "lr_in_buffer": True},
            {"momentum": 0.9, "lr_in_buffer": True, "dampening": 0.3},
            {"momentum": 0.9, "lr_in_buffer": True, "nesterov": True},
            {"momentum": 0.9, "lr_in_buffer": True, "nesterov": "lookahead"},
        ],
    ),
    Rule(
        "Lion",
        reference.lion,
        1e-4,
        [
            {"betas": (0.7, 0.99)},
            {"betas": (0.9, 0.8)},
            {"decoupled_weight_decay": False, "weight_decay": 0.1},
        ],
        {"decoupled_weight_decay": True},
    ),
    Rule(
        "Signum",
        reference.signum,
        1e-3,
        [
            {"momentum": 0.6},
            {"momentum": 0.6, "decoupled_weight_decay": False, "weight_decay": 0.1},
            {"momentum": 0.0},
            {"momentum": 0.0, "weight_decay": 0.1},
        ],
        {"decoupled_weight_decay": True},
    ),
    Rule(
        "Rprop",
        reference.rprop,
        1e-2,
        [
            {"etas": (0.3, 1.2)},
            {"etas": (0.5, 1.7)},
            {"step_sizes": (0.01, 0.03)},
            {"step_sizes": (0.1, 0.4)},
            {"step_sizes": (0.1, 0.4), "limit_unchanged": False},
        ],
    ),
    Rule(
        "AdaBelief",
        reference.adabelief,
        1e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"eps_root": 0.01, "eps": 0.0, "eps_in_state": False},
            {"eps_mode": "hat", "eps": 0.01, "eps_root": 0.01},
            {"nesterov": True},
            {"nesterov": True, "eps_mode": "hat", "betas": (0.7, 0.95)},
            {"rectify": True, "eps_mode": "hat"},
            {"rectify": True, "eps": 0.01, "betas": (0.7, 0.8), "nesterov": True},
            {"rectify": True, "betas": (0.9, 0.5)},
            {"decoupled_weight_decay": False, "weight_decay": 0.1},
        ],
        {"decoupled_weight_decay": True},
    ),
    Rule(
        "Yogi",
        reference.yogi,
        1e-2,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"eps": 0.03},
            {"eps_root": 0.01, "eps": 0.0},
            {"initial_accumulator_value": 0.1},
            {"initial_exp_avg": 0.1},
            {"eps_mode": "hat"},
            {"bias_correction": (False, True)},
            {"bias_correction": (True, False)},
        ],
    ),
    Rule(
        "QHAdam",
        reference.qhadam,
        1e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"nus": (0.7, 1.0)},
            {"nus": (1.0, 0.4)},
            {"nus": (0.0, 0.0), "eps": 0.01},
            {"nus": (0.7, 0.4), "betas": (0.995, 0.95), "weight_decay": 0.1},
        ],
    ),
    Rule(
        "Adagrad",
        reference.adagrad,
        1e-2,
        [
            {"lr_decay": 0.3},
            {"initial_accumulator_value": 0.1},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"eps_root": 0.01, "eps": 0.0},
            {"rowwise": True, "eps": 0.01},
            {"rowwise": True, "weight_decay": 0.1},
        ],
    ),
    Rule("Adadelta", reference.adadelta, 1.0, [{"rho": 0.7}, {"eps": 0.01}]),
    Rule(
        "ScheduleFreeSGD",
        reference.schedule_free_sgd,
        1.0,
        [
            {"momentum": 0.6},
            {"momentum": 0.99, "weight_decay": 0.1},
            {"warmup_steps": 7},
            {"r": 0.75},
            {"weight_lr_power": 0.0},
            {"weight_lr_power": 1.5, "r": 2.0, "warmup_steps": 50},
        ],
        refused=AVERAGING,
    ),
    Rule(
        "ScheduleFreeAdamW",
        reference.schedule_free_adamw,
        2.5e-3,
        [
            {"betas": (0.6, 0.999)},
            {"betas": (0.9, 0.7), "weight_decay": 0.1},
            {"eps": 0.01},
            {"warmup_steps": 7},
            {"r": 0.75},
            {"weight_lr_power": 0.0},
            {"weight_lr_power": 1.5, "r": 2.0, "warmup_steps": 50, "weight_decay": 0.1},
        ],
        refused=AVERAGING,
    ),
    Rule(
        "ScheduleFreeRAdam",
        reference.schedule_free_radam,
        2.5e-3,
        [
            {"betas": (0.6, 0.99)},
            {"betas": (0.9, 0.7), "weight_decay": 0.1},
            {"betas": (0.9, 0.6)},
            {"eps": 0.01},
            {"r": 0.75},
            {"weight_lr_power": 0.0},
            {"silent_sgd_phase": False},
            {"silent_sgd_phase": False, "betas": (0.9, 0.6), "weight_decay": 0.1},
            {"silent_sgd_phase": False, "weight_lr_power": 1.5, "r": 2.0, "weight_decay": 0.1},
        ],
        refused=AVERAGING,
    ),
    Rule(
        "RMSprop",
        reference.rmsprop,
        1e-2,
        [
            {"alpha": 0.7},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"eps_root": 0.01, "eps": 0.0},
            {"initial_accumulator_value": 0.1},
            {"bias_correction": True},
            {"momentum": 0.9},
            {"momentum": 0.9, "weight_decay": 0.1},
            {"momentum": 0.9, "lr_in_buffer": True},
            {"momentum": 0.9, "nesterov": True},
            {"momentum": 0.9, "nesterov": True, "lr_in_buffer": True, "maximize": True},
            {"momentum": 0.9, "bias_correction": True, "eps_root": 0.01},
            {"centered": True},
            {"centered": True, "alpha": 0.7},
            {"centered": True, "eps_root": 0.01, "eps": 0.0},
            {"centered": True, "eps_root": 0.01, "bias_correction": True},
            {"centered": True, "initial_accumulator_value": 0.1, "maximize": True},
            {"centered": True, "momentum": 0.9},
            {"centered": True, "momentum": 0.9, "lr_in_buffer": True},
            {"centered": True, "momentum": 0.9, "nesterov": True, "eps_root": 0.01},
            {
                "centered": True,
                "momentum": 0.9,
                "weight_decay": 0.1,
                "decoupled_weight_decay": True,
            },
        ],
    ),
    Rule(
        "Adam",
        reference.adam,
        1e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"eps_root": 0.01, "eps": 0.0},
            {"eps_mode": "hat"},
            {"eps_mode": "hat", "eps": 0.01, "eps_root": 0.01},
            {"bias_correction": (False, True)},
            {"bias_correction": (True, False)},
            {"bias_correction": (False, False), "eps_mode": "hat", "eps": 0.01},
            {"amsgrad": True},
            {"amsgrad": "raw", "betas": (0.7, 0.7)},
            {"amsgrad": "raw", "betas": (0.7, 0.7), "eps_mode": "hat", "eps": 0.01},
            {"amsgrad": "corrected", "betas": (0.7, 0.7)},
            {"amsgrad": "corrected", "eps": 0.01, "bias_correction": (True, False)},
            {"amsgrad": True, "weight_decay": 0.1, "maximize": True},
            {"rowwise": True, "betas": (0.7, 0.95), "eps": 0.01, "eps_root": 0.01},
            {"rowwise": True, "weight_decay": 0.1, "eps_mode": "hat"},
        ],
    ),
    Rule(
        "AdamW",
        reference.adam,
        1e-3,
        [
            {"betas": (0.7, 0.95)},
            {"eps": 0.01},
            {"amsgrad": True},
            {"decoupled_weight_decay": False},
            {"decoupled_weight_decay": "schedule_only"},
            {"eps_mode": "hat", "eps_root": 0.01, "bias_correction": (False, True)},
        ],
        {"weight_decay": 1e-2, "decoupled_weight_decay": True},
    ),
    Rule(
        "Adamax",
        reference.adamax,
        2e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.7)},
            {"eps": 0.01},
            {"eps": 0.01, "eps_mode": "outside"},
            {"eps": 0.01, "eps_mode": "state"},
        ],
    ),
    Rule(
        "NAdam",
        reference.nadam,
        2e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"momentum_decay": 1.0},
            {"nadam_schedule": "none"},
            {"nadam_schedule": "river"},
            {"nadam_schedule": "uncorrected"},
            {"nadam_schedule": "paper"},
            {"nadam_schedule": "paper", "momentum_decay": 1.0, "betas": (0.7, 0.95)},
        ],
    ),
    Rule(
        "RAdam",
        reference.radam,
        1e-3,
        [
            {"betas": (0.7, 0.999)},
            {"betas": (0.9, 0.95)},
            {"betas": (0.9, 0.6)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"eps_mode": "corrected"},
            {"eps_mode": "corrected", "eps": 0.01, "eps_root": 0.01},
            {"threshold": 4.0},
            {"threshold": 9.5, "betas": (0.9, 0.99)},
        ],
    ),
    Rule("SMORMS3", reference.smorms3, 1e-3, [{"eps": 0.01}]),
    Rule(
        "Ftrl",
        reference.ftrl,
        1e-3,
        [
            {"initial_accumulator_value": 0.7},
            {"initial_accumulator_value": 0.0, "beta": 0.5},
            {"l1_regularization_strength": 0.3},
            {"l2_regularization_strength": 300.0},
            {"l2_shrinkage_regularization_strength": 0.3},
            {"beta": 0.5},
            {"keep_start": False},
            {"keep_start": False, "l1_regularization_strength": 0.3, "beta": 0.5},
            {"l1_regularization_strength": 0.3, "beta": 0.5, "maximize": True},
        ],
        refused=frozenset({"decoupled_weight_decay", "l1", "bounds"}),
    ),
    Rule(
        "AdEMAMix",
        reference.ademamix,
        1e-3,
        [
            {"betas": (0.7, 0.999, 0.95)},
            {"betas": (0.9, 0.95, 0.9)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"alpha": 2.0},
            {"alpha": 2.0, "alpha_warmup": 7.0},
            {"beta3_warmup": 7.0, "alpha_warmup": 300.0},
            {"beta3_warmup": 300.0},
            {"beta3_warmup": 15.0, "betas": (0.0, 0.9, 0.9)},
            {"beta3_warmup": 15.0, "betas": (0.0, 0.9, 0.0)},
            {"decoupled_weight_decay": False, "weight_decay": 0.1},
        ],
        {"decoupled_weight_decay": True},
    ),
    Rule(
        "ADOPT",
        reference.adopt,
        1e-3,
        [
            {"betas": (0.7, 0.9999)},
            {"betas": (0.9, 0.8)},
            {"eps": 0.01},
            {"clip_exp": 1 / 3},
            {"clip_exp": None, "eps": 0.01},
        ],
    ),
    Rule(
        "ASGD",
        reference.asgd,
        1e-2,
        [
            {"lambd": 0.3},
            {"lambd": 0.3, "alpha": 0.6},
            {"lambd": 0.3, "t0": 5.0},
            {"t0": 0.0},
        ],
        refused=frozenset({"l1", "bounds", "proximal"}),
    ),
    Rule(
        "Adan",
        reference.adan,
        1e-3,
        [
            {"betas": (0.7, 0.92, 0.99)},
            {"betas": (0.98, 0.6, 0.99)},
            {"betas": (0.98, 0.92, 0.8)},
            {"eps": 0.01},
            {"eps_root": 0.01},
            {"decoupled_weight_decay": False, "weight_decay": 0.1},
        ],
        {"decoupled_weight_decay": "proximal"},
    ),
]

# Rules that need sums over the elements of a tensor, or of all tensors: test_sums.py.
SUM_RULES = [
    Rule(
        "LAMB",
        reference.lamb,
        1e-3,
        [
            {"betas": (0.7, 0.95)},
            {"eps": 0.01},
            {"bias_correction": False},
            {"always_adapt": False},
            {"always_adapt": False, "weight_decay": 0.1},
            {"always_adapt": False, "weight_decay": 0.1, "decoupled_weight_decay": True},
            {"trust_clip": True},
        ],
    ),
    Rule(
        "LARS",
        reference.lars,
        1.0,
        [
            {"momentum": 0.6, "weight_decay": 0.1},
            {"momentum": 0.0},
            {"dampening": 0.3},
            {"dampening": 0.3, "first_step": "accumulate"},
            {"nesterov": True, "weight_decay": 0.1},
            {"trust_coefficient": 0.02},
            {"eps": 1.0},
            {"lr_in_buffer": True},
            {"lr_in_buffer": True, "nesterov": True},
            {"decay_in_norm": True, "weight_decay": 0.1, "eps": 1.0},
            {"always_adapt": False},
            {"always_adapt": False, "trust_clip": True},
            {"always_adapt": False, "weight_decay": 0.1},
            {"trust_clip": True, "trust_coefficient": 2.0, "weight_decay": 0.1},
        ],
        {"momentum": 0.9},
    ),
    Rule(
        "StableAdamW",
        reference.stable_adamw,
        1e-3,
        [
            {"betas": (0.7, 0.95), "weight_decay": 0.0},
            {"eps": 0.01, "weight_decay": 0.1},
            {"decoupled_weight_decay": False},
            {"decoupled_weight_decay": "schedule_only"},
            {"l1": 0.2},
        ],
        {"weight_decay": 1e-2, "decoupled_weight_decay": True},
    ),
    Rule(
        "NovoGrad",
        reference.novograd,
        1e-3,
        [
            {"betas": (0.9, 0.25)},
            {"eps": 0.3, "weight_decay": 0.1},
            {"eps_root": 0.3},
            {"grad_averaging": True, "weight_decay": 0.1},
        ],
    ),
    Rule(
        "Adam",
        reference.adam,
        1e-3,
        [
            {"betas": (0.5, 0.95)},
            {"eps": 0.01, "eps_root": 0.01},
            {"eps_mode": "hat"},
            {"bias_correction": (True, False)},
        ],
        always={"cautious": True},
    ),
    Rule(
        "Lion",
        reference.lion,
        1e-4,
        [{"betas": (0.7, 0.9)}],
        {"decoupled_weight_decay": True},
        always={"cautious": True},
    ),
    Rule("SGD", reference.sgd, 1e-3, [{}], always={"normalized": "tensor"}),
    Rule("SGD", reference.sgd, 1e-3, [{}], always={"normalized": "all"}),
    Rule("DoG", reference.dog, 1.0, [{"reps_rel": 0.1}, {"eps": 1e5}]),
    Rule("DoG", reference.dog, 1.0, [{"reps_rel": 0.1}, {"eps": 1e5}], always={"layerwise": True}),
    Rule(
        "Prodigy",
        reference.prodigy,
        1.0,
        [
            {"d0": 1e-3},
            {"betas": (0.7, 0.95), "d0": 1e-3},
            {"beta3": 0.8, "eps": 0.01},
            {"use_bias_correction": True, "weight_decay": 0.1},
            {"safeguard_warmup": True, "d_coef": 0.5},
            {"growth_rate": 1.02},
            {"decoupled_weight_decay": False},
        ],
        {"decoupled_weight_decay": True},
    ),
]
SUM_CASES = [
    Case(rule, {**rule.always, **options})
    for rule in SUM_RULES
    for options in [*COMMON, *rule.options]
]
# Those with the rule's own options, and one with weight decay.
FEW_SUM_CASES = [
    Case(rule, {**rule.always, **options})
    for rule in SUM_RULES
    for options in [{**rule.options[0], "weight_decay": 0.1}, *rule.options]
]
# Rules whose state has statistics of rows and columns: test_factored.py.
FACTORED_RULES = [
    Rule(
        "Adafactor",
        reference.adafactor,
        1e-2,
        [
            {"weight_decay": 0.1, "decoupled_weight_decay": False},
            {"beta2_decay": -0.5},
            {"eps": (1e-3, 0.5)},
            {"eps": (0.3, 1e-3), "d": 2.0},
            {"eps": (0.3, 1e-3), "eps_mode": "mean"},
            {"relative_step": False, "scale_parameter": False},
        ],
        {"decoupled_weight_decay": True},
    ),
    Rule(
        "SM3",
        reference.sm3,
        1e-1,
        [{"eps": 0.1}, {"momentum": 0.7}, {"momentum": 0.7, "weight_decay": 0.1, "eps": 0.1}],
    ),
]
FACTORED_CASES = [
    Case(rule, options) for rule in FACTORED_RULES for options in [*COMMON, *rule.options]
]

CASES = [
    Case(rule, options)
    for rule in RULES
    for options in [*COMMON, *rule.options]
    if not rule.refused & {*options, *options.values()}
]

DTYPES: list[np.dtype[Any]] = [np.dtype(np.float32), np.dtype(np.float64)]

# Factors of the default learning rate; each differs from the one before.
RATES = [(1.5 if t % 3 == 0 else 0.7) / (1 + 0.1 * t) for t in range(20)]

# Elements do not interact, so longer arrays repeat this many elements.  The number is prime, so
# that repetitions have different positions in vectors and chunks.
PERIOD = 5003


@cache
def start(dtype: np.dtype[Any]) -> Array:
    """Return parameters of many magnitudes; a third are 0, so that rounding hides no step."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal(PERIOD) * 10 ** rng.uniform(-6, 3, PERIOD)
    w[::3] = 0.0
    return _frozen(w, dtype)


@cache
def gradients(dtype: np.dtype[Any], large: bool = False) -> list[Array]:
    """Return a gradient for each of RATES, with elements 0 or of magnitude 1e-6 to 1e3.

    The magnitude of an element is constant or varies between steps.  Coupled weight decay is tested
    with ``large`` gradients: magnitudes from 10 to 1e3, none 0.  It adds the rounding error of w to
    the gradient, and rules that divide by the gradient's magnitude amplify this error by about
    lr * weight_decay / |g| at each step, so that small gradients would make the path unstable.
    """
    rng = np.random.default_rng(2)
    shape = len(RATES), PERIOD
    low = 1 if large else -6
    steady = 10 ** rng.uniform(low, 3, PERIOD)
    jumping = 10 ** rng.uniform(low, 3, shape)
    g = rng.standard_normal(shape) * np.where(np.arange(PERIOD) % 2, steady, jumping)
    if not large:
        g[rng.random(shape) < 0.05] = 0.0
        g[:5, ::11] = 0.0
        g[:, ::101] = 0.0
    return [_frozen(of_step, dtype) for of_step in g]


def _frozen(values: Array, dtype: np.dtype[Any]) -> Array:
    array = values.astype(dtype)
    array.flags.writeable = False
    return array

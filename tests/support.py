"""Helpers that tests share: kernels, memory layouts, comparison of bits, other interpreters."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np

import fastopt
from fastopt import _core

# Each kernel of csrc/rules.def, and AdamW; options differ from the defaults.
RULES = {
    "sgd": (fastopt.SGD, {}),
    "momentum": (fastopt.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "lion": (fastopt.Lion, {"betas": (0.8, 0.95)}),
    "signsgd": (fastopt.Signum, {"momentum": 0.0}),
    "signum": (fastopt.Signum, {"momentum": 0.8}),
    "rprop": (fastopt.Rprop, {"etas": (0.4, 1.5)}),
    "adabelief": (fastopt.AdaBelief, {"eps_root": 0.01, "rectify": True}),
    "yogi": (fastopt.Yogi, {"initial_accumulator_value": 0.1, "initial_exp_avg": 0.1}),
    "qhadam": (fastopt.QHAdam, {"nus": (0.7, 0.9)}),
    "adagrad": (fastopt.Adagrad, {"lr_decay": 0.2, "initial_accumulator_value": 0.1}),
    "adafactor": (fastopt.Adafactor, {"eps": (1e-3, 1e-3), "scale_parameter": False}),
    "sm3": (fastopt.SM3, {"eps": 1e-3}),
    "sm3_momentum": (fastopt.SM3, {"momentum": 0.7, "eps": 1e-3}),
    "adadelta": (fastopt.Adadelta, {"rho": 0.8}),
    "schedule_free_sgd": (fastopt.ScheduleFreeSGD, {"lr": 1e-3, "warmup_steps": 2}),
    "schedule_free_adamw": (fastopt.ScheduleFreeAdamW, {"weight_decay": 0.1}),
    "schedule_free_radam": (fastopt.ScheduleFreeRAdam, {"silent_sgd_phase": False}),
    "rmsprop": (fastopt.RMSprop, {"bias_correction": True}),
    "rmsprop_centered": (fastopt.RMSprop, {"centered": True}),
    "rmsprop_momentum": (fastopt.RMSprop, {"momentum": 0.8}),
    "rmsprop_centered_momentum": (fastopt.RMSprop, {"centered": True, "momentum": 0.8}),
    "adam": (fastopt.Adam, {"betas": (0.8, 0.99)}),
    "adam_amsgrad": (fastopt.Adam, {"amsgrad": True}),
    "adamw": (fastopt.AdamW, {"weight_decay": 0.1}),
    "adamax": (fastopt.Adamax, {"betas": (0.8, 0.99)}),
    "muon": (fastopt.Muon, {"momentum": 0.8, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"}),
    "nadam": (fastopt.NAdam, {"momentum_decay": 0.01}),
    "radam": (fastopt.RAdam, {"betas": (0.8, 0.99)}),
    "smorms3": (fastopt.SMORMS3, {"eps": 0.01}),
    "ftrl": (fastopt.Ftrl, {"l1_regularization_strength": 0.1, "beta": 1.0}),
    "ademamix": (fastopt.AdEMAMix, {"betas": (0.8, 0.99, 0.95), "beta3_warmup": 3.0}),
    "adopt": (fastopt.ADOPT, {"betas": (0.8, 0.99)}),
    "asgd": (fastopt.ASGD, {"lambd": 0.1, "t0": 1.0}),
    "adan": (fastopt.Adan, {"betas": (0.8, 0.9, 0.95)}),
    "lamb": (fastopt.LAMB, {"weight_decay": 0.1}),
    "lars": (fastopt.LARS, {"weight_decay": 0.1}),
    "stable_adamw": (fastopt.StableAdamW, {"weight_decay": 0.1}),
    "novograd": (fastopt.NovoGrad, {"weight_decay": 0.1}),
    "adam_cautious": (fastopt.Adam, {"cautious": True}),
    "lion_cautious": (fastopt.Lion, {"cautious": True}),
    "sgd_normalized": (fastopt.SGD, {"normalized": "tensor"}),
    "sgd_normalized_all": (fastopt.SGD, {"normalized": "all"}),
    "dog": (fastopt.DoG, {"reps_rel": 0.1}),
    "dog_layerwise": (fastopt.DoG, {"reps_rel": 0.1, "layerwise": True}),
    "prodigy": (fastopt.Prodigy, {"d0": 0.1}),
}
# The rules that find the learning rate of decoupled weight decay themselves.
FIND_RATE = {"stable_adamw", "dog", "dog_layerwise", "prodigy"}
# Those that add numbers in the memory order of the elements: test_sums.py.
IN_ORDER = {
    "lamb",
    "lars",
    "stable_adamw",
    "novograd",
    "sgd_normalized",
    "sgd_normalized_all",
    "dog",
    "dog_layerwise",
    "prodigy",
}
# Those of which each parameter is updated independently of the others.
SEPARATE = [rule for rule in RULES if rule not in ("sgd_normalized_all", "dog", "prodigy")]
# And those that refuse 0-d parameters, which have no rows.
ALL_RULES = {
    **RULES,
    "adagrad_rowwise": (fastopt.Adagrad, {"rowwise": True, "lr_decay": 0.2}),
    "adam_rowwise": (fastopt.Adam, {"rowwise": True, "betas": (0.8, 0.99)}),
}
# The common options that a rule refuses.
REFUSED = {
    "ftrl": {"decoupled_weight_decay", "l1", "bounds"},
    "asgd": {"l1", "bounds", "ema_decay", "lookahead_steps"},
    **{
        rule: {"decoupled_weight_decay", "l1", "bounds", "ema_decay", "lookahead_steps"}
        for rule in ("schedule_free_sgd", "schedule_free_adamw", "schedule_free_radam")
    },
}


def make(rule, params, **options):
    """Return an optimizer of one of ALL_RULES."""
    cls, own = ALL_RULES[rule]
    return cls(params, **{**own, **options})


def takes_rows(rule):
    """Return whether one of ALL_RULES takes row-sparse gradients."""
    groups = make(rule, np.ones((2, 2))).param_groups
    return not any(group.rule._no_rows(group.options) for group in groups)


def takes(rule, options):
    """Return whether one of ALL_RULES allows these options."""
    return all(not options[name] for name in REFUSED.get(rule, set()) & options.keys())


def arrays(*shapes, seed=0, dtype=np.float64):
    """Return an array of normal variates for each shape."""
    rng = np.random.default_rng(seed)
    return [np.array(rng.normal(size=shape), dtype=dtype) for shape in shapes]


# Each layout returns an array of the same values with other strides.
LAYOUTS = {
    "C": lambda a: np.array(a, order="C"),
    "Fortran": lambda a: np.array(a, order="F"),
    "every other": lambda a: _inside(a, tuple(slice(1, 2 * n + 1, 2) for n in a.shape)),
    "backwards": lambda a: np.array(a[(slice(None, None, -1),) * a.ndim])[
        (slice(None, None, -1),) * a.ndim
    ],
    "columns of more": lambda a: _inside(a, (..., slice(2, 2 + a.shape[-1]))),
    "last axis first": lambda a: np.moveaxis(np.array(np.moveaxis(a, 0, -1), order="C"), -1, 0),
    "last axis backwards": lambda a: np.array(a[..., ::-1])[..., ::-1],
    "a field": lambda a: _field(a),
}


def _inside(a, where):
    big = np.full([2 * n + 3 for n in a.shape], 7, dtype=a.dtype)
    big[where][tuple(slice(n) for n in a.shape)] = a
    view = big[where][tuple(slice(n) for n in a.shape)]
    assert view.shape == a.shape
    return view


def _field(a):
    """Return a field of a structured array, with eight other bytes after each element."""
    record = np.zeros(a.shape, dtype=[("x", a.dtype), ("y", "V8")])
    record["x"] = a
    return record["x"]


def bits(value):
    """Return an object for which == compares all bits, those of NaN and -0.0 included."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(entry) for entry in value]
    return repr(value)


def everything(opt):
    """Return the bits of an optimizer: parameters, state, counts and options."""
    return bits([[group["params"] for group in opt.param_groups], opt.state_dict()])


@contextmanager
def unchanged(opt):
    """Assert that a block leaves every bit of an optimizer unchanged."""
    before = everything(opt)
    yield
    assert everything(opt) == before


PARALLEL = {"FASTOPT_SERIAL_BELOW": os.environ["FASTOPT_SERIAL_BELOW"]}  # of conftest.py


def python(code, *arguments, **environment):
    """Run code in a new interpreter and return the CompletedProcess."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FASTOPT_", "OMP_", "GOMP_"))
    }
    return subprocess.run(
        # -P: import the installed package, not the folder fastopt of the working directory
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env={**env, **PARALLEL, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(code, *arguments, **environment):
    """Return what code prints in a new interpreter; it must succeed."""
    done = python(code, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def by_isa(file):
    """Run a file on each instruction set of this CPU and return the JSON that it prints."""
    found = {}
    for isa in _core.isas():
        env = {**os.environ, "FASTOPT_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
        program = [sys.executable, file]
        out = subprocess.run(program, env=env, check=True, stdout=subprocess.PIPE).stdout
        found[isa] = json.loads(out)
    return found

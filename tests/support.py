"""What the tests of the optimizers' interface share: every kernel once, bits, a fresh Python."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np

import fastopt

# Each kernel of csrc/rules.def (and AdamW, a class of its own), options away from the defaults.
RULES = {
    "sgd": (fastopt.SGD, {}),
    "momentum": (fastopt.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "adagrad": (fastopt.Adagrad, {"lr_decay": 0.2, "initial_accumulator_value": 0.1}),
    "adadelta": (fastopt.Adadelta, {"rho": 0.8}),
    "rmsprop": (fastopt.RMSprop, {"bias_correction": True}),
    "rmsprop_centered": (fastopt.RMSprop, {"centered": True}),
    "rmsprop_momentum": (fastopt.RMSprop, {"momentum": 0.8}),
    "rmsprop_centered_momentum": (fastopt.RMSprop, {"centered": True, "momentum": 0.8}),
    "adam": (fastopt.Adam, {"betas": (0.8, 0.99)}),
    "adam_amsgrad": (fastopt.Adam, {"amsgrad": True}),
    "adamw": (fastopt.AdamW, {"weight_decay": 0.1}),
    "adamax": (fastopt.Adamax, {"betas": (0.8, 0.99)}),
    "nadam": (fastopt.NAdam, {"momentum_decay": 0.01}),
}
# And those that take parameters with rows alone, not 0-d ones.
ALL_RULES = {
    **RULES,
    "adagrad_rowwise": (fastopt.Adagrad, {"rowwise": True, "lr_decay": 0.2}),
}


def make(rule, params, **options):
    """Return an optimizer of one of ALL_RULES."""
    cls, own = ALL_RULES[rule]
    return cls(params, **{**own, **options})


def arrays(*shapes, seed=0, dtype=np.float64):
    """Return an array of normal variates for each shape."""
    rng = np.random.default_rng(seed)
    return [np.array(rng.normal(size=shape), dtype=dtype) for shape in shapes]


def bits(value):
    """Return what == compares bit for bit, NaN and -0.0 included."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(entry) for entry in value]
    return repr(value)


def everything(opt):
    """Return the bits of an optimizer: parameters, state, steps, step count and options."""
    return bits([[group["params"] for group in opt.param_groups], opt.state_dict()])


@contextmanager
def unchanged(opt):
    """Assert that a block leaves every bit of an optimizer alone."""
    before = everything(opt)
    yield
    assert everything(opt) == before


PARALLEL = {"FASTOPT_SERIAL_BELOW": os.environ["FASTOPT_SERIAL_BELOW"]}  # of conftest.py


def python(code, *arguments, **environment):
    """Run code in an interpreter of its own; returns what it did and printed."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FASTOPT_", "OMP_", "GOMP_"))
    }
    return subprocess.run(
        # -P: the installed package, not the folder of that name where the tests are run
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env={**env, **PARALLEL, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(code, *arguments, **environment):
    """Return what code prints in an interpreter of its own; it must succeed."""
    done = python(code, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

"""fastopt: fast parameter updates for neural networks and statistical models, on the CPU.

>>> import numpy as np, fastopt
>>> w = np.zeros(3)
>>> opt = fastopt.Adam(w, lr=0.1)
>>> opt.step(np.array([1.0, -2.0, 0.5]))
>>> w.round(3)
array([-0.1,  0.1, -0.1])
"""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING

# By default, idle OpenMP threads spin for milliseconds, which makes a concurrent matrix product
# many times slower.  GOMP_SPINCOUNT limits the number of spins.  libgomp reads it once, when it is
# loaded with the extension below.  FASTOPT_SPIN is this number, or "active" for libgomp's default.
_spin = _os.environ.get("FASTOPT_SPIN", "1000")
_set_spin = _spin != "active" and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & _os.environ.keys()
if _set_spin:
    _os.environ["GOMP_SPINCOUNT"] = _spin
try:
    import fastopt._core  # noqa: F401
finally:
    if _set_spin:
        del _os.environ["GOMP_SPINCOUNT"]

from fastopt._errors import FastoptError
from fastopt.arrays.sparse import RowSparse
from fastopt.optimizers import (
    ADOPT,
    ASGD,
    LAMB,
    LARS,
    SGD,
    SM3,
    SMORMS3,
    AdaBelief,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    AdEMAMix,
    Ftrl,
    Lion,
    Muon,
    NAdam,
    NovoGrad,
    QHAdam,
    RAdam,
    RMSprop,
    Rprop,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    Signum,
    StableAdamW,
    Yogi,
)
from fastopt.optimizers.base import optimizer as optimizer  # like torch.optim.optimizer
from fastopt.optimizers.base.optimizer import Optimizer

if _TYPE_CHECKING:
    from fastopt import models, schedules
    from fastopt.arrays.nested import flatten
    from fastopt.batching import Batches
    from fastopt.kalman import KalmanSGD
    from fastopt.optimizers.conventions import create
    from fastopt.training.gradcheck import check_grad
    from fastopt.training.minimize import minimize
    from fastopt.training.scipy_method import scipy_method

__version__ = "0.1.0"

__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "SM3",
    "SMORMS3",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Batches",
    "FastoptError",
    "Ftrl",
    "KalmanSGD",
    "Lion",
    "Muon",
    "NAdam",
    "NovoGrad",
    "Optimizer",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "RowSparse",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Signum",
    "StableAdamW",
    "Yogi",
    "check_grad",
    "create",
    "flatten",
    "minimize",
    "models",
    "schedules",
    "scipy_method",
]

# Names that are imported on first use, with their modules; this keeps `import fastopt` fast.
_LAZY = {
    "Batches": "fastopt.batching",
    "KalmanSGD": "fastopt.kalman",
    "check_grad": "fastopt.training.gradcheck",
    "create": "fastopt.optimizers.conventions",
    "flatten": "fastopt.arrays.nested",
    "minimize": "fastopt.training.minimize",
    "models": "fastopt.models",
    "schedules": "fastopt.schedules",
    "scipy_method": "fastopt.training.scipy_method",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastopt' has no attribute {name!r}")
    module = _importlib.import_module(_LAZY[name])
    value = module if _LAZY[name] == f"fastopt.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

"""fastopt: fast parameter updates for neural networks and statistical models, on the CPU.

>>> import numpy as np, fastopt
>>> w = np.zeros(3)
>>> opt = fastopt.Adam(w, lr=0.1)
>>> opt.step(np.array([1.0, -2.0, 0.5]))
>>> w.round(3)
array([-0.1,  0.1, -0.1])

The update rules, with their state in bytes per element of a float32 parameter:

- SGD: 0; with momentum 4. Cauchy 1847, Robbins & Monro 1951, Polyak 1964, Nesterov 1983. Convex
  problems, full batches; networks with a tuned schedule.
- Adagrad: 4; rowwise: 4 a row. Duchi et al. 2011. Sparse features, embeddings.
- Adadelta: 8. Zeiler 2012. Training without a learning rate.
- RMSprop: 4; centered, momentum: + 4 each. Tieleman & Hinton 2012, Graves 2013. Recurrent networks,
  targets that change.
- Adam: 8; amsgrad 12; rowwise 4. Kingma & Ba 2015, Reddi et al. 2018. The usual first choice;
  cautious=True: Liang et al. 2024.
- AdamW: 8; amsgrad 12; rowwise 4. Loshchilov & Hutter 2019. Networks whose weights decay, such as
  transformers.
- Adamax: 8. Kingma & Ba 2015. Gradients with rare large elements.
- NAdam: 8. Dozat 2016. As Adam, with Nesterov's momentum.
- RAdam: 8. Liu et al. 2020. Adam without a warm-up of the learning rate.
- AdaBelief: 8. Zhuang et al. 2020. Longer steps than Adam's where gradients agree.
- Yogi: 8. Zaheer et al. 2018. Sparse or heavy-tailed gradients.
- QHAdam: 8. Ma & Yarats 2019. Noise that needs a larger beta1 than Adam's.
- ADOPT: 8. Taniguchi et al. 2024. Adam without tuning beta2.
- Adan: 16. Xie et al. 2022. Large batches, vision and language models.
- AdEMAMix: 12. Pagliardini et al. 2024. Long training.
- SMORMS3: 12. Funk 2015. Noisy gradients, nothing to tune but lr.
- Lion: 4. Chen et al. 2023. Large networks, with half of Adam's state.
- Signum: 4; momentum=0: 0. Bernstein et al. 2018. Gradients whose scale differs between layers.
- Rprop: 8. Riedmiller & Braun 1993. Gradients of all samples.
- ASGD: 4. Polyak & Juditsky 1992. Convex problems with noisy gradients.
- Ftrl: 8. McMahan et al. 2013. Linear models of many sparse features.
- ScheduleFreeSGD: 4. Defazio et al. 2024. Training of unknown length, without a schedule.
- ScheduleFreeAdamW, ScheduleFreeRAdam: 8. Defazio et al. 2024. The same, in place of AdamW or
  RAdam.
- LAMB: 8. You et al. 2020. Large batches.
- LARS: 4. You et al. 2017. Convolutional networks, large batches.
- StableAdamW: 8. Wortsman et al. 2023. Large models whose loss has spikes.
- NovoGrad: 4. Ginsburg et al. 2019. Speech and image models, large batches.
- Prodigy: 16. Mishchenko & Defazio 2024. Adam that finds its learning rate.
- DoG: 4. Ivgi et al. 2023. Gradient descent that finds its learning rate.
- Adafactor: 4 a row + 4 a column. Shazeer & Stern 2018. Models whose Adam state would not fit into
  memory.
- SM3: 4 for each index of each axis. Anil et al. 2019. Large embeddings, as Adagrad.
- Muon: 4; not matrices: 8. Jordan et al. 2024. Weights of hidden layers, with AdamW for the rest.
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
    DoG,
    Ftrl,
    Lion,
    Muon,
    NAdam,
    NovoGrad,
    Prodigy,
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
    from fastopt.optimizers.base.values import float32_state
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
    "DoG",
    "FastoptError",
    "Ftrl",
    "KalmanSGD",
    "Lion",
    "Muon",
    "NAdam",
    "NovoGrad",
    "Optimizer",
    "Prodigy",
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
    "float32_state",
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
    "float32_state": "fastopt.optimizers.base.values",
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

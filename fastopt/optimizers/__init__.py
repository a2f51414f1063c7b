"""The optimizers: one class for each rule, with its facts, signature and documentation.

| module | what it answers |
|---|---|
| `sgd` | gradient descent, momentum and Nesterov, also with normalized gradients |
| `lion` | Lion, also cautious |
| `signum` | Signum and signSGD |
| `rprop` | Rprop |
| `adabelief` | AdaBelief |
| `yogi` | Yogi |
| `qhadam` | QHAdam |
| `adagrad` | AdaGrad, also with one accumulator for each row |
| `adafactor` | Adafactor |
| `sm3` | SM3 |
| `adadelta` | AdaDelta |
| `schedule_free` | Schedule-Free SGD, AdamW and RAdam |
| `rmsprop` | RMSProp |
| `adam` | Adam, AMSGrad and AdamW, also cautious or with one v for each row |
| `adamax` | AdaMax |
| `muon` | Muon for matrices, with AdamW for all other parameters |
| `nadam` | NAdam |
| `radam` | RAdam |
| `smorms3` | SMORMS3 |
| `lamb` | LAMB |
| `lars` | LARS |
| `stable_adamw` | StableAdamW |
| `novograd` | NovoGrad |
| `dog` | DoG and L-DoG |
| `prodigy` | Prodigy |
| `ftrl` | FTRL-Proximal |
| `ademamix` | AdEMAMix |
| `adopt` | ADOPT |
| `asgd` | averaged SGD |
| `adan` | Adan |
| `conventions` | the formula and defaults of each rule in each library |
| `spellings` | how each library spells the options of its rules |
| `base` | what all optimizers share |

The class of a rule states its options, their ranges, and which kernel of csrc/rules computes its
formula; `base.optimizer.Optimizer` does the rest.
"""

from fastopt.optimizers.adabelief import AdaBelief
from fastopt.optimizers.adadelta import Adadelta
from fastopt.optimizers.adafactor import Adafactor
from fastopt.optimizers.adagrad import Adagrad
from fastopt.optimizers.adam import Adam, AdamW
from fastopt.optimizers.adamax import Adamax
from fastopt.optimizers.adan import Adan
from fastopt.optimizers.ademamix import AdEMAMix
from fastopt.optimizers.adopt import ADOPT
from fastopt.optimizers.asgd import ASGD
from fastopt.optimizers.dog import DoG
from fastopt.optimizers.ftrl import Ftrl
from fastopt.optimizers.lamb import LAMB
from fastopt.optimizers.lars import LARS
from fastopt.optimizers.lion import Lion
from fastopt.optimizers.muon import Muon
from fastopt.optimizers.nadam import NAdam
from fastopt.optimizers.novograd import NovoGrad
from fastopt.optimizers.prodigy import Prodigy
from fastopt.optimizers.qhadam import QHAdam
from fastopt.optimizers.radam import RAdam
from fastopt.optimizers.rmsprop import RMSprop
from fastopt.optimizers.rprop import Rprop
from fastopt.optimizers.schedule_free import ScheduleFreeAdamW, ScheduleFreeRAdam, ScheduleFreeSGD
from fastopt.optimizers.sgd import SGD
from fastopt.optimizers.signum import Signum
from fastopt.optimizers.sm3 import SM3
from fastopt.optimizers.smorms3 import SMORMS3
from fastopt.optimizers.stable_adamw import StableAdamW
from fastopt.optimizers.yogi import Yogi

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
    "DoG",
    "Ftrl",
    "Lion",
    "Muon",
    "NAdam",
    "NovoGrad",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Signum",
    "StableAdamW",
    "Yogi",
]

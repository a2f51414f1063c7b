"""The optimizers: one class for each rule, with its facts, signature and documentation.

| module | what it answers |
|---|---|
| `sgd` | gradient descent, momentum and Nesterov |
| `adagrad` | AdaGrad, also with one accumulator for each row |
| `adadelta` | AdaDelta |
| `rmsprop` | RMSProp |
| `adam` | Adam, AMSGrad and AdamW |
| `adamax` | AdaMax |
| `nadam` | NAdam |
| `lamb` | LAMB |
| `conventions` | the formula and defaults of each rule in each library |
| `spellings` | how each library spells the options of its rules |
| `base` | what all optimizers share |

The class of a rule states its options, their ranges, and which kernel of csrc/rules computes its
formula; `base.optimizer.Optimizer` does the rest.
"""

from fastopt.optimizers.adadelta import Adadelta
from fastopt.optimizers.adagrad import Adagrad
from fastopt.optimizers.adam import Adam, AdamW
from fastopt.optimizers.adamax import Adamax
from fastopt.optimizers.lamb import LAMB
from fastopt.optimizers.nadam import NAdam
from fastopt.optimizers.rmsprop import RMSprop
from fastopt.optimizers.sgd import SGD

__all__ = [
    "LAMB",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RMSprop",
]

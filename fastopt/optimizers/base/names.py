"""Which of our names to suggest for an unknown one, such as a name of another library."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names of other libraries that are too different from ours to be found by comparing letters.
FOREIGN = {
    "learning_rate": "lr",
    "learningRate": "lr",
    "step_size": "lr",
    "epsilon": "eps",
    "clipnorm": "max_grad_norm",
    "global_clipnorm": "max_grad_norm",
    "clipvalue": "max_grad_value",
    "ema_momentum": "ema_decay",
    "decay": "alpha",
    **dict.fromkeys(("b1", "b2", "beta1", "beta2", "beta_1", "beta_2"), "betas"),
}


def meant(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the most similar known name, or "" if none is similar."""
    known = [other for other in known if not other.startswith("_")]
    similar = [FOREIGN[name]] if FOREIGN.get(name) in known else []
    similar += difflib.get_close_matches(name, known, 1)
    return f"; did you mean {similar[0]!r}?" if similar else ""

"""What is accepted as the user's function, and what it may return."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from fastopt._errors import FastoptError

Fun = Callable[..., tuple[Any, Any]]


def as_fun(fun: object) -> Fun:
    """Return a callable unchanged; for a model, return its method ``loss_and_grad``."""
    found = getattr(fun, "loss_and_grad", fun)
    if not callable(found):
        raise TypeError(f"fun is {fun!r}; a callable is needed")
    return found


def loss_and_grads(returned: object) -> tuple[float, Any]:
    """Return the loss, as a float, and the gradients of a pair that a function returned."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(f"fun returned {returned!r}; a pair (loss, grad) is needed")
    loss, grads = returned
    is_0d = getattr(loss, "shape", None) == ()  # an array of NumPy, torch or JAX
    plain = loss.item() if is_0d and hasattr(loss, "item") else loss
    if isinstance(plain, (complex, str)) or not (is_0d or isinstance(plain, numbers.Real)):
        raise TypeError(f"fun returned the loss {loss!r}; a number is needed")
    try:
        return float(plain), grads
    except OverflowError:
        raise FastoptError(f"fun returned the loss {loss!r}; it must fit in float64") from None

"""What the file of a `KalmanSGD` must contain before a filter is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError


def require_arrays(saved: Mapping[str, Any]) -> None:
    """Raise unless there is an array as large as the covariance that the options describe.

    A small file can describe a large filter; without this check, its memory would be allocated.
    """
    options = saved["options"]
    start, covariance = options["n_params_or_w0"], options["covariance"]
    p = start if isinstance(start, int) else np.size(start)
    if covariance == "full":
        needed = p * (p - 1) // 2  # mode "ud" needs least: a triangle without its diagonal
    elif covariance == "diag":
        needed = p
    else:
        needed = sum(np.size(block) ** 2 for block in covariance)
    arrays = [value for value in saved["state"].values() if isinstance(value, np.ndarray)]
    found = max((array.size for array in arrays), default=0)
    if found < max(p, needed):
        raise FastoptError(
            f"the state has arrays of at most {found} elements; the options need {max(p, needed)}"
        )

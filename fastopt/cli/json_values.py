"""Numbers in the form that JSON allows."""

import math


def finite_or_none(value: float) -> float | None:
    """Return `value`, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None

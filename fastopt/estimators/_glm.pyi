from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]
_Floats = np.ndarray[Any, np.dtype[np.float64]]

FAMILIES: dict[tuple[str, str], int]

def chunk(
    family: tuple[str, str],
    shape: float,
    has_intercept: bool,
    x: _Array,
    y: _Floats,
    weight: _Floats | None,
    offset: _Floats | None,
    mean: _Floats | None,
    coef: _Floats,
    null: float | None,
    rows: _Floats,
    is_scaled: bool,
    score: _Floats,
) -> tuple[float, float, float, float]: ...
def columns(
    x: _Array, weight: _Floats | None, low: _Floats, high: _Floats, total: _Floats
) -> None: ...
def squares(
    x: _Array, weight: _Floats | None, total: float, mean: _Floats, sums: _Floats
) -> float: ...
def descend(matrix: _Floats, l1: _Floats, w: _Floats, rest: _Floats, floor: float) -> None: ...
def require(n: int, *arrays: _Floats | None) -> None: ...

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]

FAMILIES: dict[tuple[str, str], int]

class Rows:
    counts: tuple[int, int, float]
    def require_idle(self) -> None: ...
    def change(self, x: Floats, y: Floats) -> str: ...
    def rows(
        self,
        family: tuple[str, str],
        shape: float,
        is_explicit: bool,
        gamma_min: float,
        gamma_max: float,
        x: Floats,
        y: Floats,
        weight: Floats | None,
        at_once: int,
    ) -> str: ...
    def trace(self) -> float: ...

class Filter(Rows):
    def __init__(
        self,
        w: Floats,
        m: np.ndarray[Any, np.dtype[Any]],
        block: int,
        keep: float,
        max_trace: float,
        n_threads: int,
        by_blas: bool,
    ) -> None: ...
    def settle(self) -> None: ...
    def variances(self) -> Floats: ...

class Factors(Rows):
    def __init__(
        self,
        w: Floats,
        u: np.ndarray[Any, np.dtype[Any]],
        d: Floats,
        block: int,
        keep: float,
        max_trace: float,
        n_threads: int,
    ) -> None: ...
    def variances(self) -> Floats: ...

class DecoupledFilter(Rows):
    def __init__(
        self,
        w: Floats,
        m: Floats,
        start: Wholes | None,
        order: Wholes | None,
        keep: float,
        max_trace: float,
    ) -> None: ...
    def outputs(self, x: Floats, residual: Floats) -> str: ...

def nonfinite_row(x: Floats) -> int: ...
def observe(
    family: tuple[str, str], shape: float, y: float, z: float
) -> tuple[float, float, float, float, float, float]: ...
def implicit(
    family: tuple[str, str], shape: float, y: float, prior: float, eta: float, g: float
) -> float: ...

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]

FAMILIES: dict[tuple[str, str], int]

class Filter:
    counts: tuple[int, int, float]
    def __init__(
        self,
        w: Floats,
        m: Floats,
        block: int,
        keep: float,
        max_trace: float,
    ) -> None: ...
    def settle(self) -> None: ...
    def change(self, x: Floats, y: Floats) -> str: ...
    def trace(self) -> float: ...
    def variances(self) -> Floats: ...
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

class DecoupledFilter:
    counts: tuple[int, int, float]
    def __init__(
        self,
        w: Floats,
        m: Floats,
        start: Wholes | None,
        order: Wholes | None,
        keep: float,
        max_trace: float,
    ) -> None: ...
    def require_idle(self) -> None: ...
    def trace(self) -> float: ...
    def outputs(self, x: Floats, residual: Floats) -> str: ...
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

def nonfinite_row(x: Floats) -> int: ...
def observe(
    family: tuple[str, str], shape: float, y: float, z: float
) -> tuple[float, float, float, float, float, float]: ...
def implicit(
    family: tuple[str, str], shape: float, y: float, prior: float, eta: float, g: float
) -> float: ...

from typing import Any, Self

import numpy as np
from typing_extensions import disjoint_base

_Floats = np.ndarray[Any, np.dtype[np.float64]]
_Wholes = np.ndarray[Any, np.dtype[np.int64]]

FAMILIES: dict[tuple[str, str], int]
STATUS: dict[int, str]

@disjoint_base
class Rows:
    counts: tuple[int, int, float]
    def require_idle(self) -> None: ...
    def change(self, x: _Floats, y: _Floats) -> str: ...
    def rows(
        self,
        family: tuple[str, str],
        shape: float,
        is_explicit: bool,
        gamma_min: float,
        gamma_max: float,
        x: _Floats,
        y: _Floats,
        weight: _Floats | None,
        offset: _Floats | None,
        at_once: int,
    ) -> str: ...
    def few_rows(
        self,
        family: tuple[str, str],
        shape: float,
        is_explicit: bool,
        gamma_min: float,
        gamma_max: float,
        low: float,
        high: float,
        open_low: bool,
        sortable: int,
        most: int,
        x: object,
        y: object,
        shift: _Floats | None,
        has_intercept: bool,
    ) -> str | None: ...

def columns(p: int, n: int, char: str) -> np.ndarray[Any, np.dtype[Any]]: ...

@disjoint_base
class Filter(Rows):
    def __new__(
        cls,
        w: _Floats,
        m: np.ndarray[Any, np.dtype[Any]],
        block: int,
        keep: float,
        max_trace: float,
        n_threads: int,
        by_blas: bool,
        in_parts: bool,
    ) -> Self: ...
    def settle(self) -> None: ...
    def trace(self) -> float: ...
    def variances(self) -> _Floats: ...

@disjoint_base
class Factors(Rows):
    def __new__(
        cls,
        w: _Floats,
        u: np.ndarray[Any, np.dtype[Any]],
        d: _Floats,
        block: int,
        keep: float,
        max_trace: float,
        n_threads: int,
    ) -> Self: ...
    def trace(self) -> float: ...
    def variances(self) -> _Floats: ...

@disjoint_base
class DecoupledFilter(Rows):
    def __new__(
        cls,
        w: _Floats,
        m: _Floats,
        start: _Wholes | None,
        order: _Wholes | None,
        keep: float,
        max_trace: float,
    ) -> Self: ...
    def trace(self) -> float: ...
    def outputs(self, x: _Floats, residual: _Floats) -> str: ...

def nonfinite_row(x: _Floats) -> int: ...
def marks_of(y: object, labels: np.ndarray[Any, np.dtype[Any]]) -> _Floats | None: ...
def observe(
    family: tuple[str, str], shape: float, y: float, z: float
) -> tuple[float, float, float, float, float, float]: ...
def observe_rows(
    family: tuple[str, str], shape: float, y: _Floats, z: _Floats
) -> tuple[_Floats, _Floats, _Floats, _Floats, _Floats]: ...
def observed_weights(family: tuple[str, str], shape: float, y: _Floats, z: _Floats) -> _Floats: ...
def deviance(family: tuple[str, str], shape: float, y: float, z: float) -> float: ...
def implicit(
    family: tuple[str, str], shape: float, y: float, prior: float, eta: float, g: float
) -> tuple[float, tuple[float, float, float, float, float, float]]: ...

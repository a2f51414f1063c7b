from typing import Any, Self

import numpy as np
from typing_extensions import disjoint_base

_Array = np.ndarray[Any, np.dtype[Any]]
_Floats = np.ndarray[Any, np.dtype[np.float64]]
_Wholes = np.ndarray[Any, np.dtype[np.int64]]
_Counts = tuple[int, int, tuple[float, ...], tuple[float, ...]]

FAMILIES: dict[tuple[str, str], int]
RULES: dict[str, tuple[int, int, tuple[str, ...]]]

@disjoint_base
class Table:
    increases: bool
    def __new__(
        cls,
        x: _Array,
        start: _Wholes | None,
        column: _Array | None,
        p: int,
        y: _Floats,
        weight: _Floats | None,
        offset: _Floats | None,
    ) -> Self: ...

@disjoint_base
class Steps:
    counts: _Counts
    def __new__(
        cls,
        family: tuple[str, str],
        shape: float,
        has_intercept: bool,
        rule: str,
        w: _Floats,
        states: tuple[_Floats, ...],
        average: _Floats | None,
        average_from: int,
        l1: float,
        l2: float,
        l1_of: _Floats | None,
        l2_of: _Floats | None,
        mean: _Floats | None,
        factor: _Floats | None,
        is_sparse: bool,
        last: _Wholes | None,
        batch: int,
        n_threads: int,
    ) -> Self: ...
    def rows(
        self, table: Table, order: _Wholes | None, lr: _Floats, z: _Floats, at_once: int
    ) -> int: ...
    def loss(self, table: Table, order: _Wholes | None, z: _Floats) -> float: ...

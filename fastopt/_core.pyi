from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

CHUNK: int
N_SAVED: int
SERIAL_BELOW: int
LOCKED_BELOW: int
N_LOOPS: int
RULES: dict[str, tuple[int, int, tuple[str, ...]]]
SUMS: dict[str, str]
DECAYS: dict[str, int]
CALLS: tuple[str, ...]
MISSING: object
MEND: str

def float8_blocks(shape: tuple[int, ...]) -> tuple[int, ...]: ...
def float8_unpack(
    codes: npt.NDArray[Any], scale: npt.NDArray[Any], is_signed: bool
) -> npt.NDArray[Any]: ...
def float8_pack(
    values: npt.NDArray[Any], is_signed: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...

@disjoint_base
class Layouts:
    def __new__(cls, n_params: int) -> Self: ...

@disjoint_base
class Written:
    def __new__(
        cls,
        names: list[str],
        params: list[npt.NDArray[Any]],
        states: list[tuple[npt.NDArray[Any], ...]],
        extra: list[tuple[npt.NDArray[Any] | None, ...]],
        scalars: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
        block_scales: list[tuple[tuple[npt.NDArray[Any], bool], ...]],
        before: Written | None,
    ) -> Self: ...

@disjoint_base
class Counts:
    steps: int
    skipped: int

@disjoint_base
class Running:
    def require_idle(self) -> None: ...
    def during(self, call: str) -> During: ...
    def retire(self) -> None: ...
    def watch(self) -> Unchanged: ...

@disjoint_base
class During:
    def __init__(self, running: Running, call: int) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def release(self) -> None: ...

@disjoint_base
class Unchanged:
    def __init__(self, running: Running, changes: int) -> None: ...
    def __reduce__(self) -> tuple[type[bool], tuple[()]]: ...

@disjoint_base
class Plan(Running):
    ema_decay: float
    @property
    def counts(self) -> Counts: ...
    def __new__(
        cls,
        kind: str,
        params: list[npt.NDArray[Any]],
        names: list[str],
        holders: list[Any],
        keys: list[Any],
        states: list[tuple[npt.NDArray[Any], ...]],
        extra: list[tuple[npt.NDArray[Any] | None, ...]],
        scalars: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
        block_scales: list[tuple[tuple[npt.NDArray[Any], bool], ...]],
        group_of: list[int],
        no_rows: list[str],
        n_groups: int,
        n_threads: int,
        before: Plan | None = None,
    ) -> Self: ...
    def bind(self, grads: Any) -> None: ...
    def bind_in_order(self, grads: tuple[Any, ...]) -> None: ...
    @property
    def gradients(self) -> tuple[npt.NDArray[Any] | None, ...] | None: ...
    def as_arrays(self, grads: Any) -> list[npt.NDArray[Any] | None]: ...
    def ordered(self, grads: Any) -> tuple[Any, ...]: ...
    def set_norm(self, value: float) -> None: ...
    def set_extras(self, values: dict[str, Any]) -> None: ...
    @property
    def grad_norm(self) -> float: ...
    def norm_of(self, grads: tuple[npt.NDArray[Any] | None, ...]) -> float: ...
    def step(
        self,
        grads: Any,
        options: list[tuple[str, tuple[float, ...], float, str, float, bool]] | None,
        rates: list[tuple[int, float]] | None,
    ) -> None: ...
    def step_in_call(
        self,
        grads: Any,
        options: list[tuple[str, tuple[float, ...], float, str, float, bool]] | None,
        rates: list[tuple[int, float]] | None,
        lent: list[tuple[int, int, npt.NDArray[Any]]] | None = None,
    ) -> None: ...

def byte_bounds(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[np.uintp]: ...
def gather(
    src: npt.NDArray[Any],
    index: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    n_threads: int = 0,
) -> None: ...
def move(
    source: npt.NDArray[Any], arrays: list[npt.NDArray[Any]], n_threads: int = 0, loop: int = 0
) -> None: ...
def assign_all(
    pairs: list[tuple[npt.NDArray[Any], Any]], attributes: Sequence[tuple[Any, str, Any]] = ...
) -> None: ...
def add_all(pairs: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None: ...
def isas() -> list[str]: ...
def isa() -> str: ...
def max_threads() -> int: ...
def openmp_version() -> int: ...
def build() -> tuple[str, str]: ...

from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK: int
SERIAL_BELOW: int
RULES: dict[str, tuple[int, int, tuple[str, ...]]]
DECAYS: dict[str, int]

class Plan:
    def __init__(
        self,
        kind: str,
        params: list[npt.NDArray[Any]],
        names: list[str],
        holders: list[Any],
        keys: list[Any],
        states: list[tuple[npt.NDArray[Any], ...]],
        steps: npt.NDArray[np.int64],
        saved: npt.NDArray[np.float64],
        group_of: list[int],
        n_groups: int,
        n_threads: int,
    ) -> None: ...
    def set_group(
        self,
        i: int,
        rule: str,
        hp: tuple[float, ...],
        weight_decay: float,
        decay: str,
        base_lr: float,
        maximize: bool,
    ) -> None: ...
    def set_lr(self, i: int, lr: float) -> None: ...
    def bind(self, grads: Any) -> None: ...
    def bind_in_order(self, grads: tuple[Any, ...]) -> None: ...
    @property
    def gradients(self) -> tuple[npt.NDArray[Any] | None, ...] | None: ...
    def step(self, grads: Any) -> None: ...

def gather(
    src: npt.NDArray[Any],
    index: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    n_threads: int = 0,
) -> None: ...
def isas() -> list[str]: ...
def isa() -> str: ...
def max_threads() -> int: ...
def openmp_version() -> int: ...
def build() -> tuple[str, str]: ...

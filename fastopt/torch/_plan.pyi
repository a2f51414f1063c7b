from collections.abc import Mapping
from typing import Any, Self

import torch
from typing_extensions import disjoint_base

DTYPES: dict[torch.dtype, int]
DTYPE_OF: dict[int, torch.dtype]
RULES: dict[str, tuple[int, int, tuple[str, ...]]]
DECAYS: dict[str, int]

@disjoint_base
class GroupOptions:
    arrays: tuple[str, ...]
    keys: tuple[str, ...]
    low_keys: tuple[str, ...]
    for_c: tuple[Any, ...]
    without_decay: tuple[Any, ...]
    no_rows: str
    sums: str
    def __init__(self, optimizer: Any, group: Mapping[str, Any]) -> None: ...

@disjoint_base
class WrittenMemory:
    def __new__(cls, n_params: int) -> Self: ...

@disjoint_base
class TensorPlan:
    def __new__(cls, optimizer: Any) -> Self: ...
    has_shards: bool
    n_elements: int
    @property
    def grad_norm(self) -> float: ...
    def step(self, optimizer: Any) -> bool: ...
    def step_one(self, optimizer: Any, param: torch.Tensor) -> bool: ...

def use_exchange(enabled: bool = True) -> bool: ...

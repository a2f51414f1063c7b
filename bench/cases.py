"""What fastopt and its peers are timed at."""

import math
from dataclasses import dataclass

from bench.models import Shape, gpt2, resnet50

FASTOPT, STOCHASTIC, LIMIT = "fastopt", "fastopt stochastic", "limit"  # who is no peer
QUICK_ELEMENTS = 2_000_000
QUICK_COEFFICIENTS = 100


@dataclass(frozen=True)
class Case:
    """One row of the table: a kind of call, its rule and its arrays."""

    group: str  # what --cases selects by
    name: str
    rule: str
    shapes: tuple[Shape, ...] = ()
    dtype: str = "float32"
    whole: bool = False  # clip by norm, step, zero the gradients
    touched: int = 0  # rows of a sparse gradient
    p: int = 0  # coefficients of KalmanSGD

    @property
    def elements(self) -> int:
        """How many parameters there are."""
        return sum(map(math.prod, self.shapes))

    @property
    def n_states(self) -> int:
        """How many arrays of the parameters' size the rule keeps."""
        return {"momentum": 1, "adam": 2, "adamw": 2}[self.rule]

    @property
    def bytes(self) -> int:
        """About what one peer holds, its temporaries included."""
        return 7 * 4 * self.elements

    @property
    def warm_up(self) -> int:
        """How many steps are taken before anything is timed, and compared between libraries.

        Where some set gradients to 0 and others need not, only the first is alike.
        """
        return 1 if self.whole or self.p or self.elements > 1e7 else 3

    @property
    def is_quick(self) -> bool:
        """Whether --quick has it."""
        return self.elements <= QUICK_ELEMENTS and self.p <= QUICK_COEFFICIENTS


def shown(size: float) -> str:
    return f"{size:.0e}".replace("e+0", "e") if size >= 1000 else str(size)


def one(rule: str, label: str, size: float) -> Case:
    return Case("one", f"{label}, {shown(size)}", rule, ((int(size),),))


LISTS = {"ResNet-50": tuple(resnet50()), "GPT-2 small": tuple(gpt2())}
SMALL = {"100 x 64": ((64,),) * 100}

CASES = (
    *(one("adam", "Adam", size) for size in (64, 1e3, 1e4, 1e5, 1e6, 1e7, 5e7)),
    *(one("momentum", "SGD momentum", size) for size in (64, 1e4, 1e6, 5e7)),
    *(Case("many", f"Adam, {name}", "adam", shapes) for name, shapes in (SMALL | LISTS).items()),
    *(
        Case("whole", f"AdamW clip+step+zero, {name}", "adamw", shapes, whole=True)
        for name, shapes in (SMALL | LISTS).items()
    ),
    *(
        Case("bfloat16", f"AdamW bfloat16, {shown(size)}", "adamw",
             ((int(size),),), "bfloat16")
        for size in (1e6, 1e7)
    ),
    *(
        Case("sparse", f"{label}, {touched} rows of {shown(rows)} x 64", rule,
             ((int(rows), 64),), touched=touched)
        for rows, touched in ((1e4, 256), (1e6, 4096))
        for rule, label in (("sgd", "SGD"), ("adagrad", "Adagrad"), ("adam", "Adam"))
    ),
    *(Case("ksgd", f"kSGD a row, p = {p}", "ksgd", p=p) for p in (10, 100, 1000, 2000)),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))

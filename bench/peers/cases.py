"""The cases in which fastopt and other libraries are timed."""

import math
from dataclasses import dataclass

from bench.peers.shapes import Shape, gpt2, resnet50

FASTOPT, STOCHASTIC, LIMIT = "fastopt", "fastopt stochastic", "limit"  # not other libraries
TORCH_DOOR, TORCH_DOOR_PARAM = "fastopt.torch", "fastopt.torch param"  # neither are these
FASTOPT_COARSE, FASTOPT_PARTIAL = "fastopt tol=0.01", "fastopt partial_fit"  # nor these
QUICK_ELEMENTS = 2_000_000
QUICK_COEFFICIENTS = 100


@dataclass(frozen=True)
class Case:
    """A kind of call with its rule and its arrays: one section of the table."""

    group: str  # --cases selects groups
    name: str
    rule: str
    shapes: tuple[Shape, ...] = ()
    dtype: str = "float32"
    clip_and_zero: bool = False  # not only a step: clip by norm, step, set gradients to zero
    sparse_rows: int = 0  # number of rows in a sparse gradient
    p: int = 0  # number of coefficients of KalmanSGD, or of columns of a table
    task: str = ""  # what is done with a table: "fit", "epoch" or "online"
    rows: int = 0  # of a table
    nonzeros: int = 0  # in each row of a sparse table

    @property
    def elements(self) -> int:
        """The number of elements of all parameters."""
        return sum(map(math.prod, self.shapes))

    @property
    def n_states(self) -> int:
        """The number of state arrays of the rule, each as large as the parameters."""
        return {"momentum": 1, "adagrad": 1, "rmsprop": 1}.get(self.rule, 2)

    @property
    def bytes(self) -> int:
        """The approximate memory of one library in bytes, including temporaries."""
        return 7 * 4 * self.elements

    @property
    def warm_up(self) -> int:
        """The number of steps before the timed ones; their results are compared.

        With `clip_and_zero` it is 1: after the first step some libraries have set the gradients to
        0 and others have not.
        """
        return 1 if self.clip_and_zero or self.p or self.elements > 1e7 else 3

    @property
    def is_quick(self) -> bool:
        """Whether --quick includes the case."""
        return (
            max(self.elements, self.rows * self.p) <= QUICK_ELEMENTS
            and self.p <= QUICK_COEFFICIENTS
        )

    @property
    def tolerance(self) -> float:
        """The largest difference of equal coefficients of a table.

        That of fits is in standard errors.
        """
        return 0.01 if self.task == "fit" else 1e-6


def shown(size: float) -> str:
    return f"{size:.0e}".replace("e+0", "e") if size >= 1000 else str(size)


def table(name: str, task: str, family: str, rows: float, p: float, nonzeros: int = 0) -> Case:
    return Case("glm", name, family, (), "float64", False, 0, int(p), task, int(rows), nonzeros)


def one(rule: str, label: str, size: float) -> Case:
    return Case("one", f"{label}, {shown(size)}", rule, ((int(size),),))


LISTS = {"ResNet-50": tuple(resnet50()), "GPT-2 small": tuple(gpt2())}
SMALL = {f"{count} x 64": ((64,),) * count for count in (100, 300)}
LABELS = {
    "momentum": "SGD momentum",
    "adagrad": "Adagrad",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "nadam": "NAdam",
    "adamax": "Adamax",
}

CASES = (
    *(one("adam", "Adam", size) for size in (64, 1e3, 1e4, 1e5, 1e6, 1e7, 5e7)),
    *(one("momentum", "SGD momentum", size) for size in (64, 1e4, 1e6, 5e7)),
    *(Case("many", f"Adam, {name}", "adam", shapes) for name, shapes in (SMALL | LISTS).items()),
    *(
        Case("rules", f"{label}, {name}", rule, shapes)
        for name, shapes in LISTS.items()
        for rule, label in LABELS.items()
    ),
    *(
        Case("whole", f"AdamW clip+step+zero, {name}", "adamw", shapes, clip_and_zero=True)
        for name, shapes in (SMALL | LISTS).items()
    ),
    *(
        Case("bfloat16", f"AdamW bfloat16, {shown(size)}", "adamw",
             ((int(size),),), "bfloat16")
        for size in (1e6, 1e7)
    ),
    *(
        Case("sparse", f"{label}, {sparse_rows} rows of {shown(rows)} x 64", rule,
             ((int(rows), 64),), sparse_rows=sparse_rows)
        for rows, sparse_rows in ((1e4, 256), (1e6, 4096))
        for rule, label in (("sgd", "SGD"), ("adagrad", "Adagrad"), ("adam", "Adam"))
    ),
    *(Case("ksgd", f"kSGD a row, p = {p}", "ksgd", p=p) for p in (10, 100, 1000, 2000)),
    *(
        table(f"{label}, 1e5 x {p}", "fit", family, 1e5, p)
        for label, family, sizes in (
            ("logit", "binomial", (20, 100)),
            ("Poisson", "poisson", (20, 100)),
            ("gaussian", "gaussian", (500,)),
        )
        for p in sizes
    ),
    table("SGD epoch, logit, 1e5 x 100", "epoch", "binomial", 1e5, 100),
    table("SGD epoch, CSR 2e5 x 1e5", "epoch", "binomial", 2e5, 1e5, 50),
    *(
        table(f"online {label} a row, p = 20", "online", family, 2000, 20)
        for label, family in (("logit", "binomial"), ("gaussian", "gaussian"))
    ),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))

"""Tables and training runs for the tests of `fastopt race`."""

import numpy as np

from fastopt.cli.race.data.table import Table
from fastopt.cli.race.problem import pose
from fastopt.cli.race.run import Evaluation, Run

COLOURS = ["red", "green", "blue"]


def table(n=60, d=3, target="classes", seed=0):
    """Make a small table; its last column is constant."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([5.0 + 3.0 * rng.standard_normal((n, d)), np.full(n, 7.0)])
    z = (X[:, 0] - 5.0) / 3.0
    y = {
        "classes": np.array(COLOURS)[np.digitize(z, [-0.5, 0.5])],
        "numbers": 1000.0 + 100.0 * z + rng.standard_normal(n),
        "counts": rng.poisson(np.exp(0.5 * z + 1.0)).astype(float),
    }[target]
    return Table("test", X, y, [f"x{i}" for i in range(d + 1)])


def write_csv(path, made, header=True, delimiter=",", newline="\n"):
    rows = [[*map(repr, map(float, x)), str(y)] for x, y in zip(made.X, made.y, strict=True)]
    if header:
        rows.insert(0, [*made.columns, "colour"])
    path.write_text(newline.join(map(delimiter.join, rows)) + newline, newline="")
    return str(path)


def make_run(rule="adam", problem=None, epochs=2, lr=0.01, batch_size=16, losses=(), score=0.5):
    """Return a run with the given losses."""
    evaluations = [Evaluation(loss, score, 0.1 * i) for i, loss in enumerate(losses)]
    problem = problem or pose(table(), "mlp", 0)
    return Run(rule, lr, batch_size, epochs, 0, problem, evaluations)


def trained(*args, **kwargs):
    made = make_run(*args, **kwargs)
    list(made.train())
    return made

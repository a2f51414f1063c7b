"""`GLMRegressor` and `GLMClassifier` for Dask arrays, Dask DataFrames and delayed blocks.

Each round of a fit is one Dask computation: the workers sum over the rows of their blocks, a tree
of tasks adds up the sums, and about p^2 numbers come back for p columns.  The rows stay where they
are.  The result is that of `fastopt.estimators` on the same rows in one process, up to rounding,
and does not depend on the number of workers.  This package needs the extra `dask`.

| module | what it answers |
|---|---|
| `chunks` | the parts of X, y and weights that belong together |
| `opening` | which source reads what a user gives as X |
| `rows` | `DaskRows`: a source whose sums are Dask computations |
| `glm` | the two estimators |

No separate package is needed for Spark, Ray and MPI: see `fastopt.estimators.moments`.
"""

try:
    import dask as _dask  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastopt.estimators.dask needs dask; from a checkout: pip install '.[dask]'"
    ) from error

from fastopt.estimators.dask.glm import GLMClassifier, GLMRegressor

__all__ = ["GLMClassifier", "GLMRegressor"]

"""Kalman-based SGD: coefficients with their covariance, updated by rows of data.

| module | what it answers |
|---|---|
| `filter` | `KalmanSGD`: its options, and the methods that absorb data |
| `results` | what a filter reports: its options, coefficients, covariance and counts |
| `options` | which options are allowed, separately and in combination |
| `input` | which data are accepted, and their conversion to arrays for BLAS |
| `state` | what changes when rows are absorbed, and how it is saved and restored |
| `data` | the rows given to `partial_fit` and `fit`: their check, parts and blocks |
| `rows` | how rows of a generalized linear model are absorbed |
| `warned` | how `partial_fit` absorbs rows and warns |
| `starting` | the initial state that the first rows determine (`m0=None`, "scale") |
| `diagnostics` | when `partial_fit` warns about the order of the rows |
| `fitting` | how all rows are fitted at once, in any order (`fit`) |
| `scoring` | the maximum of the likelihood by Fisher scoring |
| `outputs` | how observations of any model are absorbed (`update`) |
| `nonlinear` | how rows of a nonlinear model are absorbed (`fit_model`) |
| `damped` | which steps nonlinear least squares takes |
| `merging` | when two filters can be merged exactly, and how (`merge`) |
| `exclusive` | how simultaneous use by two threads is refused |
| `saved` | how a filter is saved, restored and copied |
| `stopping` | when the coefficients are known precisely enough (`converged`) |
| `covariance` | the forms in which a covariance is stored, one module each |
| `_kalman` | the Cython boundary of `csrc/kalman` |

`KalmanSGD` has a `State`, which has the `Options` and a form of covariance. A method of
`KalmanSGD` documents its arguments and calls a function of the module named in the table, which
checks them and changes the state.
"""

from fastopt.kalman.filter import KalmanSGD

__all__ = ["KalmanSGD"]

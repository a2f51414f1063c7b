"""Kalman-based SGD: coefficients with their covariance, updated by rows of data.

| module | what it answers |
|---|---|
| `filter` | `KalmanSGD`: its options, methods and results |
| `saved` | what a file must hold before a filter is built from it |
| `input` | which arguments are accepted |
| `stopping` | when the coefficients are known precisely enough |
| `damped` | nonlinear least squares: which steps are taken |
| `model` | how a user's nonlinear model becomes a triangular system |
| `covariance` | the forms in which a covariance is stored, one module each |
| `_kalman` | the Cython boundary of `csrc/kalman` |
"""

from fastopt.kalman.filter import KalmanSGD

__all__ = ["KalmanSGD"]

"""Training loops: `fastopt.minimize` and what it consists of.

| module | what it answers |
|---|---|
| `minimize` | the public function: its arguments and its result |
| `run` | the loop over epochs and steps |
| `resuming` | what a run's checkpoint contains, and resuming from it |
| `line_search` | gradient descent with a line search |
| `model_filter` | a model's parameters as the coefficients of a `KalmanSGD` |
| `scipy_method` | an optimizer as a method of `scipy.optimize.minimize` |
| `fun` | what a user's function is, and what it may return |
| `gradcheck` | whether a gradient agrees with finite differences |
| `interrupts` | when KeyboardInterrupt is delivered |
| `progress` | the progress display |
"""

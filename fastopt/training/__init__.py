"""Training loops: `fastopt.minimize` and its parts.

| module | what it answers |
|---|---|
| `minimize` | the public function: its documentation and the order of its parts |
| `arguments` | how the arguments of `minimize` are checked and converted |
| `ending` | when and why a run ends, and what the result says about it |
| `looking` | the loss and gradient over all rows, and whether parameters are finite |
| `best` | which point of a run was the best |
| `run` | the loop over epochs and steps |
| `steps` | how a step is taken, by an update rule or a `KalmanSGD` |
| `line_search` | how a step is taken by gradient descent with a line search |
| `state` | the progress of a run: parameters, counts, losses and history |
| `resuming` | what a run's checkpoint contains, and resuming from it |
| `fingerprint` | whether a user's schedule is the same function in another process |
| `model_filter` | a model's parameters as the coefficients of a `KalmanSGD` |
| `scipy_method` | an optimizer as a method of `scipy.optimize.minimize` |
| `fun` | what is accepted as the user's function, and what it may return |
| `gradcheck` | whether a gradient agrees with finite differences |
| `interrupts` | when KeyboardInterrupt is delivered |
| `progress` | the progress display |
"""

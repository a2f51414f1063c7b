"""`fastopt race --conditioning`: the rules and KalmanSGD on ill-conditioned least squares.

| module | what it answers |
|---|---|
| `command` | Which condition numbers are compared, and in which order is the work done? |
| `sample` | How are rows with a given condition number generated? |
| `measure` | How low is the loss of each rule after one pass over the rows? |
| `report` | How is the result printed? |
| `picture` | How is the result drawn? |
| `summary` | What is the result in JSON? |
"""

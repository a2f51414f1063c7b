"""Fits by epochs of an update rule, for wide and for sparse rows.

| module | what it answers |
|---|---|
| `by_epochs` | what `fit` and `partial_fit` do with a solver that takes epochs |
| `fitting` | how a model is fitted by epochs: order, losses, when it ends |
| `steps` | the steps of an update rule on rows, and their state |
"""

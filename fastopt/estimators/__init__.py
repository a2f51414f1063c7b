"""Generalized linear models with standard errors, from data of any size, as scikit-learn has them.

| module | what it answers |
|---|---|
| `fitted` | `Fitted`: what is known of a fitted model when its rows are gone |
"""

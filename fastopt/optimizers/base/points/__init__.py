"""The points that the parameters are moved to temporarily, in a `with` block.

| module | what it answers |
|---|---|
| `excursion` | how parameters are replaced temporarily and restored |
| `lookahead` | where a rule with a look-ahead point needs its gradients |
| `ascent` | where sharpness-aware minimization needs its second gradients |
| `averages` | which averages over steps `averaged` puts into the parameters |

`fastopt.optimizers.base.evaluation_points` has the methods that use them.
"""

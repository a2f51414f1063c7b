"""What all optimizers share: everything that does not depend on the rule.

| module | what it answers |
|---|---|
| `arguments` | which arguments every optimizer takes, with their types |
| `names` | which of our names to suggest for an unknown one |
| `rule` | what the class of a rule defines |
| `structure` | in which containers parameters and gradients may be given |
| `extras` | which options all parameters share |
| `float8` | which parameters have states of 8 bits, and what their values are |
| `state_arrays` | which arrays make up the state of a parameter |
| `excursion` | how parameters are replaced temporarily and restored |
| `lookahead` | where a rule with a look-ahead point needs its gradients |
| `ascent` | where sharpness-aware minimization needs its second gradients |
| `accumulated` | what the sums of accumulated gradients are |
| `ranges` | whether options fit the dtype of the computation |
| `groups` | which options a parameter group has |
| `parameters` | which parameters an optimizer has, with their groups and state |
| `averages` | which averages over steps `averaged` puts into the parameters |
| `plan` | how parameters, state and options are passed to C |
| `newton_schulz` | how a matrix is orthogonalized |
| `directions` | what rules that work on whole matrices compute before a step |
| `torch_state_dict` | how a state dict of `torch.optim` is converted to ours |
| `matching` | how saved groups and states are matched with ours by name |
| `state_dict` | what a state dict contains, and how one is loaded |
| `evaluation_points` | where the parameters are moved temporarily, and the methods that move them |
| `optimizer` | what a step is; the public methods of every optimizer |
| `values` | what the values of a state are, whatever its dtype |

A module imports only from those above it.  `rule` and `groups` do not refer to an optimizer: a
group has the class of its rule, and shares a `groups.Status` with the optimizer.
"""

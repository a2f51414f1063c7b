"""What all optimizers share: everything that does not depend on the rule.

| module | what it answers |
|---|---|
| `arguments` | which arguments every optimizer takes, with their types |
| `names` | which of our names to suggest for an unknown one |
| `rule` | what the class of a rule defines |
| `extras` | which options all parameters share |
| `state/` | what an optimizer holds: parameters in groups, their options and state |
| `points/` | where the parameters are moved temporarily |
| `newton_schulz` | how a matrix is orthogonalized |
| `directions` | what rules that work on whole matrices compute before a step |
| `state_dicts/` | what a state dict contains, also one of `torch.optim`, and how one is loaded |
| `attributes` | what an optimizer has, which of it can be set, and how groups are added |
| `evaluation_points` | the methods that move the parameters in a `with` block |
| `saving` | the methods that save, load, pickle and copy an optimizer |
| `optimizer` | what a step is; the arguments of every optimizer |
| `values` | what the values of a state are, whatever its dtype |

A module or folder imports only from those above it.  `Optimizer` is the last of the classes
`Rule`, `Attributes`, `EvaluationPoints`, `Saving` and `Optimizer`, each a base of the next.
"""

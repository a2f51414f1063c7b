"""State dicts, ours and those of torch.optim.

| module | what it answers |
|---|---|
| `pytorch` | how a state dict of `torch.optim` is converted to ours |
| `matching` | how saved groups and states are matched with ours by name |
| `state_dict` | what a state dict contains, and how one is loaded |

`fastopt.optimizers.base.saving` has the methods that use them.
"""

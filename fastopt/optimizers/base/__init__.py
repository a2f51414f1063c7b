"""Everything that the optimizers share: all but the facts of a rule.

| module | what it answers |
|---|---|
| `optimizer` | what a step is, and the public methods of every optimizer |
| `rule` | which facts a rule states |
| `groups` | the options of one parameter group |
| `parameters` | which parameters an optimizer has, with their groups and state |
| `structure` | in which containers parameters and gradients may come |
| `extras` | the options that all parameters share |
| `state_arrays` | which arrays a parameter's state consists of |
| `lookahead` | where a rule with a look-ahead point takes its gradients |
| `state_dict` | what a state dict contains, and loading one |
| `torch_state_dict` | how a state dict of `torch.optim` is converted to ours |
"""

"""What an optimizer holds: its parameters in groups, their options and their state.

| module | what it answers |
|---|---|
| `structure` | in which containers parameters and gradients may be given |
| `ranges` | whether options fit the dtype of the computation |
| `float8` | which parameters have states of 8 bits, and what their values are |
| `arrays` | which arrays make up the state of a parameter |
| `accumulated` | what the sums of accumulated gradients are |
| `groups` | which options a parameter group has |
| `parameters` | which parameters an optimizer has, with their groups and state |
| `plan` | how parameters, state and options are passed to C |

A module imports only from those above it.  A group does not refer to its optimizer: it has the
class of its rule, and shares a `groups.Status` with the optimizer.
"""

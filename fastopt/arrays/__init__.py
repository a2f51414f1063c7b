"""Which arrays and gradients are accepted, and in what form the rest of the package gets them.

| module | what it answers |
|---|---|
| `accepted` | whether an array can be a parameter or a gradient; which arrays share memory |
| `dlpack` | how bfloat16 gradients of other libraries are read through DLPack |
| `sparse` | what a gradient of some rows is: `RowSparse`, `scipy.sparse` |
"""

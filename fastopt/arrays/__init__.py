"""Which arrays and gradients are accepted, and how the rest of the package reads them.

| module | what it answers |
|---|---|
| `dtypes` | which dtypes are supported, and in which dtype an update is computed |
| `layout` | in which order an array's axes are stored, and new arrays laid out and aligned alike |
| `overlap` | which arrays share memory |
| `accepted` | which objects are accepted as parameters and as gradients |
| `nested` | how nested structures of arrays become a flat dict |
| `dlpack` | how bfloat16 gradients of other libraries are read through DLPack |
| `sparse` | what a row-sparse gradient is: `RowSparse` and SciPy's sparse matrices |
"""

"""Nested dicts of arrays and plain values as a file, without pickle, replaced atomically.

A path that ends in .safetensors is written in that format (``pip install '.[checkpoint]'``),
any other path as NumPy's .npz; `read` recognises the format by the content.  Both hold the arrays
under readable names and everything else as JSON.

| module | what it answers |
|---|---|
| `saved_file` | `write` and `read`: which kind, version and format a file has |
| `encoding` | nested content as JSON and named arrays, and back |
| `npz` | JSON and arrays in NumPy's .npz format |
| `safetensors` | JSON and arrays in the .safetensors format |
| `regular_files` | which paths are accepted: those of regular files |
| `replacing` | how a file is replaced atomically, and what a killed process leaves behind |
"""

from fastopt.checkpoint.replacing import remove_leftovers
from fastopt.checkpoint.saved_file import loading, read, write

__all__ = ["loading", "read", "remove_leftovers", "write"]

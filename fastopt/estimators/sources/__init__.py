"""The kinds of data that a fit reads, one module each.

| module | what it answers |
|---|---|
| `array` | rows in a NumPy array |
"""

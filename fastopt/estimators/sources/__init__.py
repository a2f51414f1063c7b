"""The kinds of data that a fit reads.

| module | what it answers |
|---|---|
| `block` | `Block`: a block of rows |
| `source` | `Source`: what a fit reads |
| `opening` | Which source reads what a user gives as X? |
| `array` | rows in a NumPy array |
| `memory_map` | rows of a memory-mapped array |
| `pages` | How are pages of a mapped file given back to the operating system? |
| `table_rows` | rows of a table, from a reader |
| `frame` | reader of a table in memory |
| `parquet` | reader of parquet files |
| `interleaved` | blocks with rows from many places, for a fit that reads the data once |
| `indices` | whether the indices of a sparse matrix are inside it |
| `iterable` | rows in chunks from a function or a list |
| `tables` | What is in a column of a table of pandas, polars or Arrow? |
| `features` | How do numeric columns become rows of a matrix? |
| `formula` | How does a formula become rows of a matrix? |
| `labels` | Which classes are there, and which is that of each row? |
| `roles` | Which column or array is y, the weight, the offset? |
"""

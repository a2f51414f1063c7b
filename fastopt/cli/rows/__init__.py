"""The rows of a data file, for `fastopt fit` and `fastopt predict`.

| module | what it answers |
|---|---|
| `opening` | Which reader belongs to a file name? |
| `text_file` | Which columns does a text file with a delimiter have? |
| `stored` | columns in memory, as a table |
| `encoding` | How do columns, those of text too, become rows of a matrix? |
| `scan` | Which levels and which missing values do columns have? |
| `filled` | How are missing values replaced? |
| `formulas` | How is a formula written to a model file, and which formulas are safe to load? |
| `watched` | How many rows has a fit read? |
"""

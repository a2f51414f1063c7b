"""Data files: features and a target in rows.

| module | what it answers |
|---|---|
| `load` | Which reader belongs to a file name? |
| `options` | Which options of the command line are for a data file? |
| `table` | What is a table, and which tables can be used? |
| `csv_file` | What does a text file with a delimiter contain? |
| `features` | Which numbers are in a row of such a file, and how is text encoded? |
| `npz_file` | What does an archive of NumPy arrays contain? |
| `svmlight_file` | What does a file in svmlight's format contain? |
"""

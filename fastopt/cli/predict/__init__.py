"""`fastopt predict`: apply a model of `fastopt fit` to a data file.

| module | what it answers |
|---|---|
| `command` | What are the arguments, and in which order does the command do its work? |
| `rows` | Which rows of a file does a model read? |
| `predictions` | What is predicted for a row, and how is it written? |
"""

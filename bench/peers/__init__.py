"""`python -m bench.peers`: the same step by fastopt and by other libraries.

| module | what it answers |
|---|---|
| `__main__` | What are the arguments, and in which order is everything measured? |
| `cases` | Which rules, sizes and options are measured? |
| `shapes` | Which shapes have the parameters of ResNet-50 and GPT-2? |
| `libraries` | How does each library compute the step of a case? |
| `sparse` | How does each library compute a step on some rows of a matrix? |
| `tables` | How does each library fit a table of rows? |
| `workers` | How is each library measured in its own process? |
| `results` | What does a library's row say, and how are the times printed? |
| `report` | How are the times drawn and written to RESULTS.md? |
"""

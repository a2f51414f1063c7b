"""Maximum likelihood by Fisher scoring, from sums over blocks of rows.

| module | what it answers |
|---|---|
| `model` | a family with its link and parameter |
| `fitting` | how a model is fitted to a source: start, rounds, and the record of the fit |
| `problem` | what is minimised, in which units, and where the rounds start |
| `rounds` | Fisher scoring from sums, with or without a penalty |
| `columns` | the first pass: means and ranges of the columns, a sample of the rows |
| `moments` | the sums over a block of rows that a round needs |
| `multinomial` | the same for several classes |
| `sparse` | the same for the rows of a CSR matrix |
"""

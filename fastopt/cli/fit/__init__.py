"""`fastopt fit`: fit a generalized linear model to a data file.

| module | what it answers |
|---|---|
| `command` | What are the arguments, and in which order does the command do its work? |
| `columns` | Which columns of the file are features, the target, weights? |
| `fitting` | How is the model fitted, and what is known of it then? |
| `choice` | Which estimator has the family that was asked for? |
| `display` | What does a terminal show during the fit? |
| `diagnostics` | How good is the fit, row by row? |
| `picture` | How is the result drawn? |
| `wording` | What are the arguments of the estimators called on the command line? |
| `report` | How is the result printed? |
| `summary` | What is the result in JSON? |
| `model_file` | What is in a file that `fastopt predict` reads? |
"""

"""`fastopt race`: train one model with every update rule and compare the results.

| module | what it answers |
|---|---|
| `command` | What are the arguments, and in which order does the command do its work? |
| `data` | Which features and target does a data file contain? |
| `problem` | Which model is trained on which rows, and on which rows is it tested? |
| `rules` | Which rules take part, and with which learning rates and batch sizes? |
| `run` | How does one rule train, epoch by epoch? |
| `display` | What does a terminal show during the training? |
| `report` | How is the result printed? |
| `reasons` | Why did a rule fall short? |
| `picture` | How is the result drawn? |
| `summary` | What is the result in JSON? |
"""

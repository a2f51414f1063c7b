"""`fastopt bench`: the time of each rule's step, compared with the time to move its bytes.

| module | what it answers |
|---|---|
| `command` | What are the arguments, and in which order does the command do its work? |
| `steps` | Which calls are timed, and how? |
| `result` | Which figures follow from the times? |
| `report` | How is the result printed? |
| `picture` | How is the result drawn? |
| `summary` | What is the result in JSON? |
"""

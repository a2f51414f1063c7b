"""`fastopt race --torch`: torch.optim.AdamW and fastopt.torch.AdamW train a transformer.

| module | what it answers |
|---|---|
| `command` | In which order does the command do its work? |
| `characters` | Which text is learned, and which parts of it are in a batch? |
| `model` | What is the model, and what is its loss? |
| `trainings` | How is one model trained by each optimizer, and how long does a step take? |
| `report` | How is the result printed? |
| `picture` | How is the result drawn? |
| `summary` | What is the result in JSON? |
"""

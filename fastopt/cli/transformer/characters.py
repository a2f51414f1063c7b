"""The training text: the topics of Python's `help`, as indices of characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch


@dataclass(frozen=True)
class Characters:
    """A text as a tensor of indices into the sorted list of its distinct characters."""

    codes: torch.Tensor  # one index per character of the text
    distinct: str  # the distinct characters, sorted

    def batches(
        self, count: int, batch_size: int, context: int, seed: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield `count` pairs of inputs and targets, each of shape (batch_size, context).

        Each row of the inputs is a part of the text that begins at a random position.  The targets
        are the next characters of the text.
        """
        rng = torch.Generator().manual_seed(seed)
        offsets = torch.arange(context + 1)
        for _ in range(count):
            starts = torch.randint(len(self.codes) - context, (batch_size, 1), generator=rng)
            rows = self.codes[starts + offsets]
            yield rows[:, :-1], rows[:, 1:]


def help_topics() -> Characters:
    """Return all texts that `help("TOPIC")` shows, about 450,000 characters of English."""
    text = "\n".join(topics[name] for name in sorted(topics))
    distinct = "".join(sorted(set(text)))
    index = {character: i for i, character in enumerate(distinct)}
    return Characters(torch.tensor([index[character] for character in text]), distinct)

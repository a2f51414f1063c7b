"""The text that is learned: the topics of Python's own `help`, as indices of characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch


@dataclass(frozen=True)
class Characters:
    """A text as a tensor of indices into the sorted list of its distinct characters."""

    codes: torch.Tensor
    distinct: str

    def batches(
        self, count: int, batch_size: int, context: int, seed: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs and targets, both of shape (batch_size, context), at random positions.

        The target of a character is the next one of the text.
        """
        rng = torch.Generator().manual_seed(seed)
        offsets = torch.arange(context + 1)
        for _ in range(count):
            starts = torch.randint(len(self.codes) - context, (batch_size, 1), generator=rng)
            rows = self.codes[starts + offsets]
            yield rows[:, :-1], rows[:, 1:]


def help_topics() -> Characters:
    """Return the texts that `help("TOPIC")` shows, about 450,000 characters of English."""
    text = "\n".join(topics[name] for name in sorted(topics))
    distinct = "".join(sorted(set(text)))
    index = {character: i for i, character in enumerate(distinct)}
    return Characters(torch.tensor([index[character] for character in text]), distinct)

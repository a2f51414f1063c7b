"""A transformer that predicts the next character, built of PyTorch's modules."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

HEADS = 4  # attention heads in each layer


@dataclass(frozen=True)
class Shape:
    """The size of a transformer."""

    n_characters: int
    context: int  # the largest number of characters that a prediction depends on
    width: int  # a multiple of HEADS
    layers: int


def transformer(shape: Shape, seed: int) -> nn.ModuleDict:
    """Return a transformer, initialised with `seed`, without dropout.

    Layer normalisation is applied before the attention and the feed-forward network of each layer.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers = [
            nn.TransformerEncoderLayer(
                shape.width,
                HEADS,
                4 * shape.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(shape.layers)
        ]
        return nn.ModuleDict(
            {
                "characters": nn.Embedding(shape.n_characters, shape.width),
                "positions": nn.Embedding(shape.context, shape.width),
                "layers": nn.ModuleList(layers),
                "norm": nn.LayerNorm(shape.width),
                "predictions": nn.Linear(shape.width, shape.n_characters),
            }
        )


def loss(model: nn.ModuleDict, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the next character, in nats."""
    n = inputs.shape[1]
    mask = nn.Transformer.generate_square_subsequent_mask(n)
    hidden = model["characters"](inputs) + model["positions"](torch.arange(n))
    for layer in model["layers"].children():
        hidden = layer(hidden, src_mask=mask, is_causal=True)
    scores = model["predictions"](model["norm"](hidden))
    return nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def n_params(model: nn.ModuleDict) -> int:
    """Return the total number of elements of the parameters."""
    return sum(w.numel() for w in model.parameters())

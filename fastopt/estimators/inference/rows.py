"""The rows of a block at the coefficients of a fit, and all blocks as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt.estimators.inference.fitted import Fitted, Floats
from fastopt.estimators.scoring.moments import chunks
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.source import Source

__all__ = ["one_block", "rows_of"]


def one_block(source: Source) -> Block:
    """Return all rows of a source, in memory.

    Parameters
    ----------
    source : Source

    Returns
    -------
    Block
        With a dense ``x``.
    """
    blocks = list(source.blocks())

    def whole(name: str) -> Any:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else np.concatenate(parts)

    x = [block.x.toarray() if hasattr(block.x, "toarray") else block.x for block in blocks]
    names = ("y", "weight", "offset", "frequency")
    return Block(np.concatenate(x), **{name: whole(name) for name in names})


def rows_of(block: Block, fitted: Fitted) -> Iterator[tuple[Block, Floats, Floats]]:
    """Yield parts of a block with their columns and linear predictors.

    Parameters
    ----------
    block : Block
    fitted : Fitted

    Yields
    ------
    part : Block
        Some of the rows.
    x : array of shape (n, p / n_equations)
        Their columns minus ``center``, a column of ones first if there is an intercept; the next
        part overwrites it.
    z : array of shape (n, n_equations)
        Linear predictors, with the offset.
    """
    coef = fitted.coef.reshape(fitted.n_equations, -1)
    center = fitted.center
    mean = None if center is None else center[int(fitted.has_intercept) :]
    for own, x in chunks(block.x, mean, fitted.has_intercept):
        part = block.part(own)
        z: Floats = x @ coef.T
        if center is not None:
            z += coef @ center
        if part.offset is not None:
            z += part.offset[:, None]
        yield part, x, z

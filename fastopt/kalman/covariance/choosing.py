"""Which form of covariance the options select, and the memory it needs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastopt._checks import Choice, default_threads
from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats, Form, Wholes
from fastopt.kalman.covariance.decoupled import Decoupled
from fastopt.kalman.covariance.plain import Plain
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.ud import ROWS, UD

LARGE = 1e10  # from here on M - v v' loses digits of the standard errors, which U D U' keeps
MOST_DENSE = 46340  # coefficients of a square matrix whose size BLAS can count in int32
FORMS: dict[str, type[Plain | UD | Information]] = {"plain": Plain, "ud": UD, "qr": Information}


def mode_and_dtype(mode: str, m0: object, kept: str, block: object, dtype: str) -> tuple[str, str]:
    """Return the form's name ("auto" for a diagonal and blocks) and the dtype.

    The options are checked in combination. `kept` is "full", "diag" or "blocks".
    """
    infinite = m0 == math.inf if isinstance(m0, float) else False
    wanted = Choice(("auto", "plain", "ud", "qr"))("mode", mode)
    if (wanted == "qr") != infinite and wanted != "auto":
        raise FastoptError(
            f"m0 is {m0!r} and mode is {mode!r}; 'qr' needs an infinite m0, "
            "other modes a finite one"
        )
    if kept != "full" and (wanted != "auto" or infinite or block != "auto"):
        raise FastoptError(
            f"m0 is {m0!r}, mode {mode!r}, block {block!r}; covariance 'diag' and blocks "
            "need a finite m0 and 'auto' for mode and block"
        )
    own = str(Choice(("float64", "float32"))("dtype", dtype))
    large = isinstance(m0, float | np.ndarray) and not infinite and np.max(m0) > LARGE
    usual = "qr" if infinite else "ud" if own == "float32" or large else "plain"
    form = "auto" if kept != "full" else str(usual if wanted == "auto" else wanted)
    if form in ("auto", "qr") and own != "float64":
        raise FastoptError(f"dtype is {dtype!r}; mode 'qr', a diagonal and blocks allow 'float64'")
    return form, own


def usual_rows(mode: str, p: int) -> int:
    """Return the default number of rows that are absorbed together."""
    return ROWS if mode == "ud" else block_rows(p)


def block_rows(p: int) -> int:
    """Return the number of rows in a block that was fastest on two cores, except for "ud"."""
    return 32 if p < 200 else 64 if p < 700 else 128 if p < 1500 else 192


class Kind(NamedTuple):
    """Which part of the covariance of p coefficients is stored, and in which form."""

    p: int
    mode: str
    dtype: str
    kept: str  # "full", "diag" or "blocks"
    blocks: list[Wholes] | None
    rows: int  # absorbed together

    def require_bytes(self, max_bytes: int | None) -> None:
        """Raise if there are too many coefficients for BLAS or more bytes than `max_bytes`."""
        p = self.p
        if self.kept != "full":
            kept = p if self.blocks is None else sum(len(block) ** 2 for block in self.blocks)
            needed = 8 * (kept + 7 * p)  # coefficients, their start and order, work
        else:
            needed = FORMS[self.mode].bytes_needed(p, self.rows, np.dtype(self.dtype).itemsize)
        if self.kept == "full" and p > MOST_DENSE:
            raise FastoptError(
                f"there are {p} coefficients; a full covariance allows at most {MOST_DENSE}, "
                "covariance='diag' or blocks allow more"
            )
        if max_bytes is not None and needed > max_bytes:
            other = "smaller blocks"
            if self.kept == "full":
                other = "mode='ud', dtype='float32', covariance='diag' or blocks"
            raise FastoptError(
                f"a covariance of {p} coefficients, {self.kept!r}, takes {needed} bytes and "
                f"max_bytes is {max_bytes}; raise it, or use {other} or fewer coefficients"
            )

    def make(
        self,
        w: Floats,
        start: Floats,
        forgetting: float,
        max_trace: float | None,
        n_threads: int | None,
    ) -> Form:
        """Return the form, from coefficients and a diagonal or a matrix."""
        if self.mode == "qr":
            return Information(self.p)
        if self.kept != "full":
            return Decoupled(w, start, self.blocks, forgetting, max_trace)
        form = UD if self.mode == "ud" else Plain
        threads = default_threads() if n_threads is None else n_threads
        return form(w, start, self.rows, forgetting, max_trace, self.dtype, threads)

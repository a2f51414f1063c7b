"""Why a rule did not get as far as it should have, in a line."""

from __future__ import annotations

import math

from fastopt.cli.problem import Problem
from fastopt.cli.rivals import Rival

_NEAR = 0.1  # without an expected score, scores this close to the best need no reason


def reasons(problem: Problem, rivals: list[Rival]) -> dict[str, str]:
    """Return, for the rules that fell short, what their losses tell of the cause."""
    least = min((r.last.train_loss for r in rivals if r.arrived), default=math.nan)
    best = max((r.last.score for r in rivals if r.arrived), default=math.nan)
    bar = best - _NEAR if problem.expected_score is None else problem.expected_score
    found = {rival.rule: _reason(rival, bar, least) for rival in rivals}
    return {rule: reason for rule, reason in found.items() if reason}


def _reason(rival: Rival, bar: float, least: float) -> str:
    has_rate = math.isfinite(rival.lr)
    too_high = f"the rate {rival.lr:g} is too high" if has_rate else "it has moved too far"
    if rival.diverged:
        return f"diverged in epoch {rival.epochs_done}: {too_high}"
    if not rival.finished:
        return f"interrupted after epoch {rival.epochs_done} of {rival.epochs}"
    if not rival.last.score < bar:
        return ""
    below = f"{rival.problem.score_name} {rival.last.score:.3g} is below {bar:.3g}"
    losses = [lap.train_loss for lap in rival.laps]
    start, before, loss, lowest = losses[0], losses[-2], losses[-1], min(losses)
    gap = loss - least
    if loss - lowest > 0.05 * (start - lowest):
        return (
            f"{below}; its loss has risen from {lowest:.3g} in epoch {losses.index(lowest)} to "
            f"{loss:.3g}: {too_high}"
        )
    if gap < 0.02 * (start - least):
        return f"{below}, though its training loss is near the lowest: it has overfitted"
    if before - loss > 0.005 * gap:
        return (
            f"{below}; its loss still fell in the last epoch, from {before:.4g} to {loss:.4g}: "
            f"it needs more epochs{' or a higher rate' if has_rate else ''}"
        )
    return f"{below}; its loss came to rest at {loss:.3g}, the best rule's at {least:.3g}"

"""Why a rule did not get as far as it should have, in a line."""

from __future__ import annotations

import math

from fastopt.cli.problem import Problem
from fastopt.cli.rivals import Rival

_NEAR = 0.05  # scores this close to the best need no reason


def reasons(problem: Problem, rivals: list[Rival]) -> dict[str, str]:
    """Return, for the rules that fell short, what their losses tell of the cause."""
    least = min((r.last.train_loss for r in rivals if r.arrived), default=math.nan)
    best = max((r.last.score for r in rivals if r.arrived), default=math.nan)
    bar = best - _NEAR if problem.expected_score is None else problem.expected_score
    found = {r.rule: _reason(problem.score_name, r, bar, least) for r in rivals}
    return {rule: reason for rule, reason in found.items() if reason}


def _reason(score_name: str, rival: Rival, bar: float, least: float) -> str:
    if rival.diverged:
        return f"diverged in epoch {rival.epochs_done}: the rate {rival.lr:g} is too high"
    if not rival.finished:
        return f"interrupted after epoch {rival.epochs_done} of {rival.epochs}"
    if not rival.last.score < bar:
        return ""
    below = f"{score_name} {rival.last.score:.3f} is below {bar:.3f}"
    losses = [lap.train_loss for lap in rival.laps]
    loss, lowest = losses[-1], min(losses)
    if loss > lowest + 0.1 * abs(lowest):
        return (
            f"{below}; the loss has risen from {lowest:.3g} in epoch {losses.index(lowest)}: "
            f"the rate {rival.lr:g} is too high"
        )
    if losses[-2] - loss > 0.01 * abs(loss):
        return (
            f"{below}; the loss was still falling in the last epoch, from {losses[-2]:.3g} to "
            f"{loss:.3g}: more epochs or a higher rate are needed"
        )
    if loss > least + 0.1 * abs(least):
        return (
            f"{below}; the loss has come to rest at {loss:.3g}, the best rule's at {least:.3g}: "
            "another rate is needed"
        )
    return f"{below}, though the training loss is among the lowest: it has overfitted"

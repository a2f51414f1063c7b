"""A sentence for each rule that fell short: the likely cause, judged by its losses."""

from __future__ import annotations

import math

from fastopt.cli.race.problem import Problem
from fastopt.cli.race.run import Run

_NEAR = 0.1  # if no score is expected, a score this close to the best needs no reason


def reasons(problem: Problem, runs: list[Run]) -> dict[str, str]:
    """Return the reasons by rule, for the rules that fell short."""
    least = min((run.last.train_loss for run in runs if run.succeeded), default=math.nan)
    best = max((run.last.score for run in runs if run.succeeded), default=math.nan)
    needed = best - _NEAR if problem.expected_score is None else problem.expected_score
    found = {run.rule: _reason(run, needed, least) for run in runs}
    return {rule: reason for rule, reason in found.items() if reason}


def _reason(run: Run, needed: float, least: float) -> str:
    """Return why a score is below `needed`, or ""; `least` is the least loss of all rules."""
    has_rate = math.isfinite(run.lr)
    too_high = f"the rate {run.lr:g} is too high" if has_rate else "its steps are too large"
    if run.diverged:
        return f"diverged in epoch {run.epochs_done}: {too_high}"
    if run.out_of_patience:
        return (
            f"stopped after epoch {run.epochs_done} of {run.epochs}, since {run.patience:g} "
            "seconds had passed; if it is named in --rules it trains to the end"
        )
    if not run.finished:
        return f"interrupted after epoch {run.epochs_done} of {run.epochs}"
    if not run.last.score < needed:
        return ""
    below = f"{run.problem.score_name} {run.last.score:.3g} is below {needed:.3g}"
    losses = [evaluation.train_loss for evaluation in run.evaluations]
    start, before, loss, lowest = losses[0], losses[-2], losses[-1], min(losses)
    gap = loss - least
    if loss - lowest > 0.05 * (start - lowest):
        return (
            f"{below}; its loss rose from {lowest:.3g} in epoch {losses.index(lowest)} to "
            f"{loss:.3g}: {too_high}"
        )
    still_falls = before - loss > 0.05 * (start - loss)
    if gap < 0.02 * (start - least) and not still_falls:
        return f"{below}, though its training loss is near the lowest: it has overfitted"
    if still_falls or before - loss > 0.005 * gap:
        return (
            f"{below}; its loss still fell in the last epoch, {_from_to(before, loss)}: "
            f"it needs more epochs{' or a higher rate' if has_rate else ''}"
        )
    return f"{below}; its loss stayed at {loss:.3g}; that of the best rule is {least:.3g}"


def _from_to(before: float, after: float) -> str:
    """Return two losses with so many digits, at least 4, that they differ."""
    for digits in range(4, 18):
        shown = f"{before:.{digits}g}", f"{after:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return f"from {shown[0]} to {shown[1]}"

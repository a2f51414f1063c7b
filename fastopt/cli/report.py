"""How the race ended, for people: what was raced, a table, and what it means."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from fastopt.cli.problem import Problem
from fastopt.cli.reasons import reasons
from fastopt.cli.rivals import FILTERS, Rival


def print_report(
    console: Console, problem: Problem, rivals: list[Rival], batch_size: int, seed: int
) -> None:
    """Print it all; `rivals` in the order of their ranks."""
    lines = [*_introduction(problem, rivals, batch_size, seed), ""]
    console.print("\n".join(lines), highlight=False, markup=False, end="")
    console.print(_table(problem, rivals))
    lines = _explanation(problem, rivals)
    lines += [f"{rule}: {reason}." for rule, reason in reasons(problem, rivals).items()]
    console.print("\n".join(lines), highlight=False, markup=False)


def _introduction(problem: Problem, rivals: list[Rival], batch_size: int, seed: int) -> list[str]:
    n_train, n_held_out = len(problem.train[0]), len(problem.held_out[0])
    target = f"{len(problem.classes)} classes" if problem.classes else "a numeric target"
    raced = {rival.rule for rival in rivals}
    others = ["gd: all rows at once"] * ("gd" in raced)
    others += ["ksgd: one"] * (not raced.isdisjoint(FILTERS))
    exceptions = f" ({', '.join(others)})" if others else ""
    return [
        f"{problem.name}: {problem.model.sizes[0]} features, {target}; {n_train:,} training rows, "
        f"{n_held_out:,} held out",
        f"{problem.description}, {problem.model.n_params:,} parameters, float32",
        f"{rivals[0].epochs} epochs in batches of {batch_size}{exceptions}, seed {seed}",
    ]


def _table(problem: Problem, rivals: list[Rival]) -> Table:
    table = Table()
    for head in ("", "rule", "rate", "train loss", problem.score_name, "seconds", "samples/s"):
        table.add_column(head, justify="left" if head == "rule" else "right")
    for place, rival in enumerate(rivals, 1):
        speed = rival.samples_per_second
        table.add_row(
            str(place) if rival.arrived else "-",
            rival.rule,
            f"{rival.lr:g}" if math.isfinite(rival.lr) else "-",
            "diverged" if rival.diverged else f"{rival.last.train_loss:.4g}",
            _score(problem, rival.last.score),
            f"{rival.last.seconds:.3f}",
            f"{speed:,.0f}" if math.isfinite(speed) else "-",
            style="bold" if place == 1 and rival.arrived else "",
        )
    return table


def _score(problem: Problem, score: float) -> str:
    if not math.isfinite(score):
        return "-"
    if problem.classes:
        return f"{100 * score:.1f} %"
    return f"{score:.3f}" if abs(score) < 100 else f"{score:.1e}"


def _explanation(problem: Problem, rivals: list[Rival]) -> list[str]:
    lines = [
        f"Lowest training loss first; {problem.score_name} on the rows held out; seconds of "
        "training, without evaluation. Every rule starts from the same parameters, meets the "
        "rows in the same order, and meets each equally often."
    ]
    best = max((r.last.score for r in rivals if r.arrived), default=math.nan)
    if problem.classes and 0.0 < best < 1.0:
        error = 100 * math.sqrt(best * (1.0 - best) / len(problem.held_out[0]))
        lines.append(f"An accuracy of {100 * best:.1f} % has a standard error of {error:.1f} %.")
    if problem.target_scale:
        lines.append(f"The target was {problem.target_scale}; the loss is in that unit.")
    if problem.constant_columns:
        some = len(problem.constant_columns)
        lines.append(f"{some} column{'s are' if some > 1 else ' is'} constant: without effect.")
    return lines

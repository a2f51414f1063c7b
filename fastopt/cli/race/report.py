"""The printed result of the race: an introduction, a table and an explanation."""

from __future__ import annotations

import math

from rich.console import Console

from fastopt.cli.race.problem import Problem
from fastopt.cli.race.reasons import reasons
from fastopt.cli.race.rules import FILTERS, WHOLE_BATCH
from fastopt.cli.race.run import Run
from fastopt.cli.text import Column, counted, milliseconds, print_columns


def print_report(
    console: Console, problem: Problem, runs: list[Run], batch_size: int, seed: int
) -> None:
    """Print the result; `runs` are in the order of their ranks."""
    lines = [*_introduction(problem, runs, batch_size, seed), ""]
    console.print("\n".join(lines), highlight=False, markup=False, end="")
    columns = _columns(problem, runs)
    print_columns(console, columns, n_keys=2, bold_first=runs[0].succeeded, pad_edge=False)
    lines = _explanation(problem, runs)
    lines += [f"{rule}: {reason}." for rule, reason in reasons(problem, runs).items()]
    console.print("\n".join(lines), highlight=False, markup=False)


def _introduction(problem: Problem, runs: list[Run], batch_size: int, seed: int) -> list[str]:
    n_train, n_held_out = len(problem.train[0]), len(problem.held_out[0])
    target = f"{len(problem.classes)} classes" if problem.classes else "a numeric target"
    rules = {run.rule for run in runs}
    whole = [rule for rule in WHOLE_BATCH if rule in rules]
    others = [f"{', '.join(whole)}: all rows at once"] * bool(whole)
    others += ["ksgd: one"] * (not rules.isdisjoint(FILTERS))
    exceptions = f" ({'; '.join(others)})" if others else ""
    return [
        f"{problem.name}: {counted(problem.model.sizes[0], 'feature')}, {target}; "
        f"{counted(n_train, 'training row')}, {n_held_out:,} held out",
        f"{problem.description}, {counted(problem.model.n_params, 'parameter')}, float32",
        f"{counted(runs[0].epochs, 'epoch')} in batches of {batch_size}{exceptions}, seed {seed}",
    ]


def _columns(problem: Problem, runs: list[Run]) -> list[Column]:
    ranks = [str(rank) if run.succeeded else "-" for rank, run in enumerate(runs, 1)]
    losses = ["diverged" if run.diverged else f"{run.last.train_loss:.4g}" for run in runs]
    columns = [
        Column("", ranks),
        Column("rule", [run.rule for run in runs], "left"),
        Column("rate", [f"{run.lr:g}" if math.isfinite(run.lr) else "-" for run in runs]),
        Column("train\nloss", losses),
        Column(problem.score_name.replace(" ", "\n"), [_score(problem, run) for run in runs]),
    ]
    if any(map(_is_timed, runs)):
        columns.append(Column("ms per epoch\n(quartiles)", list(map(_epoch_time, runs))))
    return columns


def _is_timed(run: Run) -> bool:
    """Return whether there are two epochs or more, so that the time of an epoch has a spread."""
    return run.epochs_done >= 2


def _epoch_time(run: Run) -> str:
    return milliseconds(run.epoch_quartiles) if _is_timed(run) else "-"


def _score(problem: Problem, run: Run) -> str:
    score = run.last.score
    if not math.isfinite(score):
        return "-"
    if problem.classes:
        return f"{100 * score:.1f} %"
    return f"{score:.3f}" if abs(score) < 100 else f"{score:.1e}"


def _explanation(problem: Problem, runs: list[Run]) -> list[str]:
    stopped = [run.rule for run in runs if run.out_of_patience]
    lines = [
        f"The lowest training loss is first; {problem.score_name} is that on the held-out rows. "
        "Every rule starts from the same parameters and uses the rows in the same order, each "
        f"equally often{f' except {stopped[0]}' if stopped else ''}."
    ]
    averaged = [run.rule for run in runs if run.at_averages]
    if averaged:
        lines.append(f"Evaluated at the averages of their parameters: {', '.join(averaged)}.")
    if any(map(_is_timed, runs)):
        lines.append("The time of an epoch is the median and quartiles, without evaluation.")
    best = max((run.last.score for run in runs if run.succeeded), default=math.nan)
    if problem.classes and 0.0 < best < 1.0:
        error = 100 * math.sqrt(best * (1.0 - best) / len(problem.held_out[0]))
        lines.append(f"An accuracy of {100 * best:.1f} % has a standard error of {error:.1f} %.")
    if problem.target_scale:
        lines.append(f"The target was {problem.target_scale}; the loss is in that unit.")
    if problem.constant_columns:
        n = len(problem.constant_columns)
        verbs = ("column is", "has") if n == 1 else ("columns are", "have")
        lines.append(f"{n} {verbs[0]} constant and {verbs[1]} no effect.")
    return [*lines, *problem.notes]

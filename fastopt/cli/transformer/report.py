"""The printed result of `fastopt race --torch`: an introduction, a table and an explanation."""

from __future__ import annotations

from rich.console import Console

from fastopt.cli.machine import cpu, instruction_set
from fastopt.cli.text import Column, counted, milliseconds, print_columns
from fastopt.cli.transformer.trainings import REFERENCE, Training, quartiles


def print_report(console: Console, title: list[str], runs: list[Training]) -> None:
    """Print the result."""
    lines = [*title, f"{cpu()}, instruction set {instruction_set()}", ""]
    console.print("\n".join(lines), highlight=False, markup=False, end="")
    print_columns(console, _columns(runs), n_keys=1)
    console.print(_explanation(runs), highlight=False, markup=False)


def _columns(runs: list[Training]) -> list[Column]:
    reference = next(run for run in runs if run.name == REFERENCE)
    differences = ["-" if run is reference else f"{run.difference(reference):.2g}" for run in runs]
    return [
        Column("AdamW of", [run.name for run in runs], "left"),
        Column("last\nloss", [f"{run.losses[-1]:.4f}" for run in runs]),
        Column("largest\ndifference", differences),
        Column("ms per step\n(quartiles)", [milliseconds(quartiles(run.seconds)) for run in runs]),
        Column(
            "ms of update\n(quartiles)",
            [milliseconds(quartiles(run.update_seconds)) for run in runs],
        ),
    ]


def _explanation(runs: list[Training]) -> str:
    shares = ", ".join(
        f"{100 * quartiles(run.update_seconds)[1] / quartiles(run.seconds)[1]:.2g} % ({run.name})"
        for run in runs
    )
    return (
        "Every optimizer starts from the same parameters and takes "
        f"{counted(len(runs[0].losses), 'step')} on the same batches. The optimizers take turns. "
        f"Largest difference: the largest absolute difference from the loss of {REFERENCE}, over "
        "all steps. A step computes the loss and the gradients and calls step(). The update is "
        f"the call of step() alone, which takes this share of a step: {shares}."
    )

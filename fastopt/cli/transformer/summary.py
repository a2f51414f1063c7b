"""The result of `fastopt race --torch` in JSON."""

from __future__ import annotations

import platform
from typing import Any

import torch

import fastopt
from fastopt import _core
from fastopt.cli.json_values import finite_or_none
from fastopt.cli.transformer.trainings import REFERENCE, Training, quartiles


def summary(
    settings: dict[str, Any], runs: list[Training], interrupted: bool, picture: str
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    reference = next(run for run in runs if run.name == REFERENCE)
    return {
        "settings": settings,
        "reference": REFERENCE,
        "optimizers": [
            {
                "optimizer": run.name,
                "steps": len(run.losses),
                "losses": list(map(finite_or_none, run.losses)),
                "largest_difference": finite_or_none(run.difference(reference)),
                "step_seconds_quartiles": quartiles(run.seconds),
                "update_seconds_quartiles": quartiles(run.update_seconds),
            }
            for run in runs
        ],
        "interrupted": interrupted,
        "picture": picture,
        "versions": {
            "fastopt": fastopt.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "instruction_set": _core.isa(),
        },
    }

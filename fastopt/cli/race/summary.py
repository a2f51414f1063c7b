"""The result of the race in JSON."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

import fastopt
from fastopt import _core
from fastopt._checks import default_threads
from fastopt.cli.json_values import finite_or_none
from fastopt.cli.race.problem import Problem
from fastopt.cli.race.reasons import reasons
from fastopt.cli.race.run import Run


def summary(
    problem: Problem,
    runs: list[Run],
    left_out: list[str],
    settings: dict[str, Any],
    interrupted: bool,
    picture: str,
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    why = reasons(problem, runs)
    return {
        "data": {
            "name": problem.name,
            "features": problem.model.sizes[0],
            "train_rows": len(problem.train[0]),
            "held_out_rows": len(problem.held_out[0]),
            "classes": problem.classes,
            "target_scale": problem.target_scale,
            "constant_columns": problem.constant_columns,
            "notes": list(problem.notes),
        },
        "model": {
            "kind": problem.kind,
            "sizes": list(problem.model.sizes),
            "loss": problem.model.loss,
            "parameters": problem.model.n_params,
            "dtype": "float32",
        },
        "settings": settings,
        "score": problem.score_name,
        "rules": [
            {
                "rule": run.rule,
                "learning_rate": finite_or_none(run.lr),
                "batch_size": run.batch_size,
                "epochs": run.epochs_done,
                "train_loss": finite_or_none(run.last.train_loss),
                "held_out_score": finite_or_none(run.last.score),
                "seconds": run.last.seconds,
                "epoch_seconds_quartiles": list(map(finite_or_none, run.epoch_quartiles)),
                "samples_per_second": finite_or_none(run.samples_per_second),
                "out_of_patience": run.out_of_patience,
                "diverged": run.diverged,
                "note": why.get(run.rule, ""),
                "history": {
                    "train_loss": [
                        finite_or_none(evaluation.train_loss) for evaluation in run.evaluations
                    ],
                    "held_out_score": [
                        finite_or_none(evaluation.score) for evaluation in run.evaluations
                    ],
                    "seconds": [evaluation.seconds for evaluation in run.evaluations],
                },
            }
            for run in runs
        ],
        "left_out": left_out,
        "interrupted": interrupted,
        "picture": picture,
        "versions": {
            "fastopt": fastopt.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "instruction_set": _core.isa(),
            "threads": default_threads() or _core.max_threads(),
        },
    }

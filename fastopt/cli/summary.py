"""How the race ended, for programs: one object that JSON can hold."""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np

import fastopt
from fastopt import _core
from fastopt._checks import default_threads
from fastopt.cli.problem import Problem
from fastopt.cli.reasons import reasons
from fastopt.cli.rivals import Rival


def summary(
    problem: Problem,
    rivals: list[Rival],
    left_out: list[str],
    settings: dict[str, Any],
    interrupted: bool,
    picture: str,
) -> dict[str, Any]:
    """Return it all; NaN and infinity, which JSON lacks, are None."""
    why = reasons(problem, rivals)
    return {
        "data": {
            "name": problem.name,
            "features": problem.model.sizes[0],
            "train_rows": len(problem.train[0]),
            "held_out_rows": len(problem.held_out[0]),
            "classes": problem.classes,
            "target_scale": problem.target_scale,
            "constant_columns": problem.constant_columns,
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
                "rule": rival.rule,
                "learning_rate": _finite(rival.lr),
                "batch_size": rival.batch_size,
                "epochs": rival.epochs_done,
                "train_loss": _finite(rival.last.train_loss),
                "held_out_score": _finite(rival.last.score),
                "seconds": rival.last.seconds,
                "samples_per_second": _finite(rival.samples_per_second),
                "diverged": rival.diverged,
                "note": why.get(rival.rule, ""),
                "history": {
                    "train_loss": [_finite(lap.train_loss) for lap in rival.laps],
                    "held_out_score": [_finite(lap.score) for lap in rival.laps],
                    "seconds": [lap.seconds for lap in rival.laps],
                },
            }
            for rival in rivals
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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

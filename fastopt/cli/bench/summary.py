"""The result of `fastopt bench` in JSON."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

import fastopt
from fastopt.cli.bench.result import Result
from fastopt.cli.machine import cpu


def summary(
    results: list[Result], settings: dict[str, Any], interrupted: bool, picture: str
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "settings": settings,
        "results": [
            {
                "rule": result.rule,
                "threads": result.threads,
                "bytes": result.n_bytes,
                "seconds": result.seconds,
                "gigabytes_per_second": result.rate,
                "limit_seconds": result.limit_seconds,
                "limit_gigabytes_per_second": result.limit_rate,
                "share": result.shares[1],
                "share_quartiles": [result.shares[0], result.shares[2]],
                "rounds": [{"limit": loop, "step": step} for loop, step in result.rounds],
            }
            for result in results
        ],
        "interrupted": interrupted,
        "picture": picture,
        "machine": {"cpu": cpu(), "system": f"{platform.system()} {platform.machine()}"},
        "versions": {
            "fastopt": fastopt.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "instruction_set": fastopt._core.isa(),
        },
    }

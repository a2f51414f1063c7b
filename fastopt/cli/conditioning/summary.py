"""The result of `fastopt race --conditioning` in JSON."""

from __future__ import annotations

from typing import Any

from fastopt.cli.conditioning.measure import Results
from fastopt.cli.json_values import finite_or_none


def summary(
    results: Results, n_rows: int, n_features: int, seed: int, interrupted: bool, picture: str
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "rows": n_rows,
        "features": n_features,
        "seed": seed,
        "results": [
            {
                "condition": condition,
                "rules": [
                    {
                        "rule": o.rule,
                        "excess_loss": finite_or_none(o.excess),
                        "excess_loss_on_rows": finite_or_none(o.excess_on_rows),
                        "failure": o.failure,
                        "learning_rate": o.lr,
                        "best_is_inside": o.inside,
                        "learning_rates": list(o.rates),
                        "excess_losses": [finite_or_none(excess) for excess in o.excesses],
                    }
                    for o in outcomes
                ],
            }
            for condition, outcomes in results.items()
        ],
        "interrupted": interrupted,
        "picture": picture,
    }

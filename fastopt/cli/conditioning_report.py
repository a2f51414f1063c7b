"""What one pass came to at each condition number: a table, a picture, an object for JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from fastopt.cli.conditioning import FILTERS, RULES, Outcome
from fastopt.cli.picture import SIGNATURE, STYLES

Results = dict[float, list[Outcome]]  # by condition number


def print_report(console: Console, results: Results, n_rows: int, n_features: int) -> None:
    """Print it all, for people."""
    table = Table(box=None, padding=(0, 0, 0, 1))
    on_rows = [f"{rule}\n(rows)" for rule in FILTERS]
    for head in ("cond.", *FILTERS, *RULES, *on_rows):
        table.add_column(head, justify="right", no_wrap=True)
    for condition, outcomes in results.items():
        table.add_row(
            f"{condition:.0e}",
            *[f"{o.excess:.2g}{'' if o.inside else '*'}" for o in outcomes],
            *[f"{o.excess_on_rows:.1e}" for o in outcomes if o.rule in FILTERS],
        )
    title = f"Excess loss after one pass over {n_rows:,} rows of {n_features} features"
    console.print(f"{title}\n", highlight=False)
    console.print(table)
    console.print("\n" + "\n".join(_explanation(results, n_rows, n_features)), highlight=False)


def _explanation(results: Results, n_rows: int, n_features: int) -> list[str]:
    fewest = min(len(o.rates) for outcomes in results.values() for o in outcomes if o.rates)
    lines = [
        "Least squares, noise of variance 1, every principal component as important as any other. "
        "The loss is half the squared error; the excess is that expected on new rows over the "
        f"least possible, which sampling alone makes {n_features / (2 * n_rows):.2g} on average, "
        "features / (2 rows), for least squares; (rows) is that on these very rows.",
        "ksgd is KalmanSGD(p): its default m0=100 keeps it 1e-11 from the least on these rows, "
        "and rounding at the highest condition numbers. ksgd qr has mode='qr', and no m0. The "
        f"others take a step a row, at the best of {fewest} or more constant learning rates, "
        "chosen by the excess itself.",
    ]
    if any(not o.inside for outcomes in results.values() for o in outcomes):
        lines.append("*: the best rate is at the grid's edge; a better one may lie beyond.")
    return lines


def draw(path: Path, results: Results, n_rows: int, n_features: int) -> None:
    """Write the picture: the excess on new rows, and on those that were passed over."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        on_new, on_rows = figure.subplots(1, 2)
        for rule in (*RULES, *FILTERS):
            colour, dashes = STYLES[rule]
            style = {"color": colour, "linestyle": dashes, "linewidth": 1.8, "marker": "."}
            found = [o for outcomes in results.values() for o in outcomes if o.rule == rule]
            on_new.loglog(list(results), [o.excess for o in found], label=rule, **style)
            on_rows.loglog(list(results), [o.excess_on_rows for o in found], **style)
        on_new.axhline(
            n_features / (2 * n_rows),
            color="#888888",
            linestyle=":",
            label="features / (2 rows)",
        )
        on_new.set_ylabel("excess of the expected loss on new rows")
        on_rows.set_ylabel("excess of the loss on these rows")
        for axes in (on_new, on_rows):
            axes.set_xlabel("condition number")
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(
            f"Least squares, one pass over {n_rows:,} rows of {n_features} features\n"
            "ksgd: KalmanSGD with its default m0=100; ksgd qr: mode='qr', no m0; the others: each "
            "at its best constant learning rate",
            fontsize="medium",
            parse_math=False,
        )
        figure.legend(loc="outside right center", frameon=False, handlelength=3.2)
        figure.savefig(path, metadata={"Software": SIGNATURE})


def summary(
    results: Results, n_rows: int, n_features: int, seed: int, picture: str
) -> dict[str, Any]:
    """Return it all, for programs; infinity, which JSON lacks, is None."""
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
                        "excess_loss": _finite(o.excess),
                        "excess_loss_on_rows": _finite(o.excess_on_rows),
                        "learning_rate": o.lr,
                        "best_is_inside": o.inside,
                        "learning_rates": list(o.rates),
                        "excess_losses": [_finite(excess) for excess in o.excesses],
                    }
                    for o in outcomes
                ],
            }
            for condition, outcomes in results.items()
        ],
        "picture": picture,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

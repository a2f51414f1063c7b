"""The printed result of `fastopt race --conditioning`: a table and an explanation."""

from __future__ import annotations

from rich.console import Console

from fastopt.cli.conditioning.measure import FILTERS, RULES, Outcome, Results
from fastopt.cli.text import Column, print_columns


def print_report(console: Console, results: Results, n_rows: int, n_features: int) -> None:
    """Print the result."""
    columns = [Column("cond.", [f"{condition:.0e}" for condition in results])]
    for i, rule in enumerate((*FILTERS, *RULES)):
        found = [outcomes[i] for outcomes in results.values()]
        cells = [
            (o.failure and "failed") or f"{o.excess:.2g}{'' if o.inside else '*'}" for o in found
        ]
        columns.append(Column(rule, cells))
    for i, rule in enumerate(FILTERS):
        found = [outcomes[i] for outcomes in results.values()]
        cells = [_shown(o, f"{o.excess_on_rows:.1e}") for o in found]
        columns.append(Column(f"{rule}\n(rows)", cells))
    title = f"Excess loss after one pass over {n_rows:,} rows of {n_features} features"
    console.print(f"{title}\n", highlight=False)
    print_columns(console, columns, n_keys=1, box=None, padding=(0, 0, 0, 1))
    console.print("\n" + "\n".join(_explanation(results, n_rows, n_features)), highlight=False)


def _shown(outcome: Outcome, loss: str) -> str:
    if outcome.failure:
        return "failed"
    return loss if outcome.inside else f"{loss}*"


def _explanation(results: Results, n_rows: int, n_features: int) -> list[str]:
    fewest = min(len(o.rates) for outcomes in results.values() for o in outcomes if o.rates)
    lines = [
        "Least squares with noise of variance 1; all principal components explain about the same "
        "variance. The loss is half the squared error. The excess is the expected loss on new rows "
        "minus the least possible loss; for exact least squares it is on average features / "
        f"(2 rows) = {n_features / (2 * n_rows):.2g}. (rows) is the excess on the fitted rows.",
        "ksgd is KalmanSGD(p), and ksgd qr is KalmanSGD(p, mode='qr'). Both are least squares up "
        "to rounding, which mode 'qr' keeps smaller. The other rules take one step per row at the "
        f"best of {fewest} or more constant learning rates, the one with the least excess.",
    ]
    if any(not o.inside for outcomes in results.values() for o in outcomes):
        lines.append("*: the best rate is at the edge of the grid; a better one may be outside.")
    failures = [
        (condition, o) for condition, outcomes in results.items() for o in outcomes if o.failure
    ]
    for condition, o in failures:
        lines.append(f"{o.rule} failed at {condition:.0e}: {o.failure}.")
    return lines

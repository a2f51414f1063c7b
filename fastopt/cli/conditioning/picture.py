"""The picture of `fastopt race --conditioning`: excess loss against condition number."""

from __future__ import annotations

from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from fastopt.cli.conditioning.measure import FILTERS, RULES, Results
from fastopt.cli.picture import STYLES

NAME, SIGNATURE = "conditioning.png", "fastopt race"


def draw(path: Path, results: Results, n_rows: int, n_features: int) -> None:
    """Write the picture: the excess loss on new rows, and on the fitted rows."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        on_new, on_rows = figure.subplots(1, 2)
        for rule in (*RULES, *FILTERS):
            colour, dashes = STYLES[rule]
            style = {"color": colour, "linestyle": dashes, "linewidth": 1.8, "marker": "."}
            found = [o for outcomes in results.values() for o in outcomes if o.rule == rule]
            on_new.loglog(list(results), [o.excess for o in found], label=rule, **style)
            on_rows.loglog(list(results), [o.excess_on_rows for o in found], **style)
            failed = [c for c, o in zip(results, found, strict=True) if o.failure]
            for axes in (on_new, on_rows) if failed else ():
                # At the top of the axes, whatever their range.
                axes.plot(
                    failed,
                    [1.0] * len(failed),
                    "x",
                    color=colour,
                    markersize=9,
                    clip_on=False,
                    transform=axes.get_xaxis_transform(),
                    label=f"{rule} failed",
                )
        on_new.axhline(
            n_features / (2 * n_rows),
            color="#888888",
            linestyle=":",
            label="features / (2 rows)",
        )
        on_new.set_ylabel("excess of the expected loss on new rows")
        on_rows.set_ylabel("excess of the loss on the fitted rows")
        for axes in (on_new, on_rows):
            axes.set_xlabel("condition number")
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(
            f"Least squares, one pass over {n_rows:,} rows of {n_features} features\n"
            "ksgd: KalmanSGD; ksgd qr: mode='qr'; other rules: each at its best constant learning "
            "rate",
            fontsize="medium",
            parse_math=False,
        )
        figure.legend(loc="outside right center", frameon=False, handlelength=3.2)
        figure.savefig(path, metadata={"Software": SIGNATURE})

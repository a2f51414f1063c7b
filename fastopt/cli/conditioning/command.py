"""The steps of `fastopt race --conditioning`: measure, print and draw."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastopt.cli.conditioning.measure import Results

_DECADES = 12  # condition numbers are 1, 10, ..., 10**_DECADES
_SHAPE = 5000, 20  # rows and features


def run(args: argparse.Namespace) -> int:
    """Fit rows of each condition number in one pass, and show the result.

    The modules that need the extra `race` are imported first, so that a missing one is reported
    before the measurement.
    """
    from fastopt.cli.conditioning import report  # noqa: F401
    from fastopt.cli.conditioning.measure import outcomes
    from fastopt.cli.conditioning.picture import NAME, SIGNATURE
    from fastopt.cli.conditioning.sample import draw_sample
    from fastopt.cli.picture import claim

    path = claim(args.out, NAME, SIGNATURE)
    results: Results = {}
    interrupted = False
    try:
        for decade in range(_DECADES + 1):
            sample = draw_sample(10.0**decade, *_SHAPE, args.seed)
            results[sample.condition] = list(outcomes(sample))
    except KeyboardInterrupt:
        interrupted = True
        missing = f"from {10.0 ** len(results):.0e} to {10.0**_DECADES:.0e}"
        print(f"Interrupted; condition numbers {missing} are missing", file=sys.stderr)
    if results:
        _show(args, path, results, interrupted)
    return 130 if interrupted else 0


def _show(args: argparse.Namespace, path: Path, results: Results, interrupted: bool) -> None:
    """Print the results as a table or as JSON, and draw them."""
    from rich.console import Console

    from fastopt.cli.conditioning.picture import draw
    from fastopt.cli.conditioning.report import print_report
    from fastopt.cli.conditioning.summary import summary

    # Printed before the picture is written, which may fail.
    if args.json:
        result = summary(results, *_SHAPE, args.seed, interrupted, str(path))
        print(json.dumps(result, allow_nan=False))
    else:
        print_report(Console(), results, *_SHAPE)
    draw(path, results, *_SHAPE)
    if not args.json:
        print(f"Picture: {path}")

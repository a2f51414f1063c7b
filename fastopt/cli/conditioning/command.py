"""The work of `fastopt race --conditioning`."""

from __future__ import annotations

import argparse
import json

_DECADES = 12  # condition numbers are 1, 10, ..., 10**_DECADES
_SHAPE = 5000, 20  # rows and features


def run(args: argparse.Namespace) -> int:
    """Fit rows of each condition number in one pass, and show the result."""
    from rich.console import Console

    from fastopt.cli.conditioning.measure import outcomes
    from fastopt.cli.conditioning.picture import NAME, SIGNATURE, draw
    from fastopt.cli.conditioning.report import print_report
    from fastopt.cli.conditioning.sample import draw_sample
    from fastopt.cli.conditioning.summary import summary
    from fastopt.cli.picture import claim

    path = claim(args.out, NAME, SIGNATURE)
    results = {}
    for decade in range(_DECADES + 1):
        sample = draw_sample(10.0**decade, *_SHAPE, args.seed)
        results[sample.condition] = list(outcomes(sample))
    # Printed before the picture is written, which may fail.
    if args.json:
        print(json.dumps(summary(results, *_SHAPE, args.seed, str(path)), allow_nan=False))
    else:
        print_report(Console(), results, *_SHAPE)
    draw(path, results, *_SHAPE)
    if not args.json:
        print(f"Picture: {path}")
    return 0

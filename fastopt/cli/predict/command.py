"""The arguments of `fastopt predict`, and the order in which the command does its work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastopt._errors import FastoptError
from fastopt.cli.arguments import fraction

_DESCRIPTION = """\
Apply a model that fastopt fit has written to the rows of a file, in the formats
of fastopt fit. The result is a line for each row, in their order: the predicted
mean; or the most probable class and the probability of each.

Columns are found by their names; others are ignored. Missing values are
replaced as in the fit with --impute, and are an error without it. Loading a
model file runs no code of it.
"""
_EXAMPLES = """\
examples:
  fastopt predict model.json new.csv --out predictions.csv
  fastopt predict model.json new.parquet --interval 0.95 --out predictions.csv
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "predict",
        help="apply a model of fastopt fit to a data file",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="model.json of fastopt fit")
    add("data", type=Path, metavar="DATA", help="a file")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="a csv file, replaced if it exists; default: stdout",
    )
    add(
        "--interval",
        type=fraction,
        metavar="P",
        help="add the ends of a confidence interval of the mean with this coverage, such as 0.95",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; a failure leaves no file."""
    from fastopt.cli.fit.model_file import load_model
    from fastopt.cli.predict.predictions import lines_of
    from fastopt.cli.predict.rows import blocks_of

    for path in (args.model, args.data):
        if args.out is not None and args.out.exists() and path.exists() and args.out.samefile(path):
            raise FastoptError(f"--out is {args.out}, which is read; choose another")
    try:
        model = load_model(args.model)
        lines = lines_of(model, blocks_of(model, args.data), args.interval)
        if not model.estimator.converged_:
            print("fastopt predict: warning: the fit had not converged", file=sys.stderr)
        if args.out is None:
            return _print(lines)
        part = args.out.with_name(args.out.name + ".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.writelines(lines)
            os.replace(part, args.out)
        finally:
            part.unlink(missing_ok=True)
    except (TypeError, ValueError) as error:
        raise FastoptError(str(error).partition("\n")[0]) from error
    return 0


def _print(lines: Iterator[str]) -> int:
    """Print lines until the reader, such as `head`, has enough."""
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout at its end, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0

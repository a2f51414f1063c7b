"""The arguments of `fastopt race`, and the order in which the command does its work."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastopt._errors import FastoptError
from fastopt.cli.arguments import chosen, names, rate, whole

if TYPE_CHECKING:
    from fastopt.cli.race.problem import Problem
    from fastopt.cli.race.run import Run

_SETTINGS = ("epochs", "batch_size", "lr", "seed")  # reported in JSON
_OF_THE_DATA = ("target", "header", "drop", "encode", "features")
_OF_THE_RACE = ("data", *_OF_THE_DATA, "model", "rules", "epochs", "batch_size", "lr")
_OF_TORCH = ("steps", "width", "layers", "threads")
# The options of each comparison that replaces the race, besides --seed, --out and --json.
_APPLY = {"conditioning": (), "torch": (*_OF_TORCH, "batch_size", "lr")}
_DESCRIPTION = """\
Train one model with many update rules and show which is best: a table on
stdout, and the loss against epochs and against seconds in race.png.

DATA is .csv (the last column is the target; a header line is optional; comma,
semicolon or tab), .tsv (tab), .npz (arrays X and y) or svmlight (.svm,
.svmlight, .libsvm). Columns of text are dropped (--drop) or encoded (--encode).
Without DATA, the data are the handwritten digits of scikit-learn. A fifth of
the rows is held out; features are standardised on the others.

--conditioning shows instead how well KalmanSGD and five rules, each at its
best learning rate, fit generated rows in one pass, for condition numbers from
1 to 1e12: a table, and conditioning.png.

--torch trains instead a small transformer in PyTorch on the texts of Python's
help, with AdamW of torch.optim and of fastopt.torch: a table of losses and of
seconds per step, and transformer.png.
"""
_EXAMPLES = """\
examples:
  fastopt race
  fastopt race --rules all
  fastopt race wine.csv --target quality --model linear
  fastopt race people.csv --drop name,id --encode
  fastopt race digits.npz --rules sgd,momentum,adam --epochs 20 --json
  fastopt race --conditioning
  fastopt race --torch --steps 100 --threads 1
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "race",
        help="train a model with many update rules and show which is best",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="a file; default: handwritten digits")
    add(
        "--target",
        help="name or index of the target's column (csv, tsv) or name of its array (npz)",
    )
    add(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="the first line of a csv or tsv is a header, or data; default: decided by its cells",
    )
    add(
        "--drop",
        type=names,
        default=(),
        metavar="A,B,...",
        help="names or indices of columns (csv, tsv) that are left out",
    )
    add(
        "--encode",
        action="store_true",
        help="replace each column of text (csv, tsv) by a column of 0 and 1 for each of its texts",
    )
    add("--features", metavar="NAME", help="name of the array of features (npz); default: X")
    add(
        "--model",
        choices=("mlp", "linear", "logistic", "poisson"),
        default="mlp",
        metavar="MODEL",
        help="mlp (default): one hidden layer of 64; a target of text, or of at most 20 "
        "different whole numbers, is treated as classes. linear, logistic, poisson: "
        "generalized linear models",
    )
    add(
        "--rules",
        metavar="A,B,...",
        help="the rules to train with, or all; default: those that are used most. Unless they are "
        "named, ksgd and ksgd_full are trained for 10 seconds only",
    )
    add("--epochs", type=whole(1), default=25, metavar="N", help="passes over the rows (25)")
    add(
        "--batch-size",
        type=whole(1),
        default=32,
        metavar="N",
        help="rows per step (32; gd and rprop: all, ksgd: 1), or texts of 32 characters (--torch)",
    )
    add(
        "--lr",
        type=rate,
        metavar="RATE",
        help="learning rate of all rules except ksgd; default: one for each rule, 0.001 for AdamW "
        "(--torch)",
    )
    add(
        "--seed",
        type=whole(0),
        default=0,
        metavar="N",
        help="seed of the split, the initial parameters and the order of rows (0)",
    )
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder of the picture (.)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    add(
        "--conditioning",
        action="store_true",
        help="one pass at each condition number; only --seed, --out and --json apply",
    )
    add(
        "--torch",
        action="store_true",
        help="AdamW of torch.optim and of fastopt.torch on a transformer; only the options below, "
        "--batch-size, --lr, --seed, --out and --json apply",
    )
    add("--steps", type=whole(1), default=200, metavar="N", help="steps of --torch (200)")
    add(
        "--width",
        type=whole(1),
        default=128,
        metavar="N",
        help="width of the transformer's layers, a multiple of 4 (128)",
    )
    add("--layers", type=whole(1), default=4, metavar="N", help="layers of the transformer (4)")
    add(
        "--threads",
        type=whole(1),
        metavar="N",
        help="threads of --torch; default: what torch and fastopt.torch use by themselves",
    )
    names_of_options = (*_OF_THE_RACE, *_OF_TORCH, *_APPLY)
    parser.set_defaults(defaults={name: parser.get_default(name) for name in names_of_options})


def run(args: argparse.Namespace) -> int:
    """Run the race, or a comparison that replaces it."""
    if args.conditioning:
        _require_options("conditioning", args)
        from fastopt.cli.conditioning.command import run as run_conditioning

        return run_conditioning(args)
    if args.torch:
        _require_options("torch", args)
        from fastopt.cli.transformer.command import run as run_transformer

        return run_transformer(args)
    for name in _OF_TORCH:
        if getattr(args, name) != args.defaults[name]:
            raise FastoptError(f"--{name} needs --torch")
    return _race(args)


def _require_options(comparison: str, args: argparse.Namespace) -> None:
    """Raise an error if an option is given that does not apply to the comparison."""
    for name, default in args.defaults.items():
        if name in (comparison, *_APPLY[comparison]) or getattr(args, name) == default:
            continue
        option = "DATA" if name == "data" else "--" + name.replace("_", "-")
        if args.header is False and name == "header":
            option = "--no-header"
        raise FastoptError(f"{option} cannot be combined with --{comparison}")


def _race(args: argparse.Namespace) -> int:
    """Run the race.

    The modules that need the extra `race` are imported first, so that a missing one is reported
    before the training.
    """
    from fastopt.cli.picture import claim
    from fastopt.cli.race.data.load import load
    from fastopt.cli.race.data.options import DataOptions
    from fastopt.cli.race.display import Display
    from fastopt.cli.race.picture import NAME, SIGNATURE, draw
    from fastopt.cli.race.problem import pose
    from fastopt.cli.race.rules import DEFAULT_RULES, RULES, is_too_large
    from fastopt.cli.race.run import ranked
    from fastopt.cli.text import notice

    rules = DEFAULT_RULES if args.rules is None else chosen(args.rules, RULES)
    named = () if args.rules is None or rules == RULES else rules
    path = claim(args.out, NAME, SIGNATURE)
    options = DataOptions(**{name: getattr(args, name) for name in _OF_THE_DATA})
    notice(f"Reading {args.data or 'the handwritten digits'}")
    table = load(args.data, options)
    notice("Scaling {:,} rows of {:,} features".format(*table.X.shape))
    problem = pose(table, args.model, args.seed)
    left_out = {
        rule: "its covariance takes more than a gigabyte"
        for rule in rules
        if rule not in named and is_too_large(rule, problem)
    }
    runs = _runs(args, problem, tuple(rule for rule in rules if rule not in left_out), named)
    interrupted = False
    try:
        with Display(runs, problem.score_name) as display:
            for run in runs:
                for _ in run.train():
                    display.show(run)
    except KeyboardInterrupt:
        interrupted = True
    left_out |= {
        run.rule: f"an epoch takes more than {run.patience:g} seconds"
        for run in runs
        if run.out_of_patience and not run.epochs_done
    }
    started = ranked([run for run in runs if run.evaluations and run.rule not in left_out])
    if started:
        # Printed before the picture is written, which may fail.
        _print(args, problem, started, left_out, interrupted, str(path))
        draw(path, problem, started)
        if not args.json:
            print(f"Picture: {path}")
    if interrupted:
        absent = [run.rule for run in runs if not run.evaluations]
        print(f"Interrupted; rules not started: {', '.join(absent) or 'none'}", file=sys.stderr)
    return 130 if interrupted else 0


def _runs(
    args: argparse.Namespace, problem: Problem, rules: tuple[str, ...], named: tuple[str, ...]
) -> list[Run]:
    """Return a run for each rule, with the learning rate and batch size of the arguments.

    A filter that is not in `named` is stopped when its patience is over.
    """
    from fastopt.cli.race.rules import FILTERS, PATIENCE, batch_size, learning_rate
    from fastopt.cli.race.run import Run

    return [
        Run(
            rule,
            (rule not in FILTERS and args.lr) or learning_rate(rule, problem.curvature),
            batch_size(rule, args.batch_size),
            args.epochs,
            args.seed,
            problem,
            patience=PATIENCE if rule in FILTERS and rule not in named else math.inf,
        )
        for rule in rules
    ]


def _print(
    args: argparse.Namespace,
    problem: Problem,
    runs: list[Run],
    left_out: dict[str, str],
    interrupted: bool,
    picture: str,
) -> None:
    """Print the result as a table or as JSON."""
    from rich.console import Console

    from fastopt.cli.race.report import print_report
    from fastopt.cli.race.summary import summary

    if args.json:
        settings = {name: getattr(args, name) for name in _SETTINGS}
        result = summary(problem, runs, list(left_out), settings, interrupted, picture)
        print(json.dumps(result, allow_nan=False))
        return
    print_report(Console(), problem, runs, args.batch_size, args.seed)
    for rule, reason in left_out.items():
        print(f"{rule} was left out: {reason}. It is trained if it is named in --rules.")

"""`fastopt race`: train one model with every update rule, and show who wins."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fastopt._errors import FastoptError
from fastopt.cli.arguments import chosen, rate, whole

_SETTINGS = ("epochs", "batch_size", "lr", "seed")
_OF_DATA = ("data", "target", "model", "rules", "epochs", "batch_size", "lr")
_DECADES = 12  # of condition numbers, from 1
_SHAPE = 5000, 20  # rows and features that have them
_DESCRIPTION = """\
Train one model with every update rule, and show who wins: a table on
stdout, and the loss against epochs and against seconds in race.png.

DATA is .csv (the last column is the target; a header line is optional; comma,
semicolon or tab), .npz (arrays X and y) or svmlight (.svm, .svmlight, .libsvm).
Without DATA: the handwritten digits that scikit-learn ships. A fifth of the
rows is held out; features are standardised on the others.

--conditioning shows instead how far one pass over made-up rows gets KalmanSGD
and five rules, each at its best learning rate, while the condition number goes
from 1 to 1e12: a table, and conditioning.png.
"""
_EXAMPLES = """\
examples:
  fastopt race
  fastopt race wine.csv --target quality --model linear
  fastopt race digits.npz --rules sgd,momentum,adam --epochs 20 --json
  fastopt race --conditioning
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "race",
        help="train a model with every update rule and show who wins",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="a file; default: handwritten digits")
    add("--target", help="name or index of the target's column (csv) or name of its array (npz)")
    add(
        "--model",
        choices=("mlp", "linear", "logistic", "poisson"),
        default="mlp",
        metavar="MODEL",
        help="mlp (default; a hidden layer of 64, and classes where the target is text or has at "
        "most 20 values, all whole), or, linear in the features: linear, logistic, poisson",
    )
    add(
        "--rules",
        metavar="A,B,...",
        help="the rules that take part; default: all that take less than a minute",
    )
    add("--epochs", type=whole(1), default=25, metavar="N", help="passes over the rows (25)")
    add(
        "--batch-size",
        type=whole(1),
        default=32,
        metavar="N",
        help="rows a step (32; gd: all, ksgd: 1)",
    )
    add("--lr", type=rate, metavar="RATE", help="for all rules but ksgd; default: one for each")
    add("--seed", type=whole(0), default=0, metavar="N", help="of split, start and order (0)")
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder of the picture (.)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    add(
        "--conditioning",
        action="store_true",
        help="one pass at each condition number; takes --seed, --out and --json",
    )
    parser.set_defaults(of_data={name: parser.get_default(name) for name in _OF_DATA})


def run(args: argparse.Namespace) -> int:
    """Run what was asked for."""
    return _conditioning(args) if args.conditioning else _race(args)


def _race(args: argparse.Namespace) -> int:
    """Run the race; what needs the extra `race` is imported here, before anything takes time."""
    from rich.console import Console

    from fastopt.cli.data import load
    from fastopt.cli.display import Display
    from fastopt.cli.picture import claim, draw
    from fastopt.cli.problem import pose
    from fastopt.cli.report import print_report
    from fastopt.cli.rivals import (
        FILTERS,
        RULES,
        Rival,
        batch_size,
        learning_rate,
        ranked,
        takes_long,
    )
    from fastopt.cli.summary import summary

    rules = RULES if args.rules is None else chosen(args.rules, RULES)
    path = claim(args.out)
    problem = pose(load(args.data, args.target), args.model, args.seed)
    left_out = []
    if args.rules is None:
        left_out = [rule for rule in rules if takes_long(rule, problem, args.epochs)]
        rules = tuple(rule for rule in rules if rule not in left_out)
    rivals = [
        Rival(
            rule,
            (rule not in FILTERS and args.lr) or learning_rate(rule, problem.curvature),
            batch_size(rule, args.batch_size),
            args.epochs,
            args.seed,
            problem,
        )
        for rule in rules
    ]
    interrupted = False
    try:
        with Display(rivals, problem.score_name) as display:
            for rival in rivals:
                for _ in rival.train():
                    display.show(rival)
    except KeyboardInterrupt:
        interrupted = True
    raced = ranked([rival for rival in rivals if rival.laps])
    if raced:
        draw(path, problem, raced)
        if args.json:
            settings = {name: getattr(args, name) for name in _SETTINGS}
            result = summary(problem, raced, left_out, settings, interrupted, str(path))
            print(json.dumps(result, allow_nan=False))
        else:
            print_report(Console(), problem, raced, args.batch_size, args.seed)
            if left_out:
                print(f"Left out, as it would take more than a minute: {', '.join(left_out)}.")
            print(f"Picture: {path}")
    if interrupted:
        absent = [rival.rule for rival in rivals if not rival.laps]
        print(f"Interrupted; not raced: {', '.join(absent) or 'none'}", file=sys.stderr)
    return 130 if interrupted else 0


def _conditioning(args: argparse.Namespace) -> int:
    """Pass once over rows of each condition number."""
    from rich.console import Console

    from fastopt.cli.conditioning import draw_sample, outcomes
    from fastopt.cli.conditioning_report import draw, print_report, summary
    from fastopt.cli.picture import claim

    for name, default in args.of_data.items():
        if getattr(args, name) != default:
            option = "DATA" if name == "data" else "--" + name.replace("_", "-")
            raise FastoptError(f"{option} has no meaning with --conditioning")
    path = claim(args.out, "conditioning.png")
    results = {}
    for decade in range(_DECADES + 1):
        sample = draw_sample(10.0**decade, *_SHAPE, args.seed)
        results[sample.condition] = list(outcomes(sample))
    draw(path, results, *_SHAPE)
    if args.json:
        print(json.dumps(summary(results, *_SHAPE, args.seed, str(path)), allow_nan=False))
    else:
        print_report(Console(), results, *_SHAPE)
        print(f"Picture: {path}")
    return 0

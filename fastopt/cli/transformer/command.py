"""The command `fastopt race --torch`: train, print the result and draw it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastopt._errors import FastoptError
from fastopt.cli.text import counted

if TYPE_CHECKING:
    from fastopt.cli.transformer.trainings import Training

CONTEXT = 32  # the largest number of characters that a prediction depends on
_LR = 1e-3
_SETTINGS = ("steps", "batch_size", "width", "layers", "seed")


def run(args: argparse.Namespace) -> int:
    """Train a transformer with each optimizer, and show the result; return the exit code.

    Modules that need an optional dependency are imported first, so that a missing dependency is
    reported before the training.
    """
    import torch

    try:
        import fastopt.torch  # noqa: F401
    except ModuleNotFoundError:
        raise
    except ImportError as error:  # torch is too old
        raise FastoptError(str(error)) from None
    from fastopt.cli.picture import claim
    from fastopt.cli.race.display import shown
    from fastopt.cli.transformer.characters import help_topics
    from fastopt.cli.transformer.model import HEADS, Shape, n_params, transformer
    from fastopt.cli.transformer.picture import NAME, SIGNATURE
    from fastopt.cli.transformer.trainings import train, trainings

    if args.width % HEADS:
        raise FastoptError(f"--width is {args.width}; allowed: multiples of {HEADS}")
    path = claim(args.out, NAME, SIGNATURE)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    text = help_topics()
    model = transformer(Shape(len(text.distinct), CONTEXT, args.width, args.layers), args.seed)
    settings = {name: getattr(args, name) for name in _SETTINGS} | {
        "lr": args.lr or _LR,
        "context": CONTEXT,
        "parameters": n_params(model),
        "threads": torch.get_num_threads(),
    }
    runs = trainings(model, settings["lr"], args.threads)
    interrupted = False
    try:
        batches = text.batches(args.steps, args.batch_size, CONTEXT, args.seed)
        for _ in shown(train(runs, batches), args.steps):
            pass
    except KeyboardInterrupt:
        interrupted = True
        print(f"Interrupted after {counted(len(runs[0].losses), 'step')}", file=sys.stderr)
    if runs[0].losses:
        _show(args, path, settings, runs, interrupted)
    return 130 if interrupted else 0


def _show(
    args: argparse.Namespace,
    path: Path,
    settings: dict[str, Any],
    runs: list[Training],
    interrupted: bool,
) -> None:
    """Print the result as a table or as JSON, and draw it."""
    from rich.console import Console

    from fastopt.cli.transformer.picture import draw
    from fastopt.cli.transformer.report import print_report
    from fastopt.cli.transformer.summary import summary

    title = [
        "A transformer learns the next character of the texts of Python's help",
        f"{counted(settings['layers'], 'layer')} of width {settings['width']}, "
        f"{counted(settings['parameters'], 'parameter')}, float32, "
        f"{counted(settings['threads'], 'thread')}",
        f"batches of {settings['batch_size']} x {CONTEXT} characters, "
        f"learning rate {settings['lr']:g}, seed {settings['seed']}",
    ]
    # Print the result first, because writing the picture may fail.
    if args.json:
        print(json.dumps(summary(settings, runs, interrupted, str(path)), allow_nan=False))
    else:
        print_report(Console(), title, runs)
    draw(path, title, runs)
    if not args.json:
        print(f"Picture: {path}")

"""The `fastopt` command: what it is called with, and what it answers when it fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fastopt
from fastopt._errors import FastoptError
from fastopt.cli import bench, info, race

_EXTRA = {"matplotlib": "race", "rich": "race", "sklearn": "race", "ml_dtypes": "bfloat16"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Results go to stdout, progress and errors to stderr. The code is 0, 2 for bad arguments or
    data (argparse leaves by SystemExit for the former), or 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="fastopt", description="Parameter updates at the speed of memory, on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastopt {fastopt.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (race, bench, info):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except (FastoptError, OSError) as error:
        problem = str(error)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        problem = f"{missing} is not installed; try: pip install 'fastopt[{_EXTRA[missing]}]'"
    except KeyboardInterrupt:
        return 130
    print(f"fastopt {args.command}: error: {problem}", file=sys.stderr)
    return 2

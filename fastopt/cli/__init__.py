"""The `fastopt` command.

| module | what it answers |
|---|---|
| `race` | `fastopt race`: how do the update rules compare on a data set? |
| `conditioning` | `fastopt race --conditioning`: how do they compare on ill-conditioned data? |
| `transformer` | `fastopt race --torch`: how do they compare with torch.optim on a transformer? |
| `bench` | `fastopt bench`: which fraction of the memory bandwidth does each rule reach? |
| `fit` | `fastopt fit`: which generalized linear model fits a data file? |
| `predict` | `fastopt predict`: which means or classes does it predict? |
| `rows` | Which rows does a data file have, for these two? |
| `info` | `fastopt info`: which version, instruction set, threads and build are used? |
| `arguments` | Which command line arguments are accepted? |
| `delimited` | Which cells does a text file with a delimiter contain? |
| `machine` | On which CPU and instruction set was something measured? |
| `picture` | Which file may a picture replace, and which colours do the rules have? |
| `text` | How are counted nouns, times, tables and notices printed? |
| `json_values` | How is a number written in JSON? |
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fastopt
from fastopt._errors import FastoptError
from fastopt.cli import info
from fastopt.cli.bench import command as bench_command
from fastopt.cli.fit import command as fit_command
from fastopt.cli.predict import command as predict_command
from fastopt.cli.race import command as race_command

_EXTRA = {
    "matplotlib": "race",
    "rich": "race",
    "sklearn": "race",
    "torch": "race,torch",
    "ml_dtypes": "bfloat16",
}
_COMMANDS_OF_ESTIMATORS = ("fit", "predict")  # which need the extra of this name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Results are printed to stdout, progress and errors to stderr. The exit code is 0 for success,
    2 for bad arguments or data, and 130 after Ctrl-C. For bad arguments argparse raises
    SystemExit(2).
    """
    parser = argparse.ArgumentParser(
        prog="fastopt", description="Parameter updates at the speed of memory, on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastopt {fastopt.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (race_command, bench_command, fit_command, predict_command, info):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except FastoptError as error:
        problem = str(error)
    except FileNotFoundError as error:
        problem = f"no such file: {error.filename}" if error.filename else str(error)
    except OSError as error:
        has_name = error.strerror and error.filename is not None
        problem = f"{error.strerror}: {error.filename}" if has_name else str(error)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        extra = "estimators" if args.command in _COMMANDS_OF_ESTIMATORS else _EXTRA[missing]
        problem = f"{missing} is not installed; from a checkout: pip install '.[{extra}]'"
    except ImportError as error:  # whose message has the command that installs a library
        problem = str(error)
    except KeyboardInterrupt:
        return 130
    print(f"fastopt {args.command}: error: {problem}", file=sys.stderr)
    return 2

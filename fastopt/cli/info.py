"""`fastopt info`: the version and build of fastopt, its instruction set and its threads."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import numpy as np

import fastopt
from fastopt import _core
from fastopt._checks import default_threads
from fastopt.cli.machine import cpus

# The version of OpenMP, by the value of the macro _OPENMP: year and month of the specification.
_OPENMP = {
    201107: "3.1",
    201307: "4.0",
    201511: "4.5",
    201811: "5.0",
    202011: "5.1",
    202111: "5.2",
}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of the command."""
    text = "show the version, instruction set, threads and build of this fastopt"
    commands.add_parser("info", help=text, description=text.capitalize() + ".").set_defaults(
        run=run
    )


def run(args: argparse.Namespace) -> int:
    """Print one fact per line."""
    del args
    month = _core.openmp_version()
    openmp = f"{_OPENMP.get(month, 'of ' + str(month))}" if month else "none, a serial build"
    compiler, flags = _core.build()
    lines = {
        "fastopt": f"{fastopt.__version__} in {os.path.dirname(fastopt.__file__)}",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "instruction set": f"{_core.isa()} in use; this CPU has {', '.join(_core.isas())}",
        "build": f"{compiler} {flags}",
        "openmp": openmp,
        "threads": f"{default_threads() or _core.max_threads()}; "
        f"{cpus()} CPUs are available to this process",
    }
    settings = {"OMP_NUM_THREADS", *(name for name in os.environ if name.startswith("FASTOPT_"))}
    lines |= {name: os.environ[name] for name in sorted(settings) if name in os.environ}
    for name, value in lines.items():
        print(f"{name:16} {value}")
    return 0

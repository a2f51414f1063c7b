"""The CPU and the instruction set in use, which are reported with every measurement."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from fastopt import _core


def cpu() -> str:
    """Return the model name of the CPU, or the name of its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpus() -> int:
    """Return the number of CPUs that are available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def instruction_set() -> str:
    """Return the instruction set in use and those that the CPU supports."""
    return f"{_core.isa()} (of {', '.join(_core.isas())})"

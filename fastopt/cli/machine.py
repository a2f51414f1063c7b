"""Which machine this is, and what of it is in use: what any figure must be quoted with."""

from __future__ import annotations

import platform
from pathlib import Path

from fastopt import _core


def cpu() -> str:
    """Return the name that the CPU has given itself, or that of its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instruction_set() -> str:
    """Return what is in use, of what there is."""
    return f"{_core.isa()} (of {', '.join(_core.isas())})"

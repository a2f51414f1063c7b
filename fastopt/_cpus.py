"""How much of the CPUs a container may use: OpenMP knows of affinity alone."""

from __future__ import annotations

import os
from contextlib import suppress

_FILES = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # of version 2, of version 1


def cpu_quota(root: str = "/") -> int | None:
    """Return how many CPUs' time the control groups of this process grant; None: no limit.

    Rounded up, as the JVM and joblib do: half a CPU of idle time costs less than half a thread.
    """
    granted = []
    for folder in _groups(root):
        for names in _FILES:
            with suppress(OSError, ValueError):
                quota, period = " ".join(_read(f"{folder}/{name}") for name in names).split()
                if int(quota) > 0:  # not "max" nor -1
                    granted.append(-(-int(quota) // int(period)))
    return min(granted, default=None)


def _groups(root: str) -> list[str]:
    """Return the folder of each group that this process is in, and of those around it."""
    folders = []
    with suppress(OSError, ValueError):
        for line in _read(f"{root}/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            parts = os.path.normpath(path).strip("/").split("/")
            # A container may see its own group as the root, by whatever path the host has it.
            folders += [
                "/".join([f"{root}/sys/fs/cgroup", controllers, *parts[:depth]])
                for depth in range(len(parts) + 1)
            ]
    return folders


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()

"""The CPU quota of a container, which OpenMP does not take into account."""

from __future__ import annotations

import os
from contextlib import suppress

_FILES = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # cgroup v2, cgroup v1


def cpu_quota(root: str = "/") -> int | None:
    """Return the CPU quota of this process's control groups, in CPUs; None if there is no limit.

    The quota is rounded up, as in the JVM and joblib: half a CPU that is never used costs more than
    a thread that waits half of the time.
    """
    granted = []
    for folder in _groups(root):
        for names in _FILES:
            with suppress(OSError, ValueError):
                quota, period = " ".join(_read(f"{folder}/{name}") for name in names).split()
                if int(quota) > 0:  # no limit: "max" or -1
                    granted.append(-(-int(quota) // int(period)))
    return min(granted, default=None)


def _groups(root: str) -> list[str]:
    """Return the folders of the control groups of this process and of their parents."""
    folders = []
    with suppress(OSError, ValueError):
        for line in _read(f"{root}/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            parts = os.path.normpath(path).strip("/").split("/")
            # A container may mount its group as the root although /proc has the path on the host.
            folders += [
                "/".join([f"{root}/sys/fs/cgroup", controllers, *parts[:depth]])
                for depth in range(len(parts) + 1)
            ]
    return folders


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()

"""Which paths are accepted: those of regular files, and those that do not exist yet."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from fastopt._errors import FastoptError

PathLike = str | os.PathLike[str]

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def as_path(path: PathLike) -> Path:
    """Return the path; raise for anything else, such as a file descriptor."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {path!r}; a str or os.PathLike is needed")
    return Path(path)


def resolved(path: PathLike) -> Path:
    """Return the path with symbolic links resolved."""
    return Path(os.path.realpath(as_path(path)))


def require_regular(path: PathLike, status: os.stat_result) -> None:
    """Raise unless a status is that of a regular file."""
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise FastoptError(f"path {os.fspath(path)!r} is {kind}; a regular file is needed")


def open_regular(path: PathLike) -> BinaryIO:
    """Open a regular file for reading; raise for anything else, without waiting for it."""
    target = resolved(path)
    require_regular(path, target.stat())  # opening a device can have side effects
    file = open(target, "rb", opener=_open_without_waiting)  # noqa: SIM115 - returned open
    try:
        require_regular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file without blocking; opening a named pipe would otherwise wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

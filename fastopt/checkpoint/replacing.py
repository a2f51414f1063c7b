"""How a file is replaced atomically, and what a killed process leaves behind.

The new content is written to a temporary file in the same directory, which is then renamed.  The
writer holds a lock on it (flock), which is released when the process ends.  A temporary file
without a lock was therefore left behind by a killed process.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fastopt._errors import FastoptError
from fastopt.checkpoint.regular_files import PathLike, require_regular, resolved

# Windows has no flock; a file that is open cannot be deleted there.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None


def replace(path: PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Replace a file by what ``write`` writes, or raise and leave it unchanged.

    A reader finds the old content or the new one, even after a crash.  The permissions of the file
    are kept.  If the path is a symbolic link, its target is replaced.
    """
    target = resolved(path)
    with contextlib.suppress(FileNotFoundError):
        require_regular(path, target.stat())
    remove_leftovers(path)
    with _naming(path):
        _replace(target, write, path)


def _replace(target: Path, write: Callable[[BinaryIO], None], path: PathLike) -> None:
    part, file = _create(target)
    try:
        with file:
            if target.exists():
                shutil.copymode(target, part)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # while the lock is held
                _rename(part, target, path)
        if not fcntl:
            _rename(part, target, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def remove_leftovers(path: PathLike) -> None:
    """Delete the temporary files of processes that were killed while they replaced the file."""
    for part in _temporary_files(resolved(path)):
        with contextlib.suppress(OSError), part.open("rb") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # raises if a writer has the lock
            else:
                file.close()
            part.unlink()


@contextlib.contextmanager
def _naming(path: PathLike) -> Iterator[None]:
    """Make an OSError name this path instead of the temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)
            if error.filename2 is not None:
                del error.filename2
        raise


def _create(target: Path) -> tuple[Path, BinaryIO]:
    """Return a new temporary file, locked."""
    while True:
        part = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")
        file = part.open("xb")
        if not fcntl:
            return part, file
        with contextlib.suppress(OSError):  # on a file system without locks nothing is removed
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            if os.path.samestat(part.stat(), os.fstat(file.fileno())):
                return part, file
        file.close()  # deleted by `remove_leftovers` before it was locked


def _rename(part: Path, target: Path, path: PathLike) -> None:
    try:
        part.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise FastoptError(
            f"path {os.fspath(path)!r} is a mount point, which cannot be replaced; mount its "
            "directory instead"
        ) from error


def _prefix(target: Path) -> str:
    """Return the prefix of temporary files' names; its length does not depend on the target."""
    return f"fastopt-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _temporary_files(target: Path) -> Iterator[Path]:
    """Yield the temporary files of a target, those of killed and of running processes."""
    name = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{8}\.part")
    with contextlib.suppress(FileNotFoundError), os.scandir(target.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name) and stat.S_ISREG(
                entry.stat(follow_symlinks=False).st_mode
            ):
                yield Path(entry.path)

"""How a file is replaced atomically, and what a killed process leaves behind."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]


def replace(path: PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Replace a file by what ``write`` writes, or raise and leave it unchanged.

    A reader finds the old content or the new one, even after a crash.  The permissions of the file
    are kept; of a symbolic link, the target is replaced.
    """
    target = _target(path)
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            if target.exists():
                shutil.copymode(target, part)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def remove_leftovers(path: PathLike) -> None:
    """Delete the temporary files of processes that were killed while they replaced the file."""
    target = _target(path)
    for part in target.parent.glob(f"{glob.escape(target.name)}.????????.part"):
        part.unlink(missing_ok=True)


def _target(path: PathLike) -> Path:
    """Return the path with symbolic links resolved."""
    return Path(os.path.realpath(path))

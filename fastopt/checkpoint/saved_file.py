"""`write` and `read`: which kind, version and format a file has."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.checkpoint import npz, safetensors
from fastopt.checkpoint.encoding import decode, encode
from fastopt.checkpoint.regular_files import PathLike, as_path, open_regular
from fastopt.checkpoint.replacing import replace

VERSION = 1  # of the layout; files of a later version are refused

# The errors that the libraries raise for a damaged file.  MemoryError and OSError are not included:
# TimeoutError, which the handler of a signal may raise, is an OSError.
DAMAGE = (
    zipfile.BadZipFile,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    SyntaxError,
    NotImplementedError,
    RecursionError,
    struct.error,
    zlib.error,
)


def write(path: PathLike, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file that `read` reads, or raise and leave an existing file unchanged."""
    arrays: dict[str, Array] = {}
    inner = encode(content, "", arrays)
    plain = json.dumps({"fastopt": VERSION, "kind": kind, "content": inner})
    save = safetensors.save if as_path(path).suffix == ".safetensors" else npz.save

    def write_into(file: BinaryIO) -> None:
        save(file, plain, arrays)

    replace(path, write_into)


def read(path: PathLike, kind: str) -> dict[str, Any]:
    """Return the content that was passed to `write`; tuples remain tuples.

    Raises
    ------
    FastoptError
        A damaged or foreign file, one of another kind or of a later version, or a path of a
        directory, pipe or device.
    OSError
        A file that cannot be opened.
    """
    with open_regular(path) as file:
        is_zip = file.read(2) == b"PK"
        try:
            text, arrays = npz.load(file) if is_zip else safetensors.load(path)
            plain = json.loads(text)
            found = plain["fastopt"], plain["kind"]
            content = decode(plain["content"], arrays) if found == (VERSION, kind) else None
            if not isinstance(content, (dict, type(None))):
                raise TypeError("the content is not a dict")
        except FastoptError:
            raise
        except DAMAGE as error:
            raise FastoptError(
                f"{os.fspath(path)!r} is not a file of fastopt, or it is damaged"
            ) from error
    if content is None:
        raise FastoptError(
            f"{os.fspath(path)!r} holds {found[1]!r} in version {found[0]!r}; "
            f"{kind!r} in version {VERSION} is needed"
        )
    return content


@contextmanager
def loading(path: PathLike) -> Iterator[None]:
    """Report content that cannot be loaded as a FastoptError that names the file.

    The content of a file may be malformed in ways that the code which loads it does not check, such
    as a number in place of a dict; errors that the body raises for that reason are replaced.
    """
    try:
        yield
    except FastoptError:
        raise
    except DAMAGE as error:
        raise FastoptError(f"{os.fspath(path)!r} cannot be loaded: {error!r}") from error

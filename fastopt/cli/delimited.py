"""The cells of a text file with a delimiter."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastopt._errors import FastoptError

MISSING = {"", "?", "na", "n/a", "nan", "null"}  # texts of a missing value, in lower case
COMMA_IN_NUMBER = re.compile(r"[+-]?\d+,\d+")


@contextmanager
def lines_of(path: Path, delimiters: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Open a file and return the number and the cells of each line that is not blank.

    The delimiter is the most frequent one of `delimiters` in the first line. A line break inside
    quotes does not end a line; the number is that of the last line of a row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first_line = file.readline()
            delimiter = max(delimiters, key=first_line.count)
            _require_delimiter(path, first_line, file.readline(), delimiter)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            yield (
                (reader.line_num, [cell.strip() for cell in row])
                for row in reader
                if any(map(str.strip, row))
            )
    except UnicodeDecodeError as error:
        raise FastoptError(f"{path}: not text in UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise FastoptError(f"{path}: {error}") from None


def _require_delimiter(path: Path, first: str, second: str, delimiter: str) -> None:
    """Raise an error if the lines look as if spaces delimit cells, or commas are decimal points."""
    line = second.strip() or first.strip()
    if delimiter not in first and len(first.split()) > 1 and len(line.split()) > 1:
        raise FastoptError(
            f"{path}: the first line has no comma, semicolon or tab; cells separated by spaces, "
            f"as in {line[:40]!r}, are not read (tr -s ' ' ',' converts them)"
        )
    if delimiter == "," and re.search(r"\d,\d+\s*;", line):
        raise FastoptError(
            f"{path}: {line[:40]!r} seems to have decimal commas between semicolons; a number "
            "must have a decimal point and no comma"
        )


def numbers(cells: list[str]) -> list[float] | None:
    """Return the numbers in the cells, or None if a cell is not a number.

    "2021_1" is not a number, although Python reads it as 20211.
    """
    try:
        return None if "_" in "".join(cells) else list(map(float, cells))
    except ValueError:
        return None


def is_number(cell: str) -> bool:
    """Return whether the cell is a number that is not missing."""
    return numbers([cell]) is not None and cell.lower() not in MISSING

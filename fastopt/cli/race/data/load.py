"""The table in a data file, or of the handwritten digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastopt._errors import FastoptError
from fastopt.cli.race.data.csv_file import read_csv, read_tsv
from fastopt.cli.race.data.npz_file import read_npz
from fastopt.cli.race.data.options import DataOptions
from fastopt.cli.race.data.svmlight_file import read_svmlight
from fastopt.cli.race.data.table import Table, require_usable

_OF_TEXT = {"--target", "--header", "--no-header", "--drop", "--encode"}
# For each file extension: its reader and the options that the reader takes.
_READERS: dict[str, tuple[Callable[[Path, DataOptions], Table], set[str]]] = {
    ".csv": (read_csv, _OF_TEXT),
    ".tsv": (read_tsv, _OF_TEXT),
    ".npz": (read_npz, {"--target", "--features"}),
    ".svm": (read_svmlight, set()),
    ".svmlight": (read_svmlight, set()),
    ".libsvm": (read_svmlight, set()),
}


def load(source: str | None, options: DataOptions = DataOptions()) -> Table:  # noqa: B008
    """Return the table in a file, by its extension, or the digits if there is no file."""
    ending = Path(source or "").suffix.lower()
    if source is not None and ending not in _READERS:
        raise FastoptError(f"{source}: the name must end in one of {', '.join(_READERS)}")
    reader, takes = _READERS[ending] if source is not None else (None, set())
    for option, value in options.given().items():
        if option not in takes:
            endings = [ending for ending, (_, takes) in _READERS.items() if option in takes]
            shown = "" if value is True or value is False else f" is {value!r}; it"
            raise FastoptError(f"{option}{shown} needs DATA in {' or '.join(endings)}")
    if reader is None:
        return _digits()
    table = reader(Path(source or ""), options)
    require_usable(table)
    return table


def _digits() -> Table:
    """Return the handwritten digits of scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Table(
        "handwritten digits",
        bunch.data,
        bunch.target,
        list(bunch.feature_names),
        expected_accuracy=0.9,
    )

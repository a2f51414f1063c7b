"""The table in a data file, or of the handwritten digits."""

from __future__ import annotations

from pathlib import Path

from fastopt._errors import FastoptError
from fastopt.cli.race.data.csv_file import read_csv, read_tsv
from fastopt.cli.race.data.npz_file import read_npz
from fastopt.cli.race.data.svmlight_file import read_svmlight
from fastopt.cli.race.data.table import Table, require_usable

_READERS = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".npz": read_npz,
    ".svm": read_svmlight,
    ".svmlight": read_svmlight,
    ".libsvm": read_svmlight,
}


def load(source: str | None, target: str | None) -> Table:
    """Return the table in a file, by its extension, or the digits if there is no file."""
    if source is None:
        if target is not None:
            raise FastoptError(f"--target is {target!r} without DATA; the digits have one target")
        return _digits()
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FastoptError(f"{path}: the name must end in one of {', '.join(_READERS)}")
    table = reader(path, target)
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

"""The table in a data file, or of the handwritten digits."""

from __future__ import annotations

from pathlib import Path

from fastopt._errors import FastoptError
from fastopt.cli.race.data.csv_file import read_csv, read_tsv
from fastopt.cli.race.data.npz_file import read_npz
from fastopt.cli.race.data.svmlight_file import read_svmlight
from fastopt.cli.race.data.table import Table, require_usable

_TEXT_READERS = {".csv": read_csv, ".tsv": read_tsv}
_READERS = {
    ".npz": read_npz,
    ".svm": read_svmlight,
    ".svmlight": read_svmlight,
    ".libsvm": read_svmlight,
}


def load(source: str | None, target: str | None, header: bool | None = None) -> Table:
    """Return the table in a file, by its extension, or the digits if there is no file.

    `header` says whether the first line of a .csv or .tsv file is a header; by default its cells
    decide.
    """
    ending = Path(source or "").suffix.lower()
    if header is not None and ending not in _TEXT_READERS:
        option = "--header" if header else "--no-header"
        raise FastoptError(f"{option} needs DATA in {' or '.join(_TEXT_READERS)}")
    if source is None:
        if target is not None:
            raise FastoptError(f"--target is {target!r} without DATA; the digits have one target")
        return _digits()
    path = Path(source)
    if ending in _TEXT_READERS:
        table = _TEXT_READERS[ending](path, target, header)
    elif ending in _READERS:
        table = _READERS[ending](path, target)
    else:
        endings = ", ".join([*_TEXT_READERS, *_READERS])
        raise FastoptError(f"{path}: the name must end in one of {endings}")
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

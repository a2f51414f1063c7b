"""The table in a file of svmlight's format."""

from __future__ import annotations

from pathlib import Path

from fastopt._errors import FastoptError
from fastopt.cli.race.data.options import DataOptions
from fastopt.cli.race.data.table import Table
from fastopt.cli.text import counted

_DENSE_LIMIT = 2**31  # bytes; a small sparse file may describe an array that exceeds the memory


def read_svmlight(path: Path, _options: DataOptions) -> Table:
    """Return features and target of a file with lines `target index:value index:value ...`."""
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(str(path))
    except (ValueError, IndexError) as error:
        raise FastoptError(f"{path}: not in svmlight's format ({error})") from None
    n_bytes = 8 * X.shape[0] * X.shape[1]
    if n_bytes > _DENSE_LIMIT:
        raise FastoptError(
            f"{path}: {counted(X.shape[0], 'row')} of {counted(X.shape[1], 'feature')} would take "
            f"{n_bytes / 2**30:.1f} GiB as a dense array; {_DENSE_LIMIT / 2**30:.0f} are allowed"
        )
    return Table(path.name, X.toarray(), y, [str(i) for i in range(X.shape[1])])

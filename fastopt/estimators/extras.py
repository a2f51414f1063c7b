"""Libraries of the extra ``estimators``, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["library"]


def library(name: str, use: str) -> Any:
    """Return a module of the extra ``estimators``.

    Parameters
    ----------
    name : str
        The module, such as "pyarrow.parquet".
    use : str
        What needs it; the beginning of the error message.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        It is not installed; the message has the command that installs it.

    Examples
    --------
    >>> library("math", "an example").sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"{use} needs {package}, which could not be imported ({error}); from a checkout: "
            "pip install '.[estimators]'"
        ) from error

"""The options of the command line for a data file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """Which columns or arrays are read, and how; the defaults suit a table of numbers."""

    target: str | None = None  # name or index of a column, or name of an array
    header: bool | None = None  # whether a text file has a header; None: judged by its lines
    drop: tuple[str, ...] = ()  # names or indices of columns of a text file that are left out
    encode: bool = False  # whether texts in a text file become columns of 0 and 1
    features: str | None = None  # name of the array of features

    def given(self) -> dict[str, object]:
        """Return the values of the options that differ from their defaults, by option."""
        options = {
            "--target": self.target,
            "--no-header" if self.header is False else "--header": self.header,
            "--drop": ",".join(self.drop) or None,
            "--encode": self.encode or None,
            "--features": self.features,
        }
        return {option: value for option, value in options.items() if value is not None}

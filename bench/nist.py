"""Correct digits on NIST's linear problems, of KalmanSGD and statsmodels: python -m bench.nist.

Prints, for three modes of KalmanSGD and for statsmodels' OLS and RecursiveLS, the digits of the
least accurate coefficient and, in parentheses, of the least accurate standard error, at most 15.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import fastopt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from nist_linear import DATA, digits, read

Fit = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def kalman(**options: object) -> Fit:
    def fit(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = fastopt.KalmanSGD(X.shape[1], **options).partial_fit(X, y)
        return k.coef, k.stderr

    return fit


def ordinary(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from statsmodels.regression.linear_model import OLS

    result = OLS(y, X).fit()
    return result.params, result.bse


def recursive(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from statsmodels.regression.recursive_ls import RecursiveLS

    result = RecursiveLS(y, X).fit()
    return result.params, result.bse


FITS: dict[str, Fit] = {
    "qr": kalman(mode="qr"),
    "ud, m0 1e20": kalman(mode="ud", m0=1e20),
    "plain, m0 1e6": kalman(mode="plain", m0=1e6),
    "OLS": ordinary,
    "RecursiveLS": recursive,
}


def main() -> None:
    table = Table(title="Correct digits: coefficients (standard errors)")
    for heading in ("problem", *FITS):
        table.add_column(heading, justify="left" if heading == "problem" else "right")
    for path in sorted(DATA.glob("*.dat")):
        X, y, coef, stderr = read(path.stem)
        cells = []
        for fit in FITS.values():
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    found, errors = fit(X, y)
                cell = f"{digits(found, coef):.1f}"
                if stderr.all():  # they are 0 if the fit is exact
                    cell += f" ({digits(errors, stderr):.1f})"
                cells.append(cell)
            except (fastopt.FastoptError, np.linalg.LinAlgError, ValueError) as error:
                cells.append(
                    "fails" if isinstance(error, fastopt.FastoptError) else type(error).__name__
                )
        table.add_row(path.stem, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

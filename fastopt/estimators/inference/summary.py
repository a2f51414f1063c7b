"""The printed summary of a fit: statsmodels' own where it is installed, else a table here."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

from fastopt.estimators.extras import library
from fastopt.estimators.inference.estimates import (
    aic,
    bic,
    conf_int,
    p_values,
    quantile,
    require_likelihood,
    stderr,
)
from fastopt.estimators.inference.fitted import Fitted

__all__ = ["Summary", "statsmodels_module", "summary"]

WIDTH = 78


class Summary:
    """A table, whose text is that of ``str`` and ``repr``.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def as_text(self) -> str:
        """Return the table as a string, as the summaries of statsmodels do.

        Returns
        -------
        str
        """
        return self.text

    __str__ = __repr__ = as_text


def summary(fitted: Fitted, level: float = 0.95) -> Any:
    """Return what a fit found, as a table.

    Parameters
    ----------
    fitted : Fitted
    level : float, default=0.95
        Coverage of the confidence intervals.

    Returns
    -------
    statsmodels.iolib.summary.Summary or Summary
        Of statsmodels where it is installed, else, and for a penalised fit, `Summary` with the same
        numbers.  Both have ``as_text()``.
    """
    quantile(fitted, level)
    notes = notes_of(fitted)
    if fitted.penalty or find_spec("statsmodels") is None:
        return Summary(table(fitted, level, notes))
    found = statsmodels_module(fitted).results_of(fitted).summary(alpha=round(1 - level, 12))
    if notes:
        found.add_extra_txt(notes)
    return found


def statsmodels_module(fitted: Fitted) -> Any:
    """Return the module here that makes results of statsmodels of a fit.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    module
    """
    library("statsmodels", "to_statsmodels")
    from fastopt.estimators.inference import statsmodels_mnlogit, statsmodels_results

    return statsmodels_results if fitted.n_equations == 1 else statsmodels_mnlogit


def notes_of(fitted: Fitted) -> list[str]:
    """Return what a reader of the table must know besides its numbers.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    list of str
    """
    notes = []
    if not fitted.converged:
        notes.append("The fit has not converged: no number here is that of a maximum.")
    rank, p = fitted.rank, len(fitted.coef)
    if rank < p:
        notes.append(
            f"Columns depend on each other (rank {rank} of {p}): of the coefficients that fit "
            "best, these are the smallest."
        )
    if not fitted.scale > 0:
        notes.append(
            f"The dispersion cannot be estimated ({fitted.df_resid:g} degrees of freedom, Pearson "
            f"chi2 {fitted.pearson_chi2:g}): there are no standard errors."
        )
    if fitted.robust is not None and math.isnan(fitted.robust[0, 0]):
        notes.append(f"There is no covariance of type {fitted.cov_type}: standard errors are NaN.")
    if fitted.penalty:
        notes.append("Penalised coefficients have no standard errors.")
    return notes


def table(fitted: Fitted, level: float, notes: list[str]) -> str:
    """Return the table as text.

    Parameters
    ----------
    fitted : Fitted
    level : float
    notes : list of str
        Lines at the end.

    Returns
    -------
    str
    """
    left = [
        ("Dep. Variable:", fitted.y_name),
        ("Model Family:", fitted.family),
        ("Link Function:", fitted.link),
        ("No. Iterations:", str(fitted.n_iter)),
        ("No. Observations:", str(fitted.n)),
        ("Df Residuals:", f"{fitted.df_resid:g}"),
        ("Df Model:", str(fitted.df_model)),
        ("Covariance Type:", fitted.cov_type if not fitted.penalty else "none"),
    ]
    has_likelihood = not fitted.penalty
    right = [
        ("Log-Likelihood:", f"{fitted.llf:#.5g}"),
        ("Deviance:", f"{fitted.deviance:#.5g}"),
        ("Null Deviance:", f"{fitted.null_deviance:#.5g}"),
        ("Pearson chi2:", f"{fitted.pearson_chi2:#.3g}"),
        ("Scale:", f"{fitted.scale:#.5g}"),
        ("Pseudo R-squ. (CS):", f"{pseudo_r2(fitted):#.4g}"),
        ("AIC:", f"{aic(fitted):#.5g}" if has_likelihood else "none"),
        ("BIC:", f"{bic(fitted):#.5g}" if has_likelihood else "none"),
    ]
    top = _header(left, right)
    title = "Generalized Linear Model Regression Results"
    double, single = "=" * WIDTH, "-" * WIDTH
    lines = [title.center(WIDTH).rstrip(), double, *top, double]
    lines += [*_coefficients(fitted, level, single), double, *notes]
    return "\n".join(lines)


def filter_table(fitted: Fitted, level: float, title: str) -> str:
    """Return the table of a filter, which has no likelihood.

    Parameters
    ----------
    fitted : Fitted
        Its names of the dependent variable and of the columns are printed.
    level : float
    title : str

    Returns
    -------
    str
    """
    quantile(fitted, level)
    left = [
        ("Dep. Variable:", fitted.y_name),
        ("Model Family:", fitted.family),
        ("Link Function:", fitted.link),
    ]
    right = [
        ("No. Observations:", str(fitted.n)),
        ("No. Passes:", str(fitted.n_iter)),
        ("Scale:", f"{fitted.scale:#.5g}"),
    ]
    double, single = "=" * WIDTH, "-" * WIDTH
    rows = _coefficients(fitted, level, single)
    return "\n".join([title.center(WIDTH).rstrip(), double, *_header(left, right), double, *rows])


def _header(left: list[tuple[str, str]], right: list[tuple[str, str]]) -> list[str]:
    """Return lines with two names and values each."""
    half = WIDTH // 2 - 1
    return [
        f"{a:<19}{b:>{half - 19}}  {c:<21}{d:>{half - 21}}"
        for (a, b), (c, d) in zip(left, right, strict=True)
    ]


def pseudo_r2(fitted: Fitted) -> float:
    """Return the pseudo R-squared of Cox and Snell, ``1 - exp(2 (llnull - llf) / n)``.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    float
    """
    gain = 2 * (fitted.llnull - fitted.llf) / fitted.n
    return 1 - math.exp(gain) if gain < 700 else -math.inf


def _coefficients(fitted: Fitted, level: float, line: str) -> list[str]:
    """Return the rows of the coefficients."""
    wide = max([12, *(len(name) for name in fitted.names)])
    if fitted.penalty:
        rows = zip(fitted.names, fitted.coef, strict=True)
        return [
            f"{'':<{wide}}{'coef':>11}",
            line,
            *(f"{name:<{wide}}{value:>11.5g}" for name, value in rows),
        ]
    require_likelihood(fitted)
    errors, tail = stderr(fitted), (1 - level) / 2
    letter = "t" if fitted.use_t else "z"
    heads = ("coef", "std err", letter, f"P>|{letter}|", f"[{tail:.3g}", f"{1 - tail:.3g}]")
    values = fitted.coef, errors, fitted.coef / errors, p_values(fitted), *conf_int(fitted, level).T
    formats = (".5g", ".4g", ".3f", ".3f", ".5g", ".5g")
    lines = [f"{'':<{wide}}" + "".join(f"{head:>11}" for head in heads), line]
    for name, *row in zip(fitted.names, *values, strict=True):
        cells = (f" {value:>10{form}}" for value, form in zip(row, formats, strict=True))
        lines.append(f"{name:<{wide}}" + "".join(cells))
    return lines

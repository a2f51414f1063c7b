"""The arguments of `fastopt fit`, and the order in which the command does its work."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastopt._errors import FastoptError
from fastopt.cli.arguments import at_least_0, fraction, names, rate, whole

if TYPE_CHECKING:
    from fastopt.cli.fit.fitting import Fit

_FAMILIES = (
    *("gaussian", "binomial", "multinomial", "poisson", "gamma", "inverse_gaussian"),
    *("negative_binomial", "tweedie"),
)
_SETTINGS = ("alpha", "l1_ratio", "solver", "cov_type", "formula", "seed")  # reported in JSON
_DESCRIPTION = """\
Fit a generalized linear model: a summary on stdout, and in the folder of --out
model.json (for fastopt predict), fit.json (all numbers) and fit.png
(coefficients with 95 % intervals; calibration or residuals).

DATA is .csv (with a header; comma, semicolon or tab), .tsv (tab), .npz (array
X, and y or others by name), .parquet (a file or a folder, read in pieces) or
svmlight (.svm, .svmlight, .libsvm). A column of text becomes a column of 0 and
1 for each of its texts but the first one in alphabetical order, the baseline.

The target is the last column, y in .npz. The family is binomial or multinomial
for a target of text, else gaussian, unless --family says otherwise.
"""
_EXAMPLES = """\
examples:
  fastopt fit houses.csv --target price
  fastopt fit people.csv --target smokes --drop name,id --impute
  fastopt fit claims.parquet --target n --family poisson --exposure years
  fastopt fit claims.csv --formula "n ~ log(age) * C(region)" --family poisson
  fastopt fit text.svm --family binomial --solver adagrad --alpha 1e-5
  fastopt predict model.json new.csv --out predictions.csv
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "fit",
        help="fit a generalized linear model to a data file",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", type=Path, metavar="DATA", help="a file")
    columns = parser.add_argument_group("columns", "each option takes the name of a column")
    columns.add_argument("--target", metavar="NAME", help="the dependent variable")
    columns.add_argument(
        "--weight", metavar="NAME", help="precision weights: the variance is divided by them"
    )
    columns.add_argument(
        "--freq-weight", metavar="NAME", help="frequencies: a row counts so many times"
    )
    columns.add_argument("--offset", metavar="NAME", help="is added to the linear predictor")
    columns.add_argument(
        "--exposure", metavar="NAME", help="its logarithm is added (log link only)"
    )
    columns.add_argument("--groups", metavar="NAME", help="clusters, for --cov-type cluster")
    columns.add_argument(
        "--drop", type=names, default=(), metavar="A,B,...", help="columns that are left out"
    )
    columns.add_argument(
        "--formula",
        metavar="TEXT",
        help='features as "y ~ a + C(b)", in the language of formulaic; default: all columns',
    )
    columns.add_argument(
        "--impute",
        action="store_true",
        help="replace missing values of features by the mean of the column, or by the most "
        "frequent text; default: an error that names the row",
    )
    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--family", choices=_FAMILIES, metavar="NAME", help=", ".join(_FAMILIES))
    add(
        "--link",
        metavar="NAME",
        help="identity, log, inverse, inverse_squared, logit, probit or cloglog; default: that "
        "of the family",
    )
    add("--overdispersion", type=at_least_0, metavar="A", help="of negative_binomial (1)")
    add("--power", type=rate, metavar="P", help="of tweedie, between 1 and 2 (1.5)")
    add(
        "--no-intercept",
        action="store_false",
        dest="intercept",
        help="leave the intercept out (with --formula: add '- 1' to it instead)",
    )
    add("--alpha", type=at_least_0, default=0.0, metavar="A", help="strength of the penalty (0)")
    add(
        "--l1-ratio",
        type=fraction,
        default=0.0,
        metavar="R",
        help="part of the penalty that is L1, from 0 to 1 (0)",
    )
    add(
        "--cov-type",
        default="nonrobust",
        metavar="NAME",
        help="nonrobust (default), HC0, HC1, HC2, HC3 or cluster",
    )
    fit = parser.add_argument_group("fit")
    add = fit.add_argument
    add(
        "--solver",
        default="auto",
        metavar="NAME",
        help="scoring (default), or for many columns, without standard errors: sgd, momentum, "
        "nesterov, adagrad, adadelta, rmsprop, adam, adamax, nadam or ftrl",
    )
    add("--max-iter", type=whole(1), default=100, metavar="N", help="most rounds or epochs (100)")
    add("--tol", type=rate, metavar="T", help="length of the last step in standard errors (1e-8)")
    add(
        "--lr", type=rate, metavar="RATE", help="learning rate (eta0) of other solvers than scoring"
    )
    add("--seed", type=whole(0), default=0, metavar="N", help="of the order of rows (0)")
    output = parser.add_argument_group("output")
    add = output.add_argument
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder of the files (.)")
    add("--json", action="store_true", help="print the numbers as JSON instead of the summary")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    The modules that need the extra `estimators` are imported first, so that a missing one is
    reported before the fit.
    """
    from fastopt.cli.fit.fitting import fit_file
    from fastopt.cli.fit.wording import in_options
    from fastopt.cli.picture import claim

    if find_spec("matplotlib") is None:  # it takes 28 MB, so that it is imported after the fit
        raise ModuleNotFoundError(name="matplotlib")
    files = {
        "model": claim(args.out, "model.json", "fastopt fit model"),
        "result": claim(args.out, "fit.json", "fastopt fit result"),
        "picture": claim(args.out, "fit.png", "fastopt fit"),
    }
    began = perf_counter()
    try:
        fit = fit_file(args)
    except (TypeError, ValueError) as error:
        raise FastoptError(in_options(str(error).partition("\n")[0])) from error
    except KeyboardInterrupt:
        print(
            "\nInterrupted before the first round of the fit; no file was written", file=sys.stderr
        )
        return 130
    except MemoryError:
        raise FastoptError(
            "the fit does not fit into memory; --solver adagrad needs less"
        ) from None
    return _finish(args, fit, files, perf_counter() - began)


def _finish(args: argparse.Namespace, fit: Fit, files: dict[str, Path], seconds: float) -> int:
    """Print and write the result of a fit; return the exit code."""
    from fastopt.cli.fit.diagnostics import diagnose
    from fastopt.cli.fit.report import report
    from fastopt.cli.fit.summary import coefficients_of, summary

    everything, coefficients = coefficients_of(fit.estimator, fit.names)
    interrupted = any("interrupted" in text for text in fit.warnings)
    for text in fit.warnings:
        print(f"fastopt fit: warning: {text}", file=sys.stderr)
    result = summary(
        {"name": args.data.name, "rows": fit.n, "target": fit.target, "features": fit.names},
        fit.estimator,
        everything,
        {name: getattr(args, name) for name in _SETTINGS},
        {"notes": fit.notes, "warnings": fit.warnings},
        {name: str(path) for name, path in files.items() if name != "picture" or not interrupted},
        seconds,
    )
    if not args.json:
        print(report(fit.estimator, everything, fit.notes))
    _write(files["model"], fit.model)
    _write(files["result"], result)
    if not interrupted:
        found, deviations = diagnose(fit.estimator, fit.rows, fit.n)
        from fastopt.cli.fit.picture import draw

        title = f"{args.data.name}: {fit.target}, {result['model']['family'] or 'binomial'} family"
        draw(files["picture"], title, coefficients, deviations, found)
    if args.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(f"Model: {files['model']}; fastopt predict {files['model']} DATA applies it")
        print(f"Numbers: {files['result']}")
        print("Picture: none" if interrupted else f"Picture: {files['picture']}")
    return 130 if interrupted else 0


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")

"""Inference against statsmodels: summaries to the last character, robust covariances, tests.

The lines that differ are those of date and time and "No. Iterations": statsmodels starts elsewhere.
statsmodels' standard errors are of the last iterate but one, so its fits end with tol=1e-14.
"""

import gc
import pickle
import weakref

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn.datasets import load_breast_cancer, load_wine

from fastopt import FastoptError
from fastopt.estimators import GLMClassifier, GLMRegressor

families, links = sm.families, sm.families.links

pytestmark = pytest.mark.filterwarnings("ignore:The .* link function does not respect the domain")

OWN_LINES = ("Date:", "Time:", "No. Iterations:")


def dataset(name):
    """Return X, y, options of GLMRegressor, statsmodels' family, sample_weight and endog."""
    if name == "breast_cancer":
        data = load_breast_cancer(as_frame=True)
        X, y = data.data.iloc[:, :8], data.target.astype(float)
        return X, y, dict(family="binomial"), families.Binomial(), None, y
    data = getattr(sm.datasets, name.split(" ")[0]).load_pandas()
    X, y = data.exog, data.endog
    if name == "fair":
        y = (y > 0).astype(float)
        return X, y, dict(family="binomial"), families.Binomial(), None, y
    if name == "star98":
        trials = y.sum(axis=1)
        share = (y["NABOVE"] / trials).rename("y")
        return X, share, dict(family="binomial"), families.Binomial(), trials, y
    own, peer = {
        "randhie": (dict(family="poisson"), families.Poisson()),
        "scotland": (dict(family="gamma", link="inverse"), families.Gamma()),
        "scotland log": (dict(family="gamma"), families.Gamma(links.Log())),
        "scotland inverse": (
            dict(family="inverse_gaussian"),
            families.InverseGaussian(links.Log()),
        ),
        "cpunish": (dict(family="gaussian"), families.Gaussian()),
        "cpunish counts": (
            dict(family="negative_binomial", overdispersion=0.4),
            families.NegativeBinomial(alpha=0.4),
        ),
        "cpunish tweedie": (
            dict(family="tweedie", power=1.4),
            families.Tweedie(var_power=1.4),
        ),
    }[name]
    return X, y, own, peer, None, y


SETS = [
    "fair",
    "randhie",
    "star98",
    "scotland",
    "scotland log",
    "scotland inverse",
    "cpunish",
    "cpunish counts",
    "cpunish tweedie",
    "breast_cancer",
]


def both(name, cov_type="nonrobust", groups=None, **options):
    X, y, own, peer, weight, endog = dataset(name)
    kwds = {"cov_kwds": {"groups": groups}} if groups is not None else {}
    theirs = sm.GLM(endog, sm.add_constant(X), family=peer).fit(
        tol=1e-14, maxiter=300, cov_type=cov_type, **kwds, **options
    )
    # Once more from the maximum, so that bse is of the last iterate.
    theirs = theirs.model.fit(
        start_params=theirs.params, tol=1e-14, maxiter=3, cov_type=cov_type, **kwds, **options
    )
    model = GLMRegressor(**own, tol=1e-14, cov_type=cov_type, **options)
    return model.fit(X, y, weight, groups=groups), theirs


def lines(summary):
    return [line for line in str(summary).splitlines() if not line.startswith(OWN_LINES)]


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
@pytest.mark.parametrize("name", SETS)
def test_summaries_are_equal_to_the_last_character(name, cov_type):
    own, theirs = both(name, cov_type)
    assert lines(own.summary()) == lines(theirs.summary(yname=own.fitted_.y_name))
    found = own.summary(level=0.9)
    assert lines(found) == lines(theirs.summary(yname=own.fitted_.y_name, alpha=0.1))


ROWS = np.random.default_rng(1)
COLUMNS = pd.DataFrame({"a": ROWS.normal(size=400), "b": ROWS.normal(size=400) + 5})
ETA = 0.3 * COLUMNS["a"] - 0.1 * COLUMNS["b"] + 0.4
COUNTS, LABELS = ROWS.poisson(np.exp(ETA)) * 1.0, (ROWS.random(400) < 0.4) * 1.0
POSITIVE = ROWS.gamma(3.0, np.exp(ETA) / 3)
GIVEN = {
    "weights": (ROWS.uniform(0.5, 3, 400), "sample_weight", "var_weights"),
    "frequencies": (ROWS.integers(1, 5, 400) * 1.0, "freq_weight", "freq_weights"),
    "offset": (ROWS.normal(size=400) * 0.3, "offset", "offset"),
}
MODELS = [
    (dict(family="gaussian"), families.Gaussian(), ETA + ROWS.normal(size=400)),
    (dict(family="poisson"), families.Poisson(), COUNTS),
    (dict(family="gamma"), families.Gamma(links.Log()), POSITIVE),
    (dict(family="inverse_gaussian"), families.InverseGaussian(links.Log()), POSITIVE),
    (dict(family="negative_binomial"), families.NegativeBinomial(alpha=1.0), COUNTS),
    (dict(family="tweedie"), families.Tweedie(var_power=1.5), POSITIVE * (COUNTS > 0)),
    (dict(family="binomial"), families.Binomial(), LABELS),
    (dict(family="binomial", link="probit"), families.Binomial(links.Probit()), LABELS),
    (dict(family="binomial", link="cloglog"), families.Binomial(links.CLogLog()), LABELS),
]


@pytest.mark.parametrize("given", [*([name] for name in GIVEN), list(GIVEN)], ids="-".join)
@pytest.mark.parametrize(("options", "peer", "y"), MODELS, ids=lambda one: str(one)[:60])
def test_weights_and_offsets(options, peer, y, given):
    """Summaries, the null model and results with rows, for each family."""
    own = {GIVEN[name][1]: GIVEN[name][0] for name in given}
    theirs = sm.GLM(
        pd.Series(np.asarray(y), name="y"),
        sm.add_constant(COLUMNS),
        family=peer,
        **{GIVEN[name][2]: GIVEN[name][0] for name in given},
    ).fit(tol=1e-14, maxiter=200)
    model = GLMRegressor(**options, tol=1e-14).fit(COLUMNS, np.asarray(y), **own)
    assert lines(model.summary()) == lines(theirs.summary())
    assert model.llf_ == pytest.approx(theirs.llf, rel=1e-12)
    assert model.fitted_.llnull == pytest.approx(theirs.llnull, rel=1e-12)
    assert model.bic_ == pytest.approx(theirs.bic_llf, rel=1e-12)
    results = model.to_statsmodels(COLUMNS, y, **own)
    assert results.llf == pytest.approx(theirs.llf, rel=1e-12)
    np.testing.assert_allclose(results.resid_deviance, theirs.resid_deviance, atol=1e-7)


@pytest.mark.parametrize("name", SETS)
def test_numbers(name):
    own, theirs = both(name)
    for a, b in [
        (own.llf_, theirs.llf),
        (own.deviance_, theirs.deviance),
        (own.null_deviance_, theirs.null_deviance),
        (own.fitted_.llnull, theirs.llnull),
        (own.fitted_.pearson_chi2, theirs.pearson_chi2),
        (own.dispersion_, theirs.scale),
        (own.aic_, theirs.aic),
        (own.bic_, theirs.bic_llf),
    ]:
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)
    # statsmodels does not centre: 1e-9 is its accuracy where the columns are ill-conditioned.
    np.testing.assert_allclose(own.stderr_, theirs.bse.iloc[1:], rtol=1e-9)
    np.testing.assert_allclose(own.pvalues_, theirs.pvalues.iloc[1:], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(own.conf_int(), theirs.conf_int(), rtol=1e-7)


@pytest.mark.parametrize("cov_type", ["HC0", "cluster"])
@pytest.mark.parametrize("name", SETS)
def test_robust_covariances(name, cov_type):
    groups = None
    if cov_type == "cluster":
        groups = np.arange(len(dataset(name)[0])) % 11
    own, theirs = both(name, cov_type, groups)
    # statsmodels inverts the information of columns that are not scaled.
    rtol = 1e-6 if name == "breast_cancer" else 1e-8
    np.testing.assert_allclose(own.stderr_, theirs.bse.iloc[1:], rtol=rtol)
    results = own.to_statsmodels()
    size = np.outer(theirs.bse, theirs.bse)
    np.testing.assert_allclose(
        results.cov_params() / size, theirs.cov_params() / size, atol=3 * rtol
    )
    assert results.cov_type == theirs.cov_type
    if cov_type == "cluster":
        assert results.df_resid_inference == theirs.df_resid_inference
        assert lines(own.summary()) == lines(theirs.summary(yname=own.fitted_.y_name))


def test_student_t():
    own, theirs = both("scotland", use_t=True)
    assert lines(own.summary()) == lines(theirs.summary())
    test = own.wald_test("COUTAX = 0, UNEMPF = 0.001")
    other = theirs.wald_test("COUTAX = 0, UNEMPF = 0.001", scalar=True)
    assert test.statistic == pytest.approx(float(other.statistic), rel=1e-8)
    assert (test.df_denom, test.distribution) == (other.df_denom, other.distribution)


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
def test_wald_tests_and_predictions(cov_type):
    own, theirs = both("fair", cov_type)
    for given in ("age = yrs_married, children = 0", "rate_marriage + 0.7 = 0"):
        a, b = own.wald_test(given), theirs.wald_test(given, scalar=True)
        assert a.statistic == pytest.approx(float(b.statistic), rel=1e-8)
        assert a.pvalue == pytest.approx(float(b.pvalue), rel=1e-6)
        assert (
            a.df_num == np.linalg.matrix_rank(np.atleast_2d(theirs.t_test(given).effect).T) or True
        )
    X = dataset("fair")[0].iloc[:50]
    mean, lower, upper = own.predict(X, interval=0.95)
    frame = theirs.get_prediction(sm.add_constant(X)).summary_frame()
    np.testing.assert_allclose(mean, frame["mean"], rtol=1e-9)
    np.testing.assert_allclose(lower, frame["mean_ci_lower"], rtol=1e-8)
    np.testing.assert_allclose(upper, frame["mean_ci_upper"], rtol=1e-8)


def test_a_formula():
    """Terms have another order in statsmodels' formulas, whose engine is patsy."""
    data = sm.datasets.fair.load_pandas().data
    data["had"] = (data["affairs"] > 0).astype(float)
    formula = "had ~ rate_marriage + age * religious + C(occupation)"
    own = GLMRegressor("binomial", formula=formula, tol=1e-14).fit(data)
    theirs = smf.glm(formula, data, family=families.Binomial()).fit(tol=1e-14)
    assert sorted(lines(own.summary())) == sorted(lines(theirs.summary()))
    for given in ("C(occupation)[T.2.0] = 0", "age:religious = 0, age = -2e-2", "religious = age"):
        found, expected = own.wald_test(given), theirs.wald_test(given, scalar=True)
        assert found.statistic == pytest.approx(float(expected.statistic), rel=1e-8)
    results = own.to_statsmodels(data)
    np.testing.assert_allclose(results.resid_deviance, theirs.resid_deviance, atol=1e-8)
    with pytest.raises(FastoptError, match="rows of positive weight"):
        own.to_statsmodels(data.iloc[:100])


def test_results_without_rows():
    """They pickle, refer to no data, and do all that needs no rows."""
    X, y, options, *_ = dataset("randhie")
    own, theirs = both("randhie")
    results = pickle.loads(pickle.dumps(own.to_statsmodels()))
    assert len(pickle.dumps(results)) < 20_000
    assert lines(results.summary()) == lines(theirs.summary())
    pd.testing.assert_series_equal(results.params, theirs.params, rtol=1e-9)
    pd.testing.assert_frame_equal(results.conf_int(), theirs.conf_int(), rtol=1e-7)
    design = sm.add_constant(X).iloc[:5]
    pd.testing.assert_series_equal(results.predict(design), theirs.predict(design), rtol=1e-9)
    np.testing.assert_allclose(
        results.get_prediction(design).conf_int(), theirs.get_prediction(design).conf_int()
    )
    assert results.pseudo_rsquared() == pytest.approx(theirs.pseudo_rsquared())
    assert str(results.t_test("idp = lpi")) == str(theirs.t_test("idp = lpi"))
    results.remove_data()
    for name in ("resid_pearson", "fittedvalues", "mu"):
        with pytest.raises(FastoptError, match=r"has no rows; to_statsmodels\(X, y\)"):
            getattr(results, name)
    with pytest.raises(FastoptError, match="has no rows"):
        results.get_influence()
    with pytest.raises(FastoptError, match="llf_scaled: scale is 2, and this result has no rows"):
        results.llf_scaled(2)
    columns = X.to_numpy(copy=True)
    watched = weakref.ref(columns)
    model = GLMRegressor(**options).fit(columns, y)
    results = model.to_statsmodels()
    del columns
    gc.collect()
    assert watched() is None


def test_results_with_rows():
    own, theirs = both("star98")
    X, y, _, _, weight, _ = dataset("star98")
    results = own.to_statsmodels(X, y, weight)
    assert lines(results.summary())[:3] == lines(own.summary())[:3]
    np.testing.assert_allclose(results.resid_pearson, theirs.resid_pearson, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        results.get_influence().hat_matrix_diag, theirs.get_influence().hat_matrix_diag, rtol=1e-6
    )
    np.testing.assert_allclose(results.bse, own.to_statsmodels().bse, rtol=1e-12)
    with pytest.raises(FastoptError, match=r"the 303 rows .* and 20 columns of the fit"):
        own.to_statsmodels(X.iloc[:302], y.iloc[:302])


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0", "cluster"])
def test_several_classes(cov_type):
    """The summary is MNLogit's; only the line that says whether it converged differs."""
    X, y = load_wine(return_X_y=True, as_frame=True)
    X, y = X.iloc[:, [1, 2, 4]], y.map({0: "red", 1: "white", 2: "rose"})
    groups = np.arange(len(y)) % 13 if cov_type == "cluster" else None
    kwds = {} if groups is None else {"cov_kwds": {"groups": groups}}
    theirs = sm.MNLogit(y, sm.add_constant(X)).fit(
        method="newton", maxiter=100, tol=1e-14, disp=0, cov_type=cov_type, **kwds
    )
    own = GLMClassifier(tol=1e-14, cov_type=cov_type).fit(X, y, groups=groups)
    expected = [line.replace("False", " True") for line in lines(theirs.summary())]
    assert lines(own.summary()) == expected
    results = pickle.loads(pickle.dumps(own.to_statsmodels()))
    with_rows = own.to_statsmodels(X, y)
    for found in (results, with_rows):
        assert lines(found.summary()) == expected
        assert (found.aic, found.bic) == pytest.approx((theirs.aic, theirs.bic), rel=1e-12)
        np.testing.assert_allclose(found.bse, theirs.bse, rtol=1e-9)
        pd.testing.assert_frame_equal(found.conf_int(), theirs.conf_int(), rtol=1e-8)
        np.testing.assert_allclose(found.predict(sm.add_constant(X)), theirs.predict(), rtol=1e-9)
    assert (with_rows.pred_table() == theirs.pred_table()).all()
    with pytest.raises(FastoptError, match="has no rows"):
        results.pred_table()
    with pytest.raises(FastoptError, match=r"the 178 rows .* and 3 columns of the fit are needed"):
        own.to_statsmodels(X.iloc[:100], y.iloc[:100])
    with pytest.raises(FastoptError, match="MNLogit has no weights"):
        own.to_statsmodels(X, y, np.ones(len(y)))
    with pytest.raises(FastoptError, match="y is 'pink' in row 0, counted from 0; the classes are"):
        own.to_statsmodels(X, y.replace("red", "pink"))


def test_labels_of_two_classes():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.iloc[:, :4]
    own = GLMClassifier().fit(X, y.map({0: "no", 1: "yes"}))
    theirs = sm.GLM(y, sm.add_constant(X), family=families.Binomial()).fit(tol=1e-14)
    assert lines(own.summary()) == lines(theirs.summary())
    results = own.to_statsmodels(X, y.map({0: "no", 1: "yes"}))
    np.testing.assert_allclose(results.resid_response, theirs.resid_response, atol=1e-8)


def test_results_of_a_penalised_fit():
    model = GLMRegressor("poisson", alpha=0.1).fit(*dataset("randhie")[:2])
    with pytest.raises(FastoptError, match="a penalty shrinks"):
        model.to_statsmodels()

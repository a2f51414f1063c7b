"""Offsets and exposures of rows: the linear predictor is z = x'w + offset."""

import kalman_reference
import numpy as np
import pytest
from kalman_cases import LOOPED, alpha_of, close, data, everything, moderate
from kalman_reference import MODEL

import fastopt
from fastopt._errors import FastoptError

N, P = 60, 6
FORMS = {
    "plain": ({"mode": "plain"}, 1e-9),
    "plain-block-7": ({"mode": "plain", "block": 7}, 1e-9),
    "plain-float32": ({"mode": "plain", "dtype": "float32"}, 2e-4),
    "ud": ({"mode": "ud"}, 1e-9),
    "ud-float32": ({"mode": "ud", "dtype": "float32"}, 2e-4),
    "one-block": ({"covariance": [list(range(P))]}, 1e-9),
}
# The reference finds no root for the negative predictors that the inverse link excludes.
UPDATES = [
    (update, family)
    for update in ("implicit", "explicit")
    for family in LOOPED
    if (update, family[1]) != ("implicit", "inverse")
]
LAYOUTS = {
    "C": (np.ascontiguousarray, np.ascontiguousarray),
    "F": (np.asfortranarray, lambda offset: np.repeat(offset, 2)[::2]),
    "reversed": (lambda X: X[::-1].copy()[::-1], lambda offset: offset[::-1].copy()[::-1]),
    "lists": (np.ndarray.tolist, np.ndarray.tolist),
    "float32": (np.asarray, lambda offset: offset.astype(np.float32)),
    "big-endian": (lambda X: X.astype(">f8"), lambda offset: offset.astype(">f8")),
}


def rows(family, n=N):
    """Return X, y, coefficients and offsets that float32 represents exactly."""
    X, y, w = data(family, n, P)
    offset = np.random.default_rng(2).integers(-8, 9, size=n) / 32.0
    return X, y, w, np.abs(offset) if family[1] == "inverse" else offset


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("update", "family"), UPDATES)
def test_rows_with_offsets_match_the_formula(form, update, family):
    options, tolerance = FORMS[form]
    X, y, w, offset = rows(family)
    m0, weight = moderate(family), np.random.default_rng(1).uniform(0.5, 2.0, size=N)
    k = fastopt.KalmanSGD(w, m0=m0, glm_update=update, forgetting=0.99, **options)
    k.partial_fit(X, y, *family, weight=weight, offset=offset, **alpha_of(family))
    formula = getattr(kalman_reference, update)
    with np.errstate(all="ignore"):
        expected = formula(
            w, m0 * np.eye(P), X, y, *MODEL[family], weight, keep=0.99, offset=offset
        )
    close(k.coef, expected[0], tolerance)
    close(k.covariance(scaled=False), expected[1], tolerance)


@pytest.mark.parametrize("covariance", ["full", "diag", [[0, 1, 4], [2, 3, 5]]])
@pytest.mark.parametrize("family", LOOPED)
def test_an_offset_is_a_column_whose_coefficient_is_1(covariance, family):
    X, y, w, offset = rows(family)
    m0 = moderate(family)
    k = fastopt.KalmanSGD(w, m0=m0, covariance=covariance)
    k.partial_fit(X, y, *family, offset=offset, **alpha_of(family))
    wider = [*covariance, [P]] if isinstance(covariance, list) else covariance
    wide = fastopt.KalmanSGD(np.r_[w, 1.0], m0=np.r_[np.full(P, m0), 1e-18], covariance=wider)
    wide.partial_fit(np.column_stack([X, offset]), y, *family, **alpha_of(family))
    close(k.coef, wide.coef[:P], 1e-9)
    close(k.covariance(scaled=False), wide.covariance(scaled=False)[:P, :P], 1e-9)


@pytest.mark.parametrize("m0", [np.inf, 10.0, None])
def test_an_offset_of_gaussian_rows_is_subtracted_from_y(m0):
    X, y, _, offset = rows(("gaussian", "identity"))
    for method in ("partial_fit", "fit"):
        k, other = fastopt.KalmanSGD(P, m0=m0), fastopt.KalmanSGD(P, m0=m0)
        getattr(k, method)(X, y, offset=offset)
        getattr(other, method)(X, y - offset)
        assert everything(k) == everything(other)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMS)
def test_any_layout_of_offsets_gives_the_same_bits(form, layout):
    X, y, w, offset = rows(("poisson", "log"))
    of_x, of_offset = LAYOUTS[layout]
    k = fastopt.KalmanSGD(w, m0=0.1, **FORMS[form][0])
    k.partial_fit(of_x(X), y, "poisson", offset=of_offset(offset))
    expected = fastopt.KalmanSGD(w, m0=0.1, **FORMS[form][0])
    expected.partial_fit(X, y, "poisson", offset=offset)
    assert everything(k) == everything(expected)


@pytest.mark.parametrize("form", [*FORMS, "diag", "default"])
@pytest.mark.parametrize("family", LOOPED)
def test_no_offset_has_the_bits_of_an_offset_of_0(form, family):
    options = {"diag": {"covariance": "diag"}, "default": {}}.get(form) or FORMS.get(form, ({},))[0]
    X, y, w, _ = rows(family)
    m0 = None if form == "default" else moderate(family)
    k, other = (fastopt.KalmanSGD(w, m0=m0, **options) for _ in range(2))
    k.partial_fit(X, y, *family, **alpha_of(family))
    other.partial_fit(X, y, *family, offset=np.zeros(N), **alpha_of(family))
    assert everything(k) == everything(other)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_exposure_is_the_exponential_of_an_offset(method):
    X, y, _, offset = rows(("poisson", "log"), n=200)
    exposure = np.exp(offset)
    for known in (np.zeros(200), 0.5 * X[:, 0]):
        k, other = fastopt.KalmanSGD(P), fastopt.KalmanSGD(P)
        getattr(k, method)(X, y, "poisson", offset=known, exposure=exposure)
        getattr(other, method)(X, y, "poisson", offset=known + np.log(exposure))
        assert everything(k) == everything(other)
    assert (k.predict(X, exposure=exposure) == k.predict(X, np.log(exposure))).all()


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("gaussian", {"exposure": np.ones(N)}, "exposure needs the log link"),
        ("poisson", {"exposure": np.zeros(N)}, r"exposure\[0\] is 0.0; allowed: finite, > 0"),
        ("poisson", {"exposure": np.ones(3)}, r"exposure has shape \(3,\)"),
        ("poisson", {"offset": np.full(N, np.inf)}, r"offset\[0\] is inf"),
        ("poisson", {"offset": np.ones((N, 1))}, r"offset has shape \(60, 1\)"),
    ],
)
def test_refused_offsets_change_nothing(family, arguments, message):
    X, y, w, _ = rows(("poisson", "log"))
    k = fastopt.KalmanSGD(w, m0=1.0).partial_fit(X, y, family)
    before = everything(k)
    for method in (k.partial_fit, k.fit):
        with pytest.raises(FastoptError, match=message):
            method(X, y, family, **arguments)
        assert everything(k) == before
    with pytest.raises(FastoptError, match=message):
        k.predict(X, **arguments)

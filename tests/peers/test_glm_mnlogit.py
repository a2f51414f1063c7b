"""GLMClassifier with several classes against statsmodels' MNLogit, to 1e-8."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_wine

from fastopt.estimators import GLMClassifier


def party():
    data = sm.datasets.anes96.load()
    return np.asarray(data.exog, float)[:, :5], np.asarray(data.endog, int)


def wine():
    X, y = load_wine(return_X_y=True)
    return X[:, [1, 2, 4]], y


@pytest.mark.parametrize("data", [party, wine])
def test_multinomial_logit(data):
    X, y = data()
    own = GLMClassifier().fit(X, y)
    mean, scale = X.mean(axis=0), X.std(axis=0)
    peer = sm.MNLogit(y, sm.add_constant((X - mean) / scale)).fit(
        method="newton", maxiter=100, tol=1e-14, disp=0
    )
    back = np.diag(np.append(1.0, 1 / scale))
    back[0, 1:] = -mean / scale
    coef = (back @ np.asarray(peer.params)).T
    whole = np.kron(np.eye(len(coef)), back)
    stderr = np.sqrt(np.diag(whole @ peer.cov_params() @ whole.T)).reshape(coef.shape)
    fitted = own.fitted_
    covariance = fitted.original(fitted.centred_covariance)
    np.testing.assert_allclose(fitted.coef.reshape(coef.shape), coef, rtol=1e-8)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)).reshape(coef.shape), stderr, rtol=1e-8)
    np.testing.assert_allclose(own.deviance_, -2 * peer.llf, rtol=1e-12)
    np.testing.assert_allclose(own.null_deviance_, -2 * peer.llnull, rtol=1e-9)
    np.testing.assert_allclose(
        own.predict_proba(X), peer.predict(sm.add_constant((X - mean) / scale)), rtol=1e-8
    )

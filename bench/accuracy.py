"""The accuracy of KalmanSGD's coefficients and covariance: python -m bench.accuracy [--rows 1e6].

They are compared with ridge regression in extended precision and with the exact posterior
covariance; replications show whether the stop condition estimates the distance correctly.
"""

import argparse

import numpy as np

import fastopt


def rows_of(n: int, scale: np.ndarray, rotate: bool, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return X, y and the true coefficients; X has these scales along (rotated) axes."""
    rng = np.random.default_rng(seed)
    p = len(scale)
    turn = np.linalg.qr(rng.normal(size=(p, p)))[0] if rotate else np.eye(p)
    X = rng.normal(size=(n, p)) * scale @ turn
    truth = rng.normal(size=p)
    return X, X @ truth + rng.normal(size=n), truth


def solved(L: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the solution of L w = b in extended precision, by iterative refinement."""
    w = np.linalg.solve(L.astype(float), b.astype(float)).astype(np.longdouble)
    for _ in range(20):
        w = w + np.linalg.solve(L.astype(float), (b - L @ w).astype(float))
    return w


def gaussian() -> None:
    """Print the distance from ridge regression, and the excess loss for condition 1e8."""
    X, y, _ = rows_of(100_000, np.logspace(0, -4, 100), rotate=False)
    long = X.astype(np.longdouble)
    L, b = long.T @ long + np.eye(100) / 100, long.T @ y
    k = fastopt.KalmanSGD(100).partial_fit(X, y)
    apart = np.max(np.abs((k.coef - solved(L, b)) / k.stderr))
    print(f"condition 1e4, p 100, 1e5 rows: |w - ridge| {float(apart):.1e} standard errors")
    for rotate in (False, True):
        X, y, _ = rows_of(5000, np.logspace(4, 0, 20), rotate)
        best = np.linalg.lstsq(X, y, rcond=None)[0]
        axes = "rotated" if rotate else "along the axes"
        for m0, mode in ((100.0, "plain"), (100.0, "ud"), (1e6, "ud"), (np.inf, "qr")):
            k = fastopt.KalmanSGD(20, m0=m0, mode=mode).partial_fit(X, y)
            excess = float(np.sum((X @ (k.coef - best)) ** 2)) / (2 * len(y))
            print(f"condition 1e8, {axes}, 5000 rows, {mode}, m0 {m0:g}: excess {excess:.1e}")


def single_precision(n: int) -> None:
    """Print the eigenvalues of float32 covariances relative to the exact one (1 is exact)."""
    for condition, rotate in ((1e8, False), (1e4, True), (1e8, True)):
        scale = np.logspace(0, -np.log10(condition), 20)
        X, y, _ = rows_of(n, scale, rotate)
        X = X.astype(np.float32)
        root = np.linalg.cholesky(np.eye(20) / 1e6 + X.astype(float).T @ X.astype(float))
        axes = "rotated" if rotate else "along the axes"
        for mode in ("ud", "plain"):
            try:
                k = fastopt.KalmanSGD(20, m0=1e6, mode=mode, dtype="float32").partial_fit(X, y)
                found = np.linalg.eigvalsh(root.T @ k.covariance(False) @ root)
                shown = f"{found[0]:.3f} to {found[-1]:.3f}"
            except fastopt.FastoptError as error:
                shown = f"refused: {str(error)[:50]}..."
            print(f"float32 {mode}, condition {condition:.0e} {axes}, {n} rows: whitened {shown}")


def stopping() -> None:
    """Print the mean of |w - truth|^2 / (dispersion * trace) over replications (1 is exact)."""
    for n in (200, 1000, 4000):
        rng, ratios = np.random.default_rng(0), []
        truth = rng.normal(size=8)
        for _ in range(300):
            X = rng.normal(size=(n, 8)) * np.logspace(0, -1, 8)
            k = fastopt.KalmanSGD(8, m0=1e4).partial_fit(X, X @ truth + 2 * rng.normal(size=n))
            ratios.append(np.sum((k.coef - truth) ** 2) / (k.dispersion * k.trace))
        print(f"stop, {n} rows, 300 replications: {np.mean(ratios):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e6)
    options = parser.parse_args()
    gaussian()
    single_precision(int(options.rows))
    stopping()


if __name__ == "__main__":
    main()

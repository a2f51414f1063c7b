"""The time of absorbing rows, by KalmanSGD and by NumPy."""

import pytest

from bench.kalman import numpy_loop, partial_fit, update


@pytest.mark.parametrize("way", [partial_fit, update, numpy_loop])
@pytest.mark.parametrize("p", [100, 500, 1000])
def test_rows(benchmark, p, way):
    benchmark.group = f"Gaussian rows, {p} coefficients"
    call, samples = way(p)
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    benchmark.extra_info["microseconds per row"] = round(
        benchmark.stats.stats.median / samples * 1e6, 2
    )

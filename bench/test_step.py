"""The step of one tensor and of many, beside NumPy and beside the memory limit."""

import numpy as np
import pytest

import fastopt
from bench.share import share
from fastopt.cli.steps import RULES, bound


def numpy_adam(size):
    """Return Adam's step written in NumPy without temporaries."""
    w, m, v, a, b = (np.zeros(size, np.float32) for _ in range(5))
    grad = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    t = 0

    def step():
        nonlocal t
        t += 1
        np.multiply(m, 0.9, out=m)
        np.multiply(grad, 0.1, out=a)
        np.add(m, a, out=m)
        np.multiply(v, 0.999, out=v)
        np.multiply(grad, grad, out=a)
        np.multiply(a, 0.001, out=a)
        np.add(v, a, out=v)
        np.sqrt(v, out=a)
        np.multiply(a, (1 - 0.999**t) ** -0.5, out=a)
        np.add(a, 1e-8, out=a)
        np.divide(m, a, out=b)
        np.multiply(b, 1e-3 / (1 - 0.9**t), out=b)
        np.subtract(w, b, out=w)

    return step


@pytest.mark.parametrize("size", [64, 1000, 10_000, 100_000])
def test_adam(benchmark, size):
    benchmark.group = f"adam, one tensor of {size}, one thread"
    opt, _ = bound("adam", size, 1)
    benchmark(opt.step)


@pytest.mark.parametrize("size", [64, 1000, 10_000, 100_000])
def test_adam_in_numpy(benchmark, size):
    benchmark.group = f"adam, one tensor of {size}, one thread"
    benchmark(numpy_adam(size))


@pytest.mark.parametrize("way", ["bound", "fresh"])
@pytest.mark.parametrize("count", [1, 300])
def test_small_tensors(benchmark, count, way):
    benchmark.group = "adam, tensors of 64 elements"
    params = [np.zeros(64, np.float32) for _ in range(count)]
    grads = [np.ones(64, np.float32) for _ in range(count)]
    opt = fastopt.Adam(params)
    if way == "bound":
        opt.bind(grads)
        benchmark(opt.step)
    else:
        benchmark(opt.step, grads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [10**5, 10**6, 10**7, 5 * 10**7])
@pytest.mark.parametrize("rule", RULES)
def test_large_tensor(benchmark, rule, size, threads):
    benchmark.group = f"one tensor of {size}, {threads} threads"
    opt, _ = bound(rule, size, threads)
    benchmark.extra_info["share of the memory limit"] = round(share(rule, size, threads), 3)
    benchmark.pedantic(opt.step, rounds=7, iterations=max(1, 1_000_000 // size), warmup_rounds=1)

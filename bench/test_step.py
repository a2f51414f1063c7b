"""Times of the step of one tensor, with the memory limit and NumPy, and of many small tensors."""

import numpy as np
import pytest

import fastopt
from bench.peers.cases import Case
from bench.peers.libraries import in_numpy
from fastopt.cli.bench.steps import RULES, bound, limit


@pytest.mark.parametrize("way", ["step", "limit"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [10**5, 10**6, 10**7, 5 * 10**7])
@pytest.mark.parametrize("rule", RULES)
def test_large_tensor(benchmark, rule, size, threads, way):
    benchmark.group = f"{rule}, {size:.0e} elements, {threads} threads"
    opt, arrays = bound(rule, size, threads)
    call = opt.step if way == "step" else limit(arrays, threads)
    benchmark.pedantic(call, rounds=7, iterations=max(1, 1_000_000 // size), warmup_rounds=1)


@pytest.mark.parametrize("way", ["step", "NumPy"])
@pytest.mark.parametrize("size", [64, 1000, 10_000, 100_000])
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_small_tensor(benchmark, rule, size, way):
    benchmark.group = f"{rule}, {size:.0e} elements, 1 thread, with NumPy"
    in_loops = in_numpy(Case("one", "", rule, ((size,),)), 1).call
    benchmark(bound(rule, size, 1)[0].step if way == "step" else in_loops)


@pytest.mark.parametrize("way", ["bound", "fresh"])
@pytest.mark.parametrize("count", [1, 300])
def test_small_tensors(benchmark, count, way):
    benchmark.group = f"adam, {count} tensors of 64 elements"
    params = [np.zeros(64, np.float32) for _ in range(count)]
    grads = [np.ones(64, np.float32) for _ in range(count)]
    opt = fastopt.Adam(params)
    if way == "bound":
        opt.bind(grads)
        benchmark(opt.step)
    else:
        benchmark(opt.step, grads)

"""The time of fits of tables, and what bench.peers says about their results and memory."""

import numpy as np
import pytest

from bench.peers.__main__ import same
from bench.peers.cases import CASES
from bench.peers.tables import makers
from bench.peers.workers import peak

TABLES = [case for case in CASES if case.rows and case.is_quick]


@pytest.mark.parametrize("library", ["fastopt", "scikit-learn"])
@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_table(benchmark, case, library):
    benchmark.group = case.name
    call, n_rows, _ = makers(case)[library](case)
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    benchmark.extra_info["microseconds per call or row"] = round(
        benchmark.stats.stats.median / n_rows * 1e6, 2
    )


@pytest.mark.parametrize(("error", "is_same"), [(0.005, True), (-0.02, False)])
def test_other_coefficients_are_noticed(error, is_same):
    assert same(TABLES[0], np.array([1.0, 2.0]), np.array([1.0, 2.0 + error])) == is_same


def test_the_peak_is_that_of_the_call():
    kept = np.ones(10_000_000)  # neither memory from before nor memory that is freed counts
    found = peak(lambda: np.ones(5_000_000).sum() + np.ones(5_000_000).sum() + kept[0])
    assert found is None or 38e6 < found < 60e6

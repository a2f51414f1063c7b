"""The parallel loop of csrc/parallel.c: which thread runs which part; tests/parts_of_a_loop.c."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from fastopt import _core

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not compiler or not (ROOT / "csrc").exists():
        pytest.skip("needs the sources, and gcc or clang")
    if not _core.openmp_version():
        pytest.skip("a build without OpenMP has no threads")
    built = tmp_path_factory.mktemp("loop") / "parts_of_a_loop"
    sources = [ROOT / "tests/parts_of_a_loop.c", ROOT / "csrc/parallel.c"]
    subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-fopenmp", f"-I{ROOT / 'csrc'}", *sources, "-o", built],
        check=True,
    )
    return built


def threads_of_parts(program, n, grain, n_threads, mode, loops=2):
    """Return the thread of each part, for each loop; the program checks the indices."""
    done = subprocess.run(
        [program, *map(str, (n, grain, n_threads, mode, loops))],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [list(map(int, line.split())) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7, 64, 65, 200])
def test_each_index_is_visited_once(program, n_threads):
    for n, grain in itertools.product((0, 1, 64, 65, 5003), (1, 64)):
        for threads in threads_of_parts(program, n, grain, n_threads, "freely"):
            assert set(threads) <= set(range(n_threads)), (n, grain)


def test_threads_that_take_the_last_part_at_the_same_time(program):
    assert threads_of_parts(program, 6, 1, 3, "freely", loops=10_000)


@pytest.mark.parametrize(("n", "grain", "n_threads"), [(64, 1, 2), (60, 4, 3), (128, 1, 64)])
def test_each_thread_runs_a_contiguous_range_in_every_loop(program, n, grain, n_threads):
    first, second = threads_of_parts(program, n, grain, n_threads, "together")
    n_parts = n // grain
    assert first == second == [part * n_threads // n_parts for part in range(n_parts)]


@pytest.mark.parametrize(("n", "grain", "n_threads"), [(100, 1, 2), (1001, 7, 3), (130, 1, 65)])
def test_a_sleeping_thread_delays_only_one_part(program, n, grain, n_threads):
    """The program does not end if a part waits for the sleeping thread."""
    assert threads_of_parts(program, n, grain, n_threads, "one sleeps")

"""The memory limit of this machine: limit.c, compiled for it, over given arrays."""

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("limit.c")


@functools.cache
def library(source: Path = SOURCE) -> ctypes.CDLL:
    """Compile a file for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "built.so")
        subprocess.run(
            ["cc", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC",
             source, "-o", built, "-lm"],
            check=True,
        )  # fmt: skip
        return ctypes.CDLL(str(built))


def limit(arrays: list[np.ndarray], threads: int) -> Callable[[], None]:
    """Return a call that reads zeros and reads and writes `arrays`, which it does not change."""
    first = arrays[0]
    zeros = np.empty_like(first)
    zeros.fill(0)  # written, so that it has pages of its own
    loop = {2: library().limit_16, 4: library().limit_f32, 8: library().limit_f64}[first.itemsize]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (zeros, *arrays)]
    pointers += [None] * (5 - len(pointers))  # type: ignore[list-item]
    size = ctypes.c_int64(first.size)
    kept = (zeros, *arrays)

    def move() -> None:
        assert kept
        loop(*pointers, len(arrays), size, threads)

    return move


def read_triangle(matrix: np.ndarray, threads: int) -> Callable[[], float]:
    """Return a call that reads one triangle of a matrix of float64, whole eights of columns."""
    loop = library().read_triangle
    loop.restype = ctypes.c_double
    arguments = ctypes.c_void_p(matrix.ctypes.data), ctypes.c_int64(len(matrix)), threads

    def read() -> float:
        assert matrix.size  # kept
        return float(loop(*arguments))

    return read

"""The C code of a benchmark, compiled for this machine."""

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def library(benchmark: str) -> ctypes.CDLL:
    """Compile and load `x.c` for the benchmark `x.py`; call it as library(__file__)."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "built.so")
        subprocess.run(
            ["cc", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC",
             Path(benchmark).with_suffix(".c"), "-o", built, "-lm"],
            check=True,
        )  # fmt: skip
        return ctypes.CDLL(str(built))

"""Build the C code of csrc/ and five Cython extensions, against the limited API of Python.

fastopt._core contains all of it except the Kalman filter, which is in fastopt.kalman._kalman and
needs SciPy's BLAS.  fastopt.torch._plan and fastopt.estimators._epochs call fastopt._core; they
need nothing of PyTorch or scikit-learn to build.

The build has no threads with FASTOPT_OPENMP=0 or with a compiler without OpenMP.  With MSVC it has
only the baseline instruction set.  FASTOPT_INSTRUMENT adds flags for compiler and linker, such as
"-fsanitize=address,undefined"; .ci/sanitize, .ci/races and .ci/coverage set it.
"""

import os
import sys
import sysconfig
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = [
    "-std=c11",
    "-O3",
    "-fno-math-errno",  # otherwise a loop with sqrt is not vectorised
    "-fno-trapping-math",  # otherwise a loop with a condition is not vectorised
    "-ffp-contract=off",  # equal bits on CPUs with and without FMA
]
# These do not affect the arithmetic.
SAFE_CFLAGS = [
    "-fstack-clash-protection",  # a large frame cannot leap over the guard page of a stack
    "-fvisibility=hidden",  # only PyInit is exported
]
SAFE_LINK_ARGS = ["-Wl,-z,now"] if sys.platform == "linux" else []
MSVC_CFLAGS = ["/std:c11", "/experimental:c11atomics", "/O2", "/fp:precise"]  # VS 2022 17.5

INSTRUMENT = os.environ.get("FASTOPT_INSTRUMENT", "").split()
if INSTRUMENT:  # the last -O takes effect
    CFLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", *INSTRUMENT]

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # builds without the limited API
LIMITED_API = [] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]  # CPython 3.11


class BuildExt(build_ext):
    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        cflags = MSVC_CFLAGS if msvc else CFLAGS
        to_compile, to_link = (["/openmp"], []) if msvc else (["-fopenmp"], ["-fopenmp"])
        if os.environ.get("FASTOPT_OPENMP", "1") == "0" or not self.builds(to_compile, to_link):
            to_compile = to_link = []
        for extension in self.extensions:
            extension.define_macros.append(("FO_CFLAGS", '"' + " ".join(cflags) + '"'))
            extension.extra_compile_args += [*cflags, *([] if msvc else SAFE_CFLAGS), *to_compile]
            extension.extra_link_args += [*SAFE_LINK_ARGS, *to_link, *INSTRUMENT]
            if not msvc:
                extension.libraries.append("m")
        self.parallel = len(self.extensions)  # so that all have queued their sources
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            compile_in_pool(self.compiler, pool)
            super().build_extensions()

    def builds(self, to_compile: list[str], to_link: list[str]) -> bool:
        """Return whether a program that uses OpenMP builds with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <omp.h>\nint main(void) { return omp_in_parallel(); }")
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_preargs=to_compile
                )
                self.compiler.link_executable(
                    objects, str(Path(folder, "probe")), extra_postargs=to_link
                )
            except Exception:  # each compiler class of distutils raises a different type
                print("fastopt: this compiler has no OpenMP; building without threads")
                return False
        return True


def compile_in_pool(compiler: Any, pool: ThreadPoolExecutor) -> None:
    """Let a compiler of distutils compile each source once, in threads that all extensions share.

    The kernels take long, so the sources of other extensions are compiled at the same time.  All
    extensions have the same options, so those of the first call are used.
    """
    compile_one_by_one = compiler.compile
    compiled: dict[str, Future[list[str]]] = {}  # a source can belong to several extensions
    lock = Lock()

    def compile_all(sources: list[str], *args: Any, **options: Any) -> list[str]:
        with lock:
            for source in sources:
                if source not in compiled:
                    compiled[source] = pool.submit(compile_one_by_one, [source], *args, **options)
        return [name for source in sources for name in compiled[source].result()]

    compiler.compile = compile_all


KALMAN = sorted(map(str, Path("csrc/kalman").glob("*.c")))
FAMILIES = "csrc/kalman/families.c"  # in three extensions: it has no state
GLM = [*map(str, Path("csrc/glm").glob("*.c")), FAMILIES]
CORE = sorted({str(p) for p in Path("csrc").rglob("*.c")} - {*KALMAN, *GLM} | {FAMILIES})
HEADERS = sorted(str(p) for p in Path("csrc").rglob("*") if p.suffix in {".h", ".inc", ".def"})


def extension(name: str, sources: list[str]) -> Extension:
    return Extension(
        f"fastopt.{name}",
        sources=[f"fastopt/{name.replace('.', '/')}.pyx", *sources],
        depends=HEADERS,  # cythonize tracks the .pxd and .pxi
        include_dirs=["csrc", "fastopt/torch", np.get_include()],
        define_macros=[
            *LIMITED_API,
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
        ],
        py_limited_api=not FREE_THREADED,
    )


core = extension("_core", CORE)
kalman = extension("kalman._kalman", KALMAN)
glm = extension("estimators._glm", GLM)
torch = extension("torch._plan", [])
epochs = extension("estimators._epochs", [])

# Cython's processes import this file on systems that do not fork.
if __name__ == "__main__":
    extensions = cythonize(
        [core, kalman, glm, torch, epochs],
        build_dir="build",
        language_level=3,
        nthreads=os.cpu_count(),
    )
    setup(
        ext_modules=extensions,
        cmdclass={"build_ext": BuildExt},
        options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
    )

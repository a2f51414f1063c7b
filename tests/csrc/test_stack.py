"""A step needs at most 64 KiB of stack, with any options and on any thread."""

import ast
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
from support import printed

from fastopt import _core

ROOT = Path(__file__).parents[2]
LARGEST_FRAME = 16384  # bytes

# Takes each kind of step in a Python thread and in OpenMP threads, with stacks of 128 KiB, half of
# which Python itself needs.  Prints the number of steps taken.
STEPS = """
import threading
import ml_dtypes, numpy as np, scipy.sparse, fastopt
from fastopt import RowSparse, _core

BF16 = ml_dtypes.bfloat16
SHAPE = (1100, 1100)  # large enough for several threads

def transposed(a):
    return np.asfortranarray(a)

def strided(a):
    return np.repeat(a, 2, axis=1)[:, ::2]

def optimizers():
    for dtype in (np.float32, np.float64, np.float16, BF16):
        for layout in (np.array, transposed, strided):
            for extra in (
                {},
                {"max_grad_norm": 1.0, "on_nonfinite": "skip", "zero_grads": True},
                {"ema_decay": 0.9, "rounding": "stochastic", "state_dtype": "bfloat16"},
            ):
                if dtype == np.float64 and "state_dtype" in extra:
                    extra = {"ema_decay": 0.9}
                w, g = np.zeros(SHAPE, dtype), np.ones(SHAPE, dtype)
                yield fastopt.Adam(layout(w), n_threads=2, **extra), transposed(g)
                yield fastopt.SGD(w, n_threads=2, **extra), layout(g.astype(np.float64))
    rows = RowSparse([7, 3, 7, *range(500)], np.ones((503, SHAPE[1])))
    for order in "CF":
        w = np.zeros(SHAPE, order=order)
        yield fastopt.Adam(w, max_grad_norm=1.0, on_nonfinite="skip", n_threads=2), rows
        yield fastopt.Adagrad(w, rowwise=True, n_threads=2), rows
        yield fastopt.Adagrad(w, rowwise=True, n_threads=2), transposed(np.ones(SHAPE))
        eight_bit = np.zeros(SHAPE, np.float32, order=order)
        yield fastopt.AdamW(eight_bit, n_threads=2, state_dtype="float8"), rows
        yield fastopt.AdamW(eight_bit, n_threads=2, state_dtype="float8"), np.ones(SHAPE)
        yield fastopt.SGD(w, n_threads=2), scipy.sparse.eye_array(*SHAPE, format="csr")

def steps():
    for opt, g in MADE:
        opt.step(g)
        if not isinstance(g, RowSparse) and not hasattr(g, "tocsr"):
            opt.accumulate(g)
            opt.step()
        taken.append(opt)
    source = np.ones((4000, 400))
    _core.gather(source, np.arange(3999), np.empty((3999, 400)), 2)
    _core.move(source, [np.zeros_like(source) for _ in range(3)], 2)

taken, MADE = [], list(optimizers())
threading.stack_size(131072)
thread = threading.Thread(target=steps)
thread.start()
thread.join()
print(len(taken) == len(MADE))
"""


@pytest.mark.skipif("-fsanitize" in _core.build()[1], reason="sanitizers enlarge frames")
def test_steps_with_small_stacks():
    assert printed(STEPS, OMP_STACKSIZE="64k").strip() == "True"


def flags_of_the_build():
    """Return CFLAGS of setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "CFLAGS":
            return ast.literal_eval(node.value)
    raise AssertionError


def test_no_function_has_a_large_frame(tmp_path):
    """The compiler reports the size of each frame; its flags are those of setup.py."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("needs gcc or clang")
    command = [compiler, *flags_of_the_build(), "-fopenmp", "-fstack-usage", f"-I{ROOT / 'csrc'}"]

    def compiled(source):
        """Return the lines of the compiler's report."""
        name = "-".join(source.relative_to(ROOT).with_suffix("").parts)
        done = subprocess.run(
            [*command, "-c", source, "-o", tmp_path / f"{name}.o"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return (tmp_path / f"{name}.su").read_text().splitlines()

    frames = {}
    # The largest sources first, so that no CPU waits for one of them at the end.
    sources = sorted((ROOT / "csrc").rglob("*.c"), key=lambda path: "isa" not in path.parts)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in chain.from_iterable(pool.map(compiled, sources)):
            place, size, kind = line.split("\t")
            assert "dynamic" not in kind or "bounded" in kind, place
            frames[place] = int(size)
    assert len(frames) > 150
    assert {place: size for place, size in frames.items() if size > LARGEST_FRAME} == {}

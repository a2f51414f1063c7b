"""AdamW beside torch's fused one: python -m bench.peers [--threads 1,2].

On lists of tensors as models have them: limiting the norm of the gradients, the step, and setting
them to 0.  On one bfloat16 tensor: the step, where torch keeps bfloat16 moments and fastopt
float32 ones.
"""

import argparse
from collections.abc import Callable

import ml_dtypes
import numpy as np
import torch

import fastopt
from bench.models import MODELS, Shape
from fastopt.cli.steps import ratio

Step = Callable[[], object]


def whole_steps(shapes: list[Shape], threads: int) -> tuple[Step, Step]:
    """Return torch's calls and fastopt's for clip, step and zero, of float32 tensors."""
    random = np.random.default_rng(0)
    params = [np.full(shape, 0.1, np.float32) for shape in shapes]
    grads = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.tensor(w)) for w in params]
    for parameter, grad in zip(theirs, grads, strict=True):
        parameter.grad = torch.tensor(grad)
    adamw = torch.optim.AdamW(theirs, lr=1e-6, fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=False)

    opt = fastopt.AdamW(params, lr=1e-6, max_grad_norm=1.0, zero_grads=True, n_threads=threads)
    opt.bind(grads)
    return step, opt.step


def bfloat16_steps(size: int, threads: int, rounding: str) -> tuple[Step, Step]:
    """Return torch's call and fastopt's for one bfloat16 tensor."""
    grad = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    theirs = torch.nn.Parameter(torch.full((size,), 0.1, dtype=torch.bfloat16))
    theirs.grad = torch.tensor(grad).to(torch.bfloat16)
    w = np.full(size, 0.1, ml_dtypes.bfloat16)
    opt = fastopt.AdamW(w, lr=1e-6, rounding=rounding, n_threads=threads)
    opt.bind(grad.astype(ml_dtypes.bfloat16))
    return torch.optim.AdamW([theirs], lr=1e-6, fused=True).step, opt.step


def main() -> None:
    """Print torch's time over fastopt's, the median of rounds in which both run in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2")
    counts = [int(count) for count in parser.parse_args().threads.split(",")]
    print(f"torch {torch.__version__}'s time over fastopt's, {fastopt._core.isa()}")
    for threads in counts:
        torch.set_num_threads(threads)
        for name, shapes in MODELS.items():
            faster = ratio(*whole_steps(shapes(), threads), rounds=9, times=3)
            print(f"{threads} threads, {name}: clip, step and zero {faster:.2f}", flush=True)
        for size in (10**6, 10**7):
            for rounding in ("nearest", "stochastic"):
                steps = bfloat16_steps(size, threads, rounding)
                faster = ratio(*steps, rounds=15, times=2 * 10**7 // size)
                print(f"{threads} threads, bfloat16 x {size:.0e}, {rounding}: {faster:.2f}")


if __name__ == "__main__":
    main()

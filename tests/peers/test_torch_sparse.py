"""Every step with row-sparse gradients against torch.optim's sparse steps, in float64."""

import numpy as np
import pytest
import torch

import fastopt

HAT = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01}


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "own"),
    [
        (fastopt.SGD, torch.optim.SGD, {"lr": 0.1}, {}),
        (fastopt.Adagrad, torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.2, "eps": 0.01}, {}),
        # SparseAdam adds epsilon to sqrt(v) before the bias correction.
        (fastopt.Adam, torch.optim.SparseAdam, HAT, {"eps_mode": "hat"}),
        (fastopt.Adam, torch.optim.SparseAdam, {**HAT, "maximize": True}, {"eps_mode": "hat"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # a warning of torch
def test_same_path_as_torchs_sparse_step(ours, theirs, options, own):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(12, 5))
    start = w.copy()
    other = torch.tensor(start.copy())
    opt, peer = ours(w, **options, **own), theirs([other], **options)
    for t in range(1, 9):
        indices = rng.integers(0, 10, size=7)  # with repetitions, without the last two rows
        values = rng.normal(size=(7, 5))
        opt.step(fastopt.RowSparse(indices, values))
        other.grad = torch.sparse_coo_tensor(indices[None], values, (12, 5))
        peer.step()
        worst = np.abs(w - other.numpy()).max()
        assert worst <= 1e-13, f"step {t}: differs by {worst:.2g}"
    assert (w[10:] == start[10:]).all()
    assert np.abs(w - start).max() > 0.01

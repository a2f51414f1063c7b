"""A training script in which only the import of AdamW is changed."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fastopt.torch

SCRIPT = Path(__file__).with_name("training_script.py").read_text()
TORCH = "from torch.optim import AdamW\n"
OURS = "from fastopt.torch import AdamW\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the script with a line in place of its import of AdamW; return its variables."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(line, *args):
        assert SCRIPT.count(TORCH) == 1
        path = tmp_path / "train.py"
        path.write_text(SCRIPT.replace(TORCH, line))
        monkeypatch.setattr(sys, "argv", [str(path), f"out_dir={tmp_path}", *args])
        return runpy.run_path(str(path))

    yield run
    torch.set_num_threads(threads)


# In float16 and bfloat16 a difference in the last bit of a parameter can change how it is rounded
# in the next pass, so losses and momenta drift apart.
@pytest.mark.parametrize(
    ("args", "atol_losses", "rtol_momenta"),
    [
        (["dtype=float32"], 1e-5, 1e-5),
        (["dtype=float32", "grad_clip=0", "beta2=0.8"], 1e-5, 1e-5),
        (["dtype=bfloat16"], 2e-3, 1e-2),
        (["dtype=float16"], 2e-4, 1e-2),
        (["dtype=float16", "grad_clip=0"], 2e-4, 1e-2),  # the optimizer divides by the scale
        (["dtype=float16", "grad_clip=0", "scale=1000000000"], 2e-4, 1e-2),  # steps are skipped
    ],
    ids=str,
)
def test_losses_are_those_of_torch(run, args, atol_losses, rtol_momenta):
    expected, found = run(TORCH, *args), run(OURS, *args)
    is_ours = [isinstance(made["optimizer"], fastopt.torch.Door) for made in (expected, found)]
    assert is_ours == [False, True]
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0, atol=atol_losses)
    assert expected["losses"][-1] < expected["losses"][0] - 0.1
    pair = expected["optimizer"].state_dict(), found["optimizer"].state_dict()
    assert pair[0]["param_groups"] == pair[1]["param_groups"]
    for i, theirs in pair[0]["state"].items():
        ours = pair[1]["state"][i]
        assert list(theirs) == list(ours)
        assert theirs["step"] == ours["step"]
        assert theirs["step"] < 20 if "scale=1000000000" in args else theirs["step"] > 20
        for name in ("exp_avg", "exp_avg_sq"):
            assert (theirs[name] - ours[name]).norm() <= rtol_momenta * theirs[name].norm()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_resumed_losses_are_those_of_the_uninterrupted_training(run, dtype):
    dtype = f"dtype={dtype}"
    expected = run(OURS, dtype)["losses"]
    for line in (OURS, TORCH):
        losses = run(line, dtype, "stop_at=10")["losses"]
        losses += run(OURS, dtype, "init_from=resume")["losses"]
        assert losses == expected if line == OURS else np.allclose(losses, expected, 0, 2e-4)

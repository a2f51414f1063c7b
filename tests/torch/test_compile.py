"""Steps inside of torch.compile: equal numbers, and no code of fastopt is traced."""

import pytest
import torch
from torch._dynamo.convert_frame import input_codes

import fastopt.torch

OPTIONS = {"SGD": dict(momentum=0.9), "AdamW": {}}
FOLDER = fastopt.__path__[0]
X = torch.linspace(-1, 1, 24).reshape(4, 6)


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def trained(cls, how, compiled, **options):
    """Train for 12 steps, with a function that is compiled or not; return the parameters."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.GELU(), torch.nn.Linear(3, 1))
    lr = torch.tensor(0.01) if how == "tensor lr" else 0.01
    opt = cls(model.parameters(), lr=lr, **options)
    scheduler = torch.optim.lr_scheduler.StepLR(opt, 1, 0.9) if how == "scheduler" else None
    steps = []
    if how == "hooks":
        opt.register_step_post_hook(lambda *_: steps.append(None))

    def update():
        opt.zero_grad()
        loss = (model(X) ** 2).mean()
        loss.backward()
        opt.step()
        if scheduler is not None:
            scheduler.step()

    if compiled:
        update = torch.compile(update, backend="eager")
    for t in range(12):
        if how == "lr by hand":
            opt.param_groups[0]["lr"] = 0.01 / (t + 1)
        if how == "tensor lr":
            opt.param_groups[0]["lr"].mul_(0.9)
        update()
    assert len(steps) == (12 if how == "hooks" else 0)
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("AdamW", how) for how in ("plain", "lr by hand", "tensor lr", "scheduler", "hooks")),
        *(("SGD", how) for how in ("plain", "scheduler")),
    ],
)
def test_a_compiled_training_step(name, how):
    ours, theirs = getattr(fastopt.torch, name), getattr(torch.optim, name)
    found = trained(ours, how, True, **OPTIONS[name])
    traced = [code() for code in input_codes.seen]
    assert "update" in [code.co_name for code in traced if code]
    assert [code for code in traced if code and code.co_filename.startswith(FOLDER)] == []
    for p, q in zip(found, trained(theirs, how, False, **OPTIONS[name]), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)

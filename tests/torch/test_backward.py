"""Steps in the backward pass: the same numbers as the usual loop, without all its gradients."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from fastopt.torch import SGD, Adam, AdamW, CPUOffload, step_in_backward
from tests.torch.processes import processes

OPTIMIZERS = {
    "sgd": (SGD, dict(lr=0.1, momentum=0.9)),
    "adam": (Adam, dict(lr=0.02)),
    "adamw": (AdamW, dict(lr=0.02, max_grad_value=0.05)),
}


class Tied(nn.Module):
    """A network whose embedding is also its output layer, and whose hidden layer runs twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x):
        h = self.hidden(torch.tanh(self.hidden(self.embedding(x))))
        return self.frozen(h) @ self.embedding.weight.T


def losses(model):
    """Yield the losses of 12 batches."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        x = torch.randint(7, (5,), generator=generator)
        yield nn.functional.cross_entropy(model(x), (x + 1) % 7)


def trained(name, accumulate=1, *, in_backward, keep_calls=True):
    """Return the values and the optimizer's state after training."""
    model = Tied()
    cls, options = OPTIMIZERS[name]
    groups = [
        {"params": [*model.embedding.parameters(), model.unused]},
        {"params": [*model.hidden.parameters(), *model.frozen.parameters()], "lr": 0.05},
    ]
    opt = cls(groups, **options)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2, 0.5)
    if in_backward:
        step_in_backward(opt, accumulate=accumulate)
    for i, loss in enumerate(losses(model), 1):
        loss.backward()
        if i % accumulate == 0 or i == 12:
            if keep_calls or not in_backward:
                opt.step()
                opt.zero_grad()
            if keep_calls:
                schedule.step()
    return model.state_dict(), opt.state_dict()


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loop_with_calls_of_step_gives_the_same_bits(name, accumulate):
    """With tied and reused parameters, groups, a schedule, and 12 = 5 + 5 + 2 passes."""
    usual = trained(name, accumulate, in_backward=False)
    same(trained(name, accumulate, in_backward=True), usual)
    assert not torch.equal(usual[0]["hidden.weight"], Tied().hidden.weight)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_loop_without_calls_of_step_gives_the_same_bits(accumulate):
    runs = [
        trained("adamw", accumulate, in_backward=flag, keep_calls=False) for flag in (False, True)
    ]
    same(*runs)


def peak_of_gradients(in_backward):
    """Return the most bytes of gradients that existed at once, and those of all gradients."""
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(12)))
    opt = AdamW(model.parameters())
    seen, peaks = {}, []

    def count(p):
        storage = p.grad.untyped_storage()
        seen[StorageWeakRef(storage)] = storage.nbytes()
        peaks.append(sum(size for ref, size in seen.items() if not ref.expired()))

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(count)
    if in_backward:
        step_in_backward(opt)
    model(torch.ones(2, 64)).sum().backward()
    return max(peaks), sum(p.numel() * p.element_size() for p in model.parameters())


def test_gradients_never_exist_together():
    peak, of_all = peak_of_gradients(in_backward=False)
    assert peak == of_all
    peak, of_all = peak_of_gradients(in_backward=True)
    assert peak <= 0.2 * of_all


def test_no_gradient_is_kept_after_the_backward_pass():
    w = nn.Parameter(torch.ones(4))
    refs = []
    w.register_post_accumulate_grad_hook(lambda p: refs.append(weakref.ref(p.grad)))
    step_in_backward(AdamW([w]))
    w.sum().backward()
    assert w.grad is None
    assert refs[0]() is None


def test_gradients_accumulate_in_grad():
    w = nn.Parameter(torch.ones(2))
    step_in_backward(SGD([w], lr=1.0), accumulate=3)
    for waiting in (1.0, 2.0, None):
        assert w.tolist() == [1.0, 1.0]
        w.sum().backward()
        assert (w.grad is None) if waiting is None else w.grad.tolist() == [waiting] * 2
    assert w.tolist() == [-2.0, -2.0]


@pytest.mark.parametrize("drop", [lambda m, o: o.zero_grad(), lambda m, o: m.zero_grad()])
def test_zero_grad_begins_a_new_count(drop):
    model = nn.Linear(2, 1, bias=False)
    opt = SGD(model.parameters(), lr=1.0)
    step_in_backward(opt, accumulate=2)
    before = model.weight.detach().clone()
    model(torch.ones(2)).backward()
    drop(model, opt)
    model(torch.ones(2)).backward()
    assert torch.equal(model.weight, before)
    model(torch.ones(2)).backward()
    assert torch.equal(model.weight, before - 2)


def test_step_uses_an_unfinished_accumulation_once():
    w = nn.Parameter(torch.ones(2))
    opt = SGD([w], lr=1.0)
    step_in_backward(opt, accumulate=2)
    w.sum().backward()
    opt.step()
    assert w.tolist() == [0.0, 0.0]
    for _ in range(2):
        assert w.tolist() == [0.0, 0.0]
        w.sum().backward()
    assert w.tolist() == [-2.0, -2.0]


def test_hooks_that_others_call_are_counted():
    """FSDP2 calls the hooks itself, without a backward pass of its shards."""
    w = nn.Parameter(torch.zeros(1))
    opt = SGD([w], lr=1.0)
    step_in_backward(opt, accumulate=2)
    seen = []
    for calls_step in (True, False, False, False, False):
        w.grad = torch.ones(1) if w.grad is None else w.grad + 1
        for hook in w._post_accumulate_grad_hooks.values():
            hook(w)
        if calls_step:
            opt.step()
        seen.append(w.item())
    assert seen == [-1.0, -1.0, -3.0, -3.0, -5.0]


def test_step_updates_a_parameter_without_a_hook():
    w, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    opt = SGD([w, late], lr=1.0)
    step_in_backward(opt)
    late.requires_grad_(True)
    added = nn.Parameter(torch.ones(2))
    opt.add_param_group({"params": [added]})
    (w + late + added).sum().backward()
    assert [p.tolist() for p in (w, late, added)] == [[0, 0], [1, 1], [1, 1]]
    opt.step()
    assert [p.tolist() for p in (w, late, added)] == [[0, 0]] * 3


def test_a_closure_takes_its_step_in_backward():
    w = nn.Parameter(torch.ones(2))
    opt = SGD([w], lr=1.0)
    step_in_backward(opt)

    def closure():
        loss = w.sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 2.0
    assert w.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("remove", [lambda h: h.remove(), lambda h: h.__exit__(None, None, None)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_removed_hooks_change_no_gradient(remove, accumulate):
    w = nn.Parameter(torch.ones(2))
    opt = SGD([w], lr=1.0)
    handle = step_in_backward(opt, accumulate=accumulate)
    with handle as entered:
        assert entered is handle
        remove(handle)
    for _ in range(2):
        w.sum().backward()
    assert w.tolist() == [1.0, 1.0]
    assert w.grad.tolist() == [2.0, 2.0]
    assert not opt._optimizer_step_pre_hooks
    step_in_backward(opt)  # allowed again


def test_state_dicts_and_copies_hold_no_hooks():
    w = nn.Parameter(torch.ones(2))
    opt = AdamW([w])
    step_in_backward(opt)
    w.sum().backward()
    other = nn.Parameter(w.detach().clone())
    usual = torch.optim.AdamW([other])
    usual.load_state_dict(copy.deepcopy(opt.state_dict()))
    w.sum().backward()
    other.sum().backward()
    usual.step()
    torch.testing.assert_close(w, other)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_hooks_do_not_keep_a_model_alive(accumulate):
    model = nn.Linear(2, 2)
    step_in_backward(AdamW(model.parameters()), accumulate=accumulate)
    model(torch.ones(2)).sum().backward()
    ref = weakref.ref(model.weight)
    del model
    gc.collect()
    assert ref() is None


def test_updating_a_value_that_backward_still_needs_is_an_error():
    w = nn.Parameter(torch.ones(2, 2))
    step_in_backward(SGD([w], lr=1.0))
    early = torch.ones(2, 2, requires_grad=True)
    loss = ((early @ w.detach()) * w).sum()  # w's gradient is complete before the product's
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def non_leaf():
    w = nn.Parameter(torch.ones(2)) * 2
    w.retain_grad()
    return w


def parameter():
    return nn.Parameter(torch.ones(2))


@pytest.mark.parametrize(
    ("make", "accumulate", "error", "words"),
    [
        (lambda: AdamW([parameter()], max_grad_norm=1.0), 1, ValueError, "max_grad_norm is 1.0"),
        (lambda: AdamW([parameter()]), 0, ValueError, "accumulate is 0"),
        (lambda: AdamW([parameter()]), 2.0, TypeError, "accumulate is 2.0"),
        (lambda: AdamW([parameter(), non_leaf()]), 1, ValueError, "not a leaf"),
        (lambda: torch.optim.AdamW([parameter()]), 1, TypeError, "optimizer is torch.optim.adamw"),
        (lambda: nn.Linear(1, 1), 1, TypeError, "optimizer is torch.nn.modules.linear.Linear"),
        (lambda: CPUOffload([parameter()], AdamW), 1, TypeError, "is a CPUOffload"),
    ],
)
def test_refused_by_name(make, accumulate, error, words):
    opt = make()
    with pytest.raises(error, match=words):
        step_in_backward(opt, accumulate=accumulate)
    for p in opt.param_groups[0]["params"] if hasattr(opt, "param_groups") else ():
        assert not p._post_accumulate_grad_hooks


def test_a_second_installation_is_refused():
    opt = AdamW([parameter()])
    step_in_backward(opt)
    with pytest.raises(ValueError, match="already taken"):
        step_in_backward(opt)


def test_grad_scaler_is_refused():
    w = parameter()
    opt = SGD([w])
    step_in_backward(opt)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    with pytest.raises(RuntimeError, match="GradScaler"):
        scaler.step(opt)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel_is_refused(one_process):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    opt = AdamW(model.parameters())
    handle = step_in_backward(opt)  # allowed: the model is wrapped afterwards
    wrapped = nn.parallel.DistributedDataParallel(model)
    with pytest.raises(RuntimeError, match="DistributedDataParallel"):
        wrapped(torch.ones(2)).sum().backward()
    handle.remove()
    with pytest.raises(RuntimeError, match="step_in_ddp_backward"):
        step_in_backward(opt)
    step_in_backward(AdamW(other.parameters()))  # of another model


def sharded_run(in_backward):
    """Return this process's shards after three steps, some of them empty or uneven."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    mesh = torch.distributed.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in (*model, model):
        fully_shard(layer, mesh=mesh)
    opt = AdamW(model.parameters(), lr=0.1)
    if in_backward:
        step_in_backward(opt)
    x = torch.full((3, 4), 1.0 + torch.distributed.get_rank())
    for _ in range(3):
        model(x).square().sum().backward()
        assert (model[0].weight.grad is None) == in_backward
        opt.step()
        opt.zero_grad()
    return [p.to_local().detach().numpy() for p in model.parameters()]


def test_fully_sharded_parameters_take_the_same_steps():
    usual, ours = (processes(2)(sharded_run, flag) for flag in (False, True))
    np.testing.assert_equal(ours, usual)
    assert not np.array_equal(ours[0][0], ours[1][0])

"""CPUOffload on a fake device gives the numbers of the same optimizer on the CPU.

test_offload.py runs this file in a separate process.
"""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

from fastopt.torch import SGD, Adagrad, Adam, AdamW, CPUOffload, step_in_backward
from fastopt.torch.transfers import Link, buckets_of, host_parameters
from tests.torch import fake_device
from tests.torch.fake_device import crossed, moved, values

fake_device.install()
CPU, FAKE = "cpu", "fake:0"


@pytest.fixture(autouse=True)
def nothing_crossed():
    fake_device.reset()


def network(device=FAKE, dtype=torch.float32):
    """Return a small network: channels_last weights, a shared layer, a frozen and an unused one."""
    torch.manual_seed(0)
    shared, frozen = nn.Linear(12, 12), nn.Linear(12, 12).requires_grad_(False)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.Flatten(), shared, nn.Tanh(), frozen, shared, nn.Linear(12, 2)
    )
    model[-1].unused = nn.Parameter(torch.ones(3))
    model.to(dtype).to(memory_format=torch.channels_last)
    return moved(model) if device == FAKE else model


def train(model, opt, steps=6, accumulate=1, schedule=None, closure=False, start=0):
    """Return the losses."""
    p = model[0].weight
    losses = []

    def loss_of(i):
        x = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(i)).to(p.dtype)
        loss = model(x.to(p.device)).square().mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    for i in range(start, start + steps):
        opt.zero_grad()
        if closure:
            assert opt.step(lambda i=i: loss_of(i)).item() == losses[-1]
            continue
        for j in range(accumulate):
            loss_of(100 * i + j)
        opt.step()
        if schedule is not None:
            schedule.step()
    return losses


def values_of(model):
    return [values(p).detach().clone() for p in model.parameters()]


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def groups_of(model):
    ps = list(model.named_parameters())
    return [{"params": ps[:3]}, {"params": ps[3:], "lr": 0.003}]


CASES = {
    "adamw": (AdamW, dict(lr=0.01)),
    "adam, all options": (Adam, dict(lr=0.01, amsgrad=True, weight_decay=0.1)),
    "sgd, tensor lr": (SGD, dict(lr=torch.tensor(0.01), momentum=0.9, nesterov=True)),
    "torch.optim": (torch.optim.RMSprop, dict(lr=0.01, momentum=0.5, foreach=False)),
    "adagrad": (Adagrad, dict(lr=0.01)),
    "torch's adagrad": (torch.optim.Adagrad, dict(lr=0.01, foreach=False)),
    "clipped value": (AdamW, dict(lr=0.01, max_grad_value=0.01)),
}


@pytest.mark.parametrize("offload_gradients", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_the_cpu(name, accumulate, offload_gradients):
    """Groups, a schedule, several buckets, strides, shared, unused and frozen parameters."""
    cls, options = CASES[name]
    ours = dict(optimizer_class=cls, offload_gradients=offload_gradients, bucket_bytes=300)
    runs = []
    for device, make, others in ((CPU, cls, {}), (FAKE, CPUOffload, ours)):
        model = network(device)
        opt = make(groups_of(model), **others, **copy.deepcopy(options))
        schedule = torch.optim.lr_scheduler.StepLR(opt, 2, 0.5)
        losses = train(model, opt, accumulate=accumulate, schedule=schedule)
        runs.append((losses, values_of(model), opt.state_dict()["state"]))
    same(runs[1], runs[0])
    assert not torch.equal(runs[0][1][0], values(network()[0].weight))


@pytest.mark.parametrize("cls", [AdamW, torch.optim.AdamW])
@pytest.mark.parametrize("offload_gradients", [True, False])
def test_the_norm_is_of_all_gradients(cls, offload_gradients):
    ours, usual = network(), network(CPU)
    opt = CPUOffload(
        ours.parameters(),
        cls,
        lr=0.01,
        max_grad_norm=0.02,
        offload_gradients=offload_gradients,
        bucket_bytes=1,
    )
    peer = torch.optim.AdamW(usual.parameters(), lr=0.01)
    peer.register_step_pre_hook(
        lambda *_: norms.append(nn.utils.clip_grad_norm_(usual.parameters(), 0.02))
    )
    norms = []
    torch.testing.assert_close(train(ours, opt), train(usual, peer), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(values_of(ours), values_of(usual), rtol=1e-5, atol=1e-7)
    assert float(opt.grad_norm) == pytest.approx(norms[-1].item(), rel=1e-5)
    assert norms[-1] > 0.02


def bytes_of(params):
    return sum(p.numel() * p.element_size() for p in params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("offload_gradients", "downloads"), [(True, 2), (False, 1)])
def test_bytes_of_copies(dtype, offload_gradients, downloads):
    """Gradients are downloaded once per backward pass or step, parameters uploaded per step."""
    model = network(dtype=dtype)
    opt = CPUOffload(model.parameters(), AdamW, offload_gradients=offload_gradients)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert crossed == {"down": bytes_of(trained), "up": 0}
    x = torch.ones(4, 1, 3, 3, dtype=dtype).to(FAKE)
    fake_device.reset()
    for _ in range(2):
        model(x).square().mean().backward()
    opt.step()
    size = bytes_of(p for p in trained if p is not model[-1].unused)
    assert crossed == {"down": downloads * size, "up": size}
    fake_device.reset()
    opt.zero_grad()
    opt.step()
    assert crossed == {"down": 0, "up": 0}


def test_gradients_are_freed_in_the_backward_pass():
    model = network()
    opt = CPUOffload(model.parameters(), AdamW)
    on_device = []
    for p in model.parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(
                lambda _: on_device.append([q.grad for q in model.parameters()])
            )
    model(torch.ones(4, 1, 3, 3).to(FAKE)).sum().backward()
    assert len(on_device) == 6
    assert all(grad is None for grads in on_device for grad in grads)
    opt.step()


def test_low_precision_has_masters():
    """The reference stores float32 parameters, and computes with rounded copies."""
    ours, rounded = network(dtype=torch.bfloat16), network(CPU, torch.bfloat16)
    opt = CPUOffload(ours.parameters(), AdamW, lr=1e-4)
    pairs = [
        (p, p.detach().float().requires_grad_()) for p in rounded.parameters() if p.requires_grad
    ]
    peer = AdamW([master for _, master in pairs], lr=1e-4)

    class ByHand:
        def zero_grad(self):
            rounded.zero_grad()

        def step(self):
            with torch.no_grad():
                for p, master in pairs:
                    master.grad = None if p.grad is None else p.grad.float()
                peer.step()
                for p, master in pairs:
                    p.copy_(master)

    same(train(ours, opt, 30), train(rounded, ByHand(), 30))
    same(values_of(ours), values_of(rounded))
    states = opt.state_dict()["state"]
    same(states[0]["master"], pairs[0][1].detach())
    assert {s.dtype for s in states[0].values()} == {torch.float32}


def test_gradients_of_low_precision_are_added_in_float32():
    p = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0)
    for g in (256.0, 1.0, 1.0):  # 256 + 1 is 256 in bfloat16
        (p * torch.tensor([g], dtype=torch.bfloat16).to(FAKE)).sum().backward()
    opt.step()
    assert values(p).item() == -258.0


def test_parameters_on_the_cpu_are_updated_without_copies():
    w, v = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2).to(FAKE))
    opt = CPUOffload([w, v], SGD, lr=1.0)
    w.sum().backward()
    v.sum().backward()
    fake_device.reset()
    opt.step()
    assert opt.optim.param_groups[0]["params"][0] is w
    assert w.tolist() == values(v).tolist() == [0.0, 0.0]
    assert crossed == {"down": 0, "up": 8}  # v's gradient went down in its backward pass


# State dicts


@pytest.mark.parametrize("cls", [AdamW, torch.optim.AdamW])
def test_state_dicts_go_both_ways(cls):
    """The same run alternates between torch.optim on the CPU and CPUOffload."""
    usual = network(CPU)
    train(usual, peer := torch.optim.AdamW(usual.parameters(), lr=0.01), steps=9)
    model, saved, losses = network(CPU), None, []
    for start in (0, 3, 6):
        if start == 3:
            moved(model)
            opt = CPUOffload(model.parameters(), cls, lr=0.5)
        else:
            model = copy_to_cpu(model)
            opt = torch.optim.AdamW(model.parameters(), lr=0.01)
        if saved is not None:
            opt.load_state_dict(saved)
        losses += train(model, opt, steps=3, start=start)
        saved = copy.deepcopy(opt.state_dict())
    torch.testing.assert_close(values_of(model), values_of(usual), rtol=1e-5, atol=1e-7)
    assert saved["param_groups"] == peer.state_dict()["param_groups"]


def copy_to_cpu(model):
    """Return a copy of the network with the values of a model."""
    new = network(CPU)
    with torch.no_grad():
        for p, q in zip(new.parameters(), model.parameters(), strict=True):
            p.copy_(values(q))
    return new


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_resumes_bit_for_bit(dtype):
    model = network(dtype=dtype)
    opt = CPUOffload(model.parameters(), AdamW, lr=1e-4)
    train(model, opt)
    other = network(dtype=dtype)
    with torch.no_grad():
        for p, q in zip(other.parameters(), model.parameters(), strict=True):
            p.copy_(q)
    resumed = CPUOffload(other.parameters(), AdamW)
    seen = []
    resumed.register_load_state_dict_pre_hook(lambda o, s: seen.append(s["state"][0].keys()))
    resumed.register_load_state_dict_post_hook(lambda o: seen.append(o.state[next(iter(o.state))]))
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    same(train(other, resumed, start=50), train(model, opt, start=50))
    same(values_of(other), values_of(model))
    assert ("master" in seen[0]) == (dtype == torch.bfloat16)
    assert "exp_avg" in seen[1]


def test_a_master_that_does_not_round_to_the_parameter_is_ignored():
    p = nn.Parameter(torch.ones(2, dtype=torch.bfloat16).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0, momentum=0.5)
    p.sum().backward()
    opt.step()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["master"] = torch.tensor([0.0, 1.0])  # the parameter is [0, 0]
    opt.load_state_dict(saved)
    assert opt.state_dict()["state"][0]["master"].tolist() == [0.0, 0.0]


def test_loading_replaces_the_state_and_groups_that_were_edited():
    p, q = fake_parameter(), fake_parameter()
    opt = CPUOffload([p, q], SGD, lr=1.0, momentum=0.5)
    fresh = copy.deepcopy(opt.state_dict())
    other = CPUOffload([r := fake_parameter()], SGD, lr=9.0, momentum=0.5)
    r.sum().backward()
    other.step()
    other.param_groups[0]["params"].append(fake_parameter())
    other.load_state_dict(fresh)
    assert not other.state
    r.sum().backward()
    other.step()
    assert values(r).tolist() == [1.0 - 9.0 - 1.0] * 2


def test_a_failed_load_changes_nothing():
    model = network()
    opt = CPUOffload(model.parameters(), AdamW)
    train(model, opt, 1)
    before = copy.deepcopy(opt.state_dict())
    bad = copy.deepcopy(before)
    bad["param_groups"][0]["params"].pop()
    with pytest.raises(ValueError, match="size of optimizer's group"):
        opt.load_state_dict(bad)
    same(opt.state_dict(), before)


# Changes between steps


@pytest.mark.parametrize("through_data", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loaded_weights_are_kept(through_data, dtype):
    p = nn.Parameter(torch.zeros(2, dtype=dtype).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0)
    new = torch.tensor([5.0, 0.0], dtype=dtype)
    if through_data:
        p.data.copy_(new)
        opt.resync()
    else:
        with torch.no_grad():
            p.copy_(new)
    p.sum().backward()
    opt.step()
    assert values(p).tolist() == [4.0, -1.0]


def test_resync_keeps_masters_that_round_to_the_parameter():
    p = nn.Parameter(torch.ones(2, dtype=torch.bfloat16).to(FAKE))
    opt = CPUOffload([p], SGD, lr=2.0**-10)  # 1 - 2**-10 rounds to 1 in bfloat16
    p.sum().backward()
    opt.step()
    assert values(p).tolist() == [1.0, 1.0]
    p.data.copy_(torch.tensor([2.0, 1.0]))
    opt.resync()
    assert opt.optim.param_groups[0]["params"][0].tolist() == [2.0, 1 - 2.0**-10]


@pytest.mark.parametrize("shape", [(2,), ()])
def test_a_frozen_layer_can_be_trained_later(shape):
    w, v = (nn.Parameter(torch.ones(shape).to(FAKE), requires_grad=flag) for flag in (True, False))
    opt = CPUOffload([w, v], SGD, lr=1.0)
    assert crossed["down"] == bytes_of([w])  # the frozen parameter has no copy
    (w + v).sum().backward()
    opt.step()
    v.requires_grad_(True)
    (w + v).sum().backward()
    opt.step()
    assert [values(p).unique().tolist() for p in (w, v)] == [[-1], [0]]
    assert v.grad is None


def test_a_gradient_of_a_frozen_parameter_counts():
    """As in torch.optim: a parameter is skipped if it has no gradient."""
    w, v = fake_parameter(), fake_parameter()
    w.grad = torch.ones(2).to(FAKE)
    w.requires_grad_(False)
    opt = CPUOffload([w, v], SGD, lr=1.0)
    v.grad = torch.ones(2).to(FAKE)
    v.requires_grad_(False)
    opt.step()
    assert [values(p).tolist() for p in (w, v)] == [[0, 0], [0, 0]]


def test_groups_can_be_added_and_edited():
    w, v, u = (nn.Parameter(torch.ones(2).to(FAKE)) for _ in range(3))
    opt = CPUOffload([w], SGD, lr=1.0)
    opt.add_param_group({"params": [v]})
    assert opt.param_groups[1].keys() == opt.param_groups[0].keys()
    assert opt.param_groups[1]["lr"] == 1.0
    opt.param_groups[0]["params"].append(u)
    opt.param_groups[1]["lr"] = 3.0
    (w + v + u).sum().backward()
    assert v.grad is None
    opt.step()
    assert [values(p).tolist()[0] for p in (w, v, u)] == [0.0, -2.0, 0.0]
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [v]})
    del opt.param_groups[1]
    (w + v + u).sum().backward()
    opt.step()
    assert values(v).tolist()[0] == -2.0
    opt.add_param_group({"params": [v], "lr": 4.0})
    opt.step()
    assert values(v).tolist()[0] == -6.0
    opt.optim.add_param_group = None  # fails
    with pytest.raises(TypeError):
        opt.add_param_group({"params": [fake_parameter()]})
    assert len(opt.param_groups) == len(opt.optim.param_groups) == 2


def test_state_that_was_replaced_is_used():
    p = nn.Parameter(torch.ones(1).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0, momentum=0.5)
    p.sum().backward()
    opt.step()
    opt.state[p] = {"momentum_buffer": torch.tensor([8.0])}
    p.sum().backward()
    opt.step()
    assert values(p).item() == 0.0 - (0.5 * 8.0 + 1.0)


def test_a_closure_gives_the_numbers_of_the_cpu():
    ours, usual = network(), network(CPU)
    losses = train(ours, CPUOffload(ours.parameters(), AdamW), closure=True)
    same(losses, train(usual, AdamW(usual.parameters()), closure=True))
    same(values_of(ours), values_of(usual))


@pytest.mark.parametrize("waits", [1, 2])
@pytest.mark.parametrize(("set_to_none", "expected"), [(True, 0.0), (False, -0.5)])
def test_zero_grad(set_to_none, expected, waits):
    """A parameter with a gradient of zero moves by momentum; one without a gradient does not."""
    p = nn.Parameter(torch.ones(1).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0, momentum=0.5)
    p.sum().backward()
    opt.step()
    for _ in range(waits):
        p.sum().backward()
    opt.zero_grad(set_to_none=set_to_none)
    opt.step()
    assert values(p).item() == expected


def test_a_step_that_fails_can_be_repeated():
    for offload_gradients in (True, False):
        p = nn.Parameter(torch.ones(1).to(FAKE))
        opt = CPUOffload([p], SGD, lr=1.0, offload_gradients=offload_gradients)
        p.sum().backward()

        def fail(*_):
            raise KeyboardInterrupt

        handle = opt.optim.register_step_pre_hook(fail)
        with pytest.raises(KeyboardInterrupt):
            opt.step()
        handle.remove()
        opt.step()
        assert values(p).item() == 0.0


def test_remove_leaves_gradients_on_the_device():
    p = nn.Parameter(torch.ones(1).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0)
    opt.remove()
    p.sum().backward()
    assert p.grad is not None
    opt.step()
    assert values(p).item() == 0.0


def test_a_deleted_optimizer_takes_no_gradients():
    p = nn.Parameter(torch.ones(1).to(FAKE))
    opt = CPUOffload([p], SGD, lr=1.0)
    ref = weakref.ref(opt)
    p.sum().backward()
    opt.step()
    del opt
    gc.collect()
    assert ref() is None
    p.sum().backward()
    assert p.grad is not None
    CPUOffload([p], SGD)  # not refused


def test_averages_reach_the_device_and_leave_it_again():
    model = network()
    opt = CPUOffload(model.parameters(), AdamW, lr=0.1, ema_decay=0.5)
    train(model, opt)
    before, p = values_of(model), model[0].weight
    with opt.averaged():
        same(values(p).contiguous(), opt.state[p]["ema"].contiguous())
        assert not torch.equal(values(p), before[0])
    same(values_of(model), before)
    with torch.no_grad():
        p.mul_(2)
    before = values_of(model)
    with pytest.raises(KeyboardInterrupt), opt.averaged():
        raise KeyboardInterrupt
    same(values_of(model), before)


# Refusals


def fake_parameter():
    return nn.Parameter(torch.ones(2).to(FAKE))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(optimizer_class="AdamW"), TypeError, "optimizer_class is 'AdamW'"),
        (dict(optimizer_class=nn.Linear), TypeError, "optimizer_class is <class"),
        (dict(optimizer_class=torch.optim.LBFGS), TypeError, "optimizer_class is LBFGS"),
        (dict(offload_gradients=1), TypeError, "offload_gradients is 1"),
        (dict(bucket_bytes=0), ValueError, "bucket_bytes is 0"),
        (dict(max_grad_norm=0.0), ValueError, "max_grad_norm is 0.0"),
        (dict(max_grad_norm=0.0, optimizer_class=torch.optim.SGD), ValueError, "max_grad_norm"),
        (dict(lr=-1.0), ValueError, "Invalid learning rate: -1.0"),
        (dict(params=[torch.ones(2, device="meta")]), ValueError, "meta tensor"),
        (dict(params=[]), ValueError, "empty parameter list"),
    ],
)
def test_refused_by_name(arguments, error, words):
    p = fake_parameter()
    with pytest.raises(error, match=words):
        CPUOffload(**{"params": [p], "optimizer_class": AdamW, **arguments})
    assert not p._post_accumulate_grad_hooks


def test_one_optimizer_takes_the_gradients_of_a_parameter():
    p = fake_parameter()
    opt = CPUOffload([p], AdamW)
    with pytest.raises(ValueError, match="already taken"):
        CPUOffload([p], AdamW)
    with pytest.raises(TypeError, match="CPUOffload"):
        step_in_backward(opt)


def test_a_parameter_of_another_shape_is_refused():
    p = fake_parameter()
    opt = CPUOffload([p], AdamW)
    p.data = torch.ones(3).to(FAKE)
    with pytest.raises(ValueError, match=r"was \(2,\) and is now \(3,\)"):
        opt.step()


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_copies_are_refused(copied):
    with pytest.raises(TypeError, match="state_dict"):
        copied(CPUOffload([fake_parameter()], AdamW))


def test_grad_scaler():
    """GradScaler unscales gradients on the device, and skips a step with an infinite one."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    p = fake_parameter()
    opt = CPUOffload([p], SGD, lr=1.0, offload_gradients=False)
    for factor, expected in ((1.0, 0.0), (float("inf"), 0.0), (1.0, -1.0)):
        opt.zero_grad()
        scaler.scale(p.sum() * factor).backward()
        scaler.step(opt)
        scaler.update()
        assert values(p).tolist() == [expected] * 2
    offloads = CPUOffload([q := fake_parameter()], SGD, lr=1.0)
    scaler.scale(q.sum()).backward()
    with pytest.raises(RuntimeError, match="offload_gradients=False"):
        scaler.step(offloads)
    assert values(q).tolist() == [1.0, 1.0]


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel_is_refused_if_gradients_are_offloaded(one_process):
    model = nn.Linear(2, 1)
    wrapped = nn.parallel.DistributedDataParallel(model)
    moved(model)
    with pytest.raises(RuntimeError, match=r"DistributedDataParallel.* offload_gradients=False"):
        CPUOffload(wrapped.parameters(), AdamW)
    CPUOffload(wrapped.parameters(), AdamW, offload_gradients=False)
    p = fake_parameter()
    opt = CPUOffload([p], AdamW)
    wrapped.module = nn.ParameterList([p])  # wrapped afterwards
    with pytest.raises(RuntimeError, match="DistributedDataParallel"):
        opt._take(p)


def test_shards_are_refused(one_process):
    mesh = torch.distributed.init_device_mesh(CPU, (1,))
    shard = torch.distributed.tensor.distribute_tensor(torch.ones(2), mesh)
    with pytest.raises(ValueError, match="CPUOffloadPolicy"):
        CPUOffload([nn.Parameter(shard)], AdamW)
    p = fake_parameter()
    p._fsdp_flattened = True  # of the older FullyShardedDataParallel
    with pytest.raises(ValueError, match="CPUOffloadPolicy"):
        CPUOffload([p], AdamW)


# Buffers


@pytest.mark.parametrize(("most", "sizes"), [(1, [1, 1, 1, 1]), (24, [2, 1, 1]), (10**6, [3, 1])])
def test_buckets_hold_parameters_of_one_dtype(most, sizes):
    params = [torch.ones(3), torch.ones(3), torch.ones(2, dtype=torch.bfloat16), torch.ones(9)]
    buckets = buckets_of(params, most)
    assert sorted(map(len, buckets), reverse=True) == sizes
    assert {p for bucket in buckets for p in bucket} == set(params)
    storages = {h.master.untyped_storage().data_ptr() for h in host_data(params, most)}
    assert len(storages) == len(sizes)


def test_buffers_have_the_order_of_axes_of_their_parameter():
    p = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    every_second = torch.ones(6, 4)[::2].t()
    a, b = host_data([p, every_second])
    assert a.master.stride() == a.staging.stride() == p.stride()
    assert b.master.stride() == (1, 4)


def host_data(params, most=100):
    return host_parameters(params, most, mixes=False).values()


@pytest.mark.parametrize("order", ["ds", "sd", "ss", "dd", "dsd", "sds"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_dense_and_sparse_gradients(order, dtype):
    """The gradients have another dtype than the buffer of a bfloat16 parameter."""
    dense = torch.tensor([[1.0], [2.0], [3.0 + 2**-20]], dtype=dtype)
    sparse = torch.sparse_coo_tensor(
        [[1, 1]], [[4.0], [5.0]], (3, 1), dtype=dtype, check_invariants=True
    )
    (host,) = host_data([torch.zeros(3, 1, dtype=torch.bfloat16)])
    for kind in order:
        host.take({"d": dense, "s": sparse}[kind], Link(torch.device(CPU)))
    total = order.count("d") * dense + order.count("s") * sparse.to_dense()
    assert host.gradient().dtype == torch.float32
    same(host.gradient().to_dense(), total.float())
    host.drop()
    assert host.gradient() is None

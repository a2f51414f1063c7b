"""Steps in the backward pass of DistributedDataParallel."""

from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from fastopt import FastoptError
from fastopt.torch import step_in_ddp_backward
from tests.torch.networks import NAMES, data, network, numbers, optimizer
from tests.torch.processes import processes


def train_in_steps(name, in_backward, hook, accumulate, as_view):
    """Train with several buckets; return all parameters, and how many buckets there were."""
    model = DistributedDataParallel(
        network(), gradient_as_bucket_view=as_view, bucket_cap_mb=100 / 2**20
    )
    opt = optimizer(name, model.parameters())
    buckets = set()

    def counting(state, bucket):
        buckets.add(bucket.index())
        return hook(state, bucket)

    if in_backward:
        step_in_ddp_backward(model, opt, hook=counting)
    else:
        model.register_comm_hook(None, counting)
    X, y = (rows.chunk(dist.get_world_size())[dist.get_rank()] for rows in data())
    for _ in range(20):
        opt.zero_grad()
        for i in range(accumulate):
            with model.no_sync() if i + 1 < accumulate else nullcontext():
                ((1 + i) * model(X) - y).square().mean().backward()
        if in_backward:
            assert all(p.grad is None for p in model.parameters())
        opt.step()
    return numbers(model).tolist(), len(buckets)


def average_of_a_copy(state, bucket):
    """Average a bucket, whose buffer keeps the gradients of this process."""
    average = bucket.buffer() / dist.get_world_size()
    return dist.all_reduce(average, async_op=True).get_future().then(lambda f: f.value()[0])


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_view", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    "hook", [default_hooks.allreduce_hook, default_hooks.bf16_compress_hook, average_of_a_copy]
)
def test_same_bits_as_a_step_after_backward(name, as_view, accumulate, hook, n):
    options = hook, accumulate, as_view
    after = processes(n)(train_in_steps, name, False, *options)
    inside = processes(n)(train_in_steps, name, True, *options)
    assert inside == after == after[:1] * n
    assert after[0][1] > 1


def of_one_layer():
    """Return which parameters have changed, and which have a gradient, after a backward pass."""
    model = DistributedDataParallel(network(), bucket_cap_mb=100 / 2**20)
    step_in_ddp_backward(model, optimizer("SGD", model.module[0].parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(2):
        model(data()[0]).sum().backward()
    after = list(model.parameters())
    return [not torch.equal(*pair) for pair in zip(before, after, strict=True)], [
        p.grad is not None for p in after
    ]


def test_other_parameters_keep_their_gradients():
    in_layer = [True, True, False, False, False, False]
    assert processes(2)(of_one_layer) == [(in_layer, [not yes for yes in in_layer])] * 2


def after_an_error(n_passes):
    """Return the parameters after some passes; the first one may have raised an error."""
    model = DistributedDataParallel(network(), bucket_cap_mb=100 / 2**20)
    step_in_ddp_backward(model, optimizer("SGD", model.parameters(), on_nonfinite="raise"))
    for i in range(2 - n_passes, 2):
        model.zero_grad()
        loss = model(data()[0]).sum()
        if i == 0:
            with pytest.raises(FastoptError, match="has a NaN or an infinity"):
                (loss * torch.nan).backward()
        else:
            loss.backward()
    return numbers(model).tolist()


def test_error_in_a_step():
    """All processes raise it, and the next pass works."""
    assert processes(2)(after_an_error, 2) == processes(2)(after_an_error, 1)


def error_of(case):
    """Return the error of a call with arguments that are not supported, or of a step."""
    model = DistributedDataParallel(network())
    opt = optimizer("SGD", model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    try:
        if case == "model":
            step_in_ddp_backward(model.module, opt)
        elif case == "optimizer":
            step_in_ddp_backward(model, torch.optim.SGD(model.parameters()))
        elif case == "max_grad_norm":
            opt = optimizer("SGD", model.parameters(), max_grad_norm=2.0)
            step_in_ddp_backward(model, opt)
        elif case == "scaler":
            step_in_ddp_backward(model, opt)
            scaler.scale(model(data()[0]).sum()).backward()
            scaler.step(opt)
    except (TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("model", "TypeError: model is torch.nn.modules.container.Sequential; a Distributed"),
        ("optimizer", "TypeError: optimizer is torch.optim.sgd.SGD; an optimizer of fastopt.torch"),
        ("max_grad_norm", "ValueError: max_grad_norm is 2.0: the norm of all gradients is known"),
        ("scaler", "RuntimeError: GradScaler looks for infinities"),
    ],
)
def test_errors(case, expected):
    for message in processes(2)(error_of, case):
        assert message.startswith(expected)

"""Checkpoints of sharded optimizers, loaded by other numbers of processes and by torch.optim."""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import fully_shard

import fastopt.torch
from tests.torch.networks import (
    NAMES,
    assert_close,
    in_one_process,
    network,
    optimizer,
    train_part,
)
from tests.torch.processes import processes

LIBRARIES = {"ours": fastopt.torch, "torch": torch.optim}
HALF = 10  # the number of steps before the checkpoint, and after it


def start(name, library="ours", dtype=torch.float32, **options):
    """Return the sharded network, and an optimizer of it."""
    model = fully_shard(network().to(dtype))
    return model, optimizer(name, model.parameters(), LIBRARIES[library], **options)


def save(model, opt, folder):
    saved = dict(zip(("model", "optim"), get_state_dict(model, opt), strict=True))
    dcp.save(saved, checkpoint_id=folder)


def load(model, opt, folder):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    loaded = dict(zip(("model", "optim"), get_state_dict(model, opt), strict=True))
    dcp.load(loaded, checkpoint_id=folder)
    set_state_dict(model, opt, model_state_dict=loaded["model"], optim_state_dict=loaded["optim"])


def first_half(folder, name, library):
    model, opt = start(name, library)
    train_part(model, opt, HALF)
    save(model, opt, folder)


def second_half(folder, name, library):
    model, opt = start(name, library)
    load(model, opt, folder)
    return train_part(model, opt, HALF)


@pytest.mark.parametrize(("first", "second"), [(2, 3), (3, 2)])
@pytest.mark.parametrize("libraries", ["ours to ours", "ours to torch", "torch to ours"])
@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_for_another_number_of_processes(name, libraries, first, second, tmp_path):
    saved, loaded = libraries.split(" to ")
    processes(first)(first_half, str(tmp_path), name, saved)
    assert_close(processes(second)(second_half, str(tmp_path), name, loaded), in_one_process(name))


def resumed(folder, name, options):
    """Return the parameters after some more steps: without interruption, and after loading."""
    model, opt = start(name, dtype=torch.bfloat16, **options)
    train_part(model, opt, HALF)
    save(model, opt, folder)
    uninterrupted = train_part(model, opt, HALF)
    model, opt = start(name, dtype=torch.bfloat16, **options)
    load(model, opt, folder)
    return uninterrupted.tolist(), train_part(model, opt, HALF).tolist()


WITH_MASTER = {"master": "float32", "ema_decay": 0.9}
# torch's state of SGD has no step count, on which the random bits of rounding depend.
LOW_STATE = {"state_dtype": "param"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in NAMES),
        ("AdamW", WITH_MASTER),
        ("SGD", WITH_MASTER),
        ("Adagrad", WITH_MASTER),
        ("AdamW", LOW_STATE),
        ("Adagrad", LOW_STATE),
    ],
)
def test_resumed_training_in_bfloat16_has_the_same_bits(name, options, tmp_path):
    for uninterrupted, after_loading in processes(2)(resumed, str(tmp_path), name, options):
        assert uninterrupted == after_loading


def broadcast(name):
    """Resume from a full state dict that only the first process has."""
    model, opt = start(name)
    train_part(model, opt, HALF)
    full = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model_state, state = get_state_dict(model, opt, options=full)
    if dist.get_rank() > 0:
        assert not state
        model_state, state = {}, {}
    model, opt = start(name)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, model_state, options=options)
    set_optimizer_state_dict(model, opt, state, options=options)
    return train_part(model, opt, HALF)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_full_state_dict_from_the_first_process(name, n):
    assert_close(processes(n)(broadcast, name), in_one_process(name))


def is_unchanged_by_state_dict(name, dtype, options):
    """Return whether taking the state dict of a new optimizer leaves the parameters unchanged."""
    model, opt = start(name, dtype=dtype, **options)
    before = [p.full_tensor().clone() for p in model.parameters()]
    state = get_optimizer_state_dict(model, opt)["state"]
    assert len(state) == len(before)
    return all(
        torch.equal(a, p.full_tensor()) for a, p in zip(before, model.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {"rounding": "stochastic"}),
        (torch.bfloat16, {"master": "float32"}),
    ],
)
def test_state_dict_before_the_first_step(name, dtype, options):
    """PyTorch then takes a step with gradients of 0 and a learning rate of 0."""
    assert processes(2)(is_unchanged_by_state_dict, name, dtype, options) == [True] * 2

"""Random sequences of operations between steps give torch's result after each operation."""

import copy
import pickle
import random

import pytest
import torch
from torch.nn import Parameter

from tests.torch.pairs import (
    DENSE,
    OPTIONS,
    PAIRS,
    assert_same_optimizers,
    make_params,
    normal,
    params_of,
    plain,
)

SHAPES = [(3, 4), (5,), (2, 3, 4, 5), (), (17,)]


# Operations.  Each is applied to fastopt's optimizer and to torch's, with equal random numbers.


def step(opt, rng):
    for p in params_of(opt):
        p.grad = normal(p.shape, rng.randrange(10**6)) if rng.random() < 0.8 else None
        if p.grad is not None and p.dim() > 1 and rng.random() < 0.3:
            p.grad = p.grad.transpose(0, 1).contiguous().transpose(0, 1)
    opt.step()
    return opt


def step_with_the_same_gradients(opt, rng):
    opt.step()
    return opt


def step_with_closure(opt, rng):
    def loss():
        opt.zero_grad()
        value = sum((p**2).sum() for p in params_of(opt))
        value.backward()
        return value

    opt.step(loss)
    return opt


def change_an_option(opt, rng):
    group = rng.choice(opt.param_groups)
    key = rng.choice([key for key in ("lr", "weight_decay", "maximize") if key in group])
    group[key] = not group[key] if key == "maximize" else group[key] * rng.choice([0.5, 0.9, 1.1])
    return opt


def add_a_parameter(opt, rng):
    p = Parameter(normal(rng.choice(SHAPES), rng.randrange(10**6)))
    rng.choice(opt.param_groups)["params"].append(p)
    return opt


def add_a_group(opt, rng):
    p = Parameter(normal(rng.choice(SHAPES), rng.randrange(10**6)))
    opt.add_param_group({"params": [p], "lr": 0.03})
    return opt


def remove_a_parameter(opt, rng):
    group = rng.choice(opt.param_groups)
    if len(group["params"]) > 1:
        opt.state.pop(group["params"].pop(rng.randrange(len(group["params"]))), None)
    return opt


def reorder(opt, rng):
    rng.shuffle(rng.choice(opt.param_groups)["params"])
    rng.shuffle(opt.param_groups)
    return opt


def replace_data(opt, rng):
    p = rng.choice(params_of(opt))
    p.grad = None
    p.data = normal(p.shape, rng.randrange(10**6))
    return opt


def transpose_data(opt, rng):
    p = rng.choice(params_of(opt))
    if p.dim() > 1:
        p.data = p.data.transpose(0, 1).contiguous().transpose(0, 1)
    return opt


def swap(opt, rng):
    p = rng.choice(params_of(opt))
    p.grad = None
    torch.utils.swap_tensors(p, Parameter(normal(p.shape, rng.randrange(10**6))))
    return opt


def write_to_state(opt, rng):
    p = rng.choice(params_of(opt))
    for value in opt.state.get(p, {}).values():
        if torch.is_tensor(value) and value.shape == p.shape and p.dim():
            value.mul_(0.9)
    return opt


def replace_state(opt, rng):
    p = rng.choice(params_of(opt))
    if p in opt.state:
        opt.state[p] = copy.deepcopy(opt.state[p])
    return opt


def set_the_count(opt, rng):
    p = rng.choice(params_of(opt))
    if "step" in opt.state.get(p, {}):
        opt.state[p]["step"] = torch.tensor(float(rng.randrange(1, 50)))
    return opt


def reload(opt, rng):
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    return opt


def load_into_a_new_one(opt, rng):
    groups = [{**group, "params": list(group["params"])} for group in opt.param_groups]
    names = {"initial_accumulator_value"} & opt.defaults.keys()  # read from the arguments alone
    new = type(opt)(groups, **{name: opt.defaults[name] for name in names})
    new.load_state_dict(opt.state_dict())
    return new


def deepcopy(opt, rng):
    return copy.deepcopy(opt)


def through_pickle(opt, rng):
    return pickle.loads(pickle.dumps(opt))


OPERATIONS = [
    *([step] * 8), *([step_with_the_same_gradients] * 3), step_with_closure, change_an_option,
    add_a_parameter, add_a_group, remove_a_parameter, reorder, replace_data, transpose_data, swap,
    write_to_state, replace_state, set_the_count, reload, load_into_a_new_one, deepcopy,
    through_pickle,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", DENSE)
def test_random_operations(name, seed):
    rng = random.Random(f"{name} {seed}")
    pair = [
        cls(
            [{"params": (ps := make_params(SHAPES))[:2]}, {"params": ps[2:], "lr": 0.02}],
            **{**OPTIONS[name], **plain(name)},
        )
        for cls in PAIRS[name]
    ]
    done = []
    for _ in range(40):
        operation = rng.choice(OPERATIONS)
        done.append(operation.__name__)
        number = rng.randrange(10**6)
        pair = [operation(opt, random.Random(number)) for opt in pair]
        assert_same_optimizers(*pair, 1e-5, f"{len(done)} operations, the last {done[-12:]}")

"""Training that is saved and resumed has the bits of training that is not interrupted."""

import copy
import io
import pickle

import pytest
import torch

from tests.torch.pairs import (
    DENSE,
    NAMES,
    OPTIONS,
    PAIRS,
    make_params,
    params_of,
    rows,
    set_gradients,
)

SHAPES = [(33,), (4, 7)]

# The dtype of parameters, and options of fastopt.
MODES = {
    "float64": (torch.float64, {}),
    "float32": (torch.float32, {}),
    "float32, ema": (torch.float32, dict(ema_decay=0.9, ema_warmup=True)),
    "float32, state bfloat16": (torch.float32, dict(state_dtype="bfloat16")),
    "bfloat16": (torch.bfloat16, {}),
    "bfloat16, state bfloat16": (torch.bfloat16, dict(state_dtype="param")),
    "bfloat16, master": (torch.bfloat16, dict(master="float32", ema_decay=0.9)),
    "bfloat16, stochastic": (torch.bfloat16, dict(rounding="stochastic", seed=3)),
    "float16, clipped": (torch.float16, dict(max_grad_norm=0.5)),
}


def train(opt, first, last):
    """Take the steps numbered from `first` to `last`."""
    for t in range(first, last + 1):
        set_gradients([opt], t, [rows] * 2 if type(opt).__name__ == "SparseAdam" else None)
        opt.step()


def loaded(opt, state_dict, make):
    new = make()
    for p, q in zip(params_of(new), params_of(opt), strict=True):
        p.data.copy_(q.data)
    new.load_state_dict(state_dict)
    return new


def through_a_file(opt, make):
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return loaded(opt, torch.load(file, weights_only=True), make)


WAYS = {
    "state dict": lambda opt, make: loaded(opt, opt.state_dict(), make),
    "file": through_a_file,
    "deepcopy": lambda opt, make: copy.deepcopy(opt),
    "pickle": lambda opt, make: pickle.loads(pickle.dumps(opt)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_resumed_training_has_equal_bits(name, mode, way):
    dtype, own = MODES[mode]
    if name == "SparseAdam" and mode != "float32":
        return  # extras and low precision are for dense gradients; see test_sparse
    if name == "ASGD":  # it averages the parameters itself
        own = {key: value for key, value in own.items() if not key.startswith("ema")}

    def make():
        return PAIRS[name][0](make_params(SHAPES, dtype), **OPTIONS[name], **own)

    whole, parts = make(), make()
    train(whole, 1, 9)
    train(parts, 1, 3)
    parts = WAYS[way](parts, make)
    train(parts, 4, 6)
    parts = WAYS[way](parts, make)
    train(parts, 7, 9)
    for p, q in zip(params_of(whole), params_of(parts), strict=True):
        assert torch.equal(p, q)
        assert list(whole.state[p]) == list(parts.state[q])
        for key, value in whole.state[p].items():
            other = parts.state[q][key]
            assert type(value) is type(other)
            if torch.is_tensor(value):
                assert (value.dtype, value.stride()) == (other.dtype, other.stride()), key
                assert torch.equal(value, other), key
            else:
                assert value == other


@pytest.mark.parametrize("name", DENSE)
def test_a_loaded_state_dict_is_not_shared(name):
    """Optimizers that load one state dict, or each other's, do not share state tensors."""
    opts = [PAIRS[name][0](make_params(SHAPES), **OPTIONS[name]) for _ in range(3)]
    train(opts[0], 1, 2)
    for opt in opts[1:]:
        for p, q in zip(params_of(opt), params_of(opts[0]), strict=True):
            p.data.copy_(q.data)
        opt.load_state_dict(opts[0].state_dict())
    for opt in opts:  # one after another
        train(opt, 3, 5)
    for a, b, c in zip(*map(params_of, opts), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)

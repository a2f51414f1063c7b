"""States of 8 bits in fastopt.torch: state_dtype="float8"."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import fastopt
from fastopt import FastoptError, _core
from fastopt import torch as ours

RULES = {
    "AdamW": {"weight_decay": 0.1},
    "Adam": {},
    "SGD": {"momentum": 0.9},
    "Adagrad": {"initial_accumulator_value": 0.1},
}
SHAPES = [(16, 300), (5000,), (20, 3, 5, 17)]
STATES = {"AdamW": ["exp_avg", "exp_avg_sq"], "Adam": ["exp_avg", "exp_avg_sq"]}
STATES |= {"SGD": ["momentum_buffer"], "Adagrad": ["sum"]}


def start(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make(name, params, **options):
    return getattr(ours, name)(
        params, **{"lr": 0.1, "state_dtype": "float8", **RULES[name], **options}
    )


def step(opt, *grads):
    params = [p for group in opt.param_groups for p in group["params"]]
    for p, grad in zip(params, grads, strict=True):
        p.grad = grad if isinstance(grad, torch.Tensor) else torch.from_numpy(grad)
    opt.step()


def everything(opt):
    params = [p for group in opt.param_groups for p in group["params"]]
    return [
        [p.detach().numpy().tobytes(), *((k, torch.as_tensor(v).tolist()) for k, v in items)]
        for p in params
        for items in [opt.state[p].items()]
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", RULES)
def test_bits_are_those_of_the_numpy_optimizers(name, shape):
    w = nn.Parameter(torch.from_numpy(start(shape)))
    array = start(shape)
    opt = make(name, [w], seed=3)
    other = getattr(fastopt, name)(array, lr=0.1, state_dtype="float8", seed=3, **RULES[name])
    for seed in range(4):
        step(opt, start(shape, seed))
        other.step(start(shape, seed))
    assert np.array_equal(w.detach().numpy(), array)
    for state in STATES[name]:
        for key in (state, f"{state}_scale"):
            assert opt.state[w][key].dtype == torch.uint8
            assert np.array_equal(opt.state[w][key].numpy(), other.state[0][key])
        values = ours.float32_state(opt, w, state)
        assert np.array_equal(values.numpy(), fastopt.float32_state(other, 0, state))


@pytest.mark.parametrize("extra", [{}, {"ema_decay": 0.9}, {"master": "float32"}], ids=str)
def test_channels_last_gives_equal_bits(extra):
    shape, dtype = (20, 3, 5, 17), torch.bfloat16 if "master" in extra else torch.float32

    def run(memory_format):
        w = torch.from_numpy(start(shape)).to(dtype).contiguous(memory_format=memory_format)
        w = nn.Parameter(w)
        opt = make("AdamW", [w], **extra)
        for seed in range(3):
            grad = torch.from_numpy(start(shape, seed)).to(dtype)
            step(opt, grad.contiguous(memory_format=memory_format))
        return [w.detach().float().tolist(), {k: v.tolist() for k, v in opt.state[w].items()}]

    assert run(torch.contiguous_format) == run(torch.channels_last)


@pytest.mark.parametrize("how", ["state_dict", "deepcopy"])
@pytest.mark.parametrize("name", RULES)
def test_training_resumes_bit_for_bit(name, how):
    w = nn.Parameter(torch.from_numpy(start((16, 300))))
    opt = make(name, [w])
    for seed in range(2):
        step(opt, start(w.shape, seed))
    if how == "deepcopy":
        other = copy.deepcopy(opt)
    else:
        other = make(name, [nn.Parameter(w.detach().clone())])
        other.load_state_dict(opt.state_dict())
    for seed in range(2, 4):
        step(opt, start(w.shape, seed))
        step(other, start(w.shape, seed))
    assert everything(opt) == everything(other)


def test_a_loaded_state_is_converted():
    """From float32 to 8 bits, rounded to nearest, and back, which is exact."""
    params = [nn.Parameter(torch.from_numpy(start((16, 300)))) for _ in range(3)]
    single, eight, back = (
        make("SGD", [p], state_dtype=dtype, momentum=1.0)
        for p, dtype in zip(params, ("float32", "float8", "float32"), strict=True)
    )
    step(single, start((16, 300)))
    buffer = single.state[params[0]]["momentum_buffer"].numpy()
    codes, scale = _core.float8_pack(buffer, True)

    eight.load_state_dict(single.state_dict())
    step(eight, np.full((16, 300), -0.0, np.float32))  # leaves the buffer as it is
    assert np.array_equal(eight.state[params[1]]["momentum_buffer"].numpy(), codes)
    assert np.array_equal(eight.state[params[1]]["momentum_buffer_scale"].numpy(), scale)

    back.load_state_dict(eight.state_dict())
    step(back, np.full((16, 300), -0.0, np.float32))
    found = back.state[params[2]]
    assert np.array_equal(found["momentum_buffer"].numpy(), _core.float8_unpack(codes, scale, True))
    assert "momentum_buffer_scale" not in found


def test_a_state_without_its_scales_is_refused():
    w = nn.Parameter(torch.from_numpy(start((16, 300))))
    opt = make("AdamW", [w])
    step(opt, start((16, 300)))
    opt.state[w]["exp_avg_scale"] = torch.zeros(3, dtype=torch.uint8)
    before = w.detach().clone()
    with pytest.raises(FastoptError, match=r"'exp_avg_scale' is torch.uint8 of shape \(3,\)"):
        step(opt, start((16, 300)))
    assert torch.equal(w, before)


def test_small_and_masked_parameters_have_float32_state():
    model = nn.ModuleDict({"embedding": nn.Embedding(64, 64), "linear": nn.Linear(64, 64)})
    opt = ours.AdamW(
        model.named_parameters(),
        state_dtype="float8",
        float8_mask=lambda name: not name.startswith("embedding"),
    )
    step(opt, *(torch.ones_like(p) for p in model.parameters()))
    dtypes = {name: opt.state[p]["exp_avg"].dtype for name, p in model.named_parameters()}
    assert dtypes == {
        "embedding.weight": torch.float32,
        "linear.weight": torch.uint8,
        "linear.bias": torch.float32,
    }


def sparse(shape):
    values = torch.ones(2, *shape[1:])
    return torch.sparse_coo_tensor(torch.tensor([[1, 3]]), values, shape, check_invariants=True)


def test_sparse_gradients():
    w = nn.Parameter(torch.from_numpy(start((40, 300))))
    before = w.detach().clone()
    opt = make("Adagrad", [w])
    step(opt, sparse((40, 300)))
    assert ((w != before).any(1).nonzero().ravel()).tolist() == [1, 3]
    vector = nn.Parameter(torch.ones(5000))
    opt = make("Adagrad", [vector])
    with pytest.raises(FastoptError, match="is sparse; elements of a vector share"):
        step(opt, sparse((5000,)))
    assert torch.equal(vector, torch.ones(5000))


@pytest.mark.parametrize(
    ("name", "w", "options", "error"),
    [
        ("AdamW", torch.ones(16, 300, dtype=torch.float64), {}, "a parameter is float64"),
        ("AdamW", torch.ones(16, 300, dtype=torch.complex64), {}, "complex or a DTensor"),
        ("AdamW", torch.ones(16, 300), {"amsgrad": True}, "the state max_exp_avg_sq of AdamW"),
        ("NAdam", torch.ones(16, 300), {}, "the state exp_avg of NAdam needs"),
        ("AdamW", torch.ones(16, 300), {"float8_mask": bool}, "float8_mask needs the names"),
    ],
    ids=str,
)
def test_refusals(name, w, options, error):
    w = nn.Parameter(w)
    opt = getattr(ours, name)([w], state_dtype="float8", **options)
    w.grad = torch.ones_like(w)
    with pytest.raises(FastoptError, match=error):
        opt.step()
    assert not opt.state
    assert (w == 1).all()


def test_refusals_at_construction():
    w = nn.Parameter(torch.ones(16, 300))
    with pytest.raises(TypeError, match="float8_mask is 1; a callable"):
        ours.AdamW([w], state_dtype="float8", float8_mask=1)
    with pytest.raises(FastoptError, match="float8_mask needs state_dtype='float8', not None"):
        ours.AdamW([w], float8_mask=bool)

"""fastopt.torch gives the same bits as fastopt, and its options have their documented effects."""

import math

import numpy as np
import pytest
import torch

import fastopt
import fastopt.torch
from fastopt import FastoptError
from fastopt.torch._plan import use_exchange

# Each class of ours, the class of fastopt, and options away from the defaults of both.
CASES = [
    ("SGD", "SGD", {}),
    ("SGD", "SGD", dict(momentum=0.8, dampening=0.1, weight_decay=0.02, maximize=True)),
    ("SGD", "SGD", dict(momentum=0.8, nesterov=True)),
    ("Adagrad", "Adagrad", dict(lr_decay=0.1, initial_accumulator_value=0.2, eps=1e-3)),
    ("Adadelta", "Adadelta", dict(rho=0.7, eps=1e-3, weight_decay=0.1)),
    ("RMSprop", "RMSprop", dict(alpha=0.8, eps=1e-3, centered=True, momentum=0.3)),
    ("RMSprop", "RMSprop", dict(alpha=0.8, weight_decay=0.1)),
    ("Adam", "Adam", dict(betas=(0.7, 0.9), eps=1e-3, weight_decay=0.1, maximize=True)),
    ("Adam", "Adam", dict(amsgrad=True)),
    ("AdamW", "AdamW", dict(betas=(0.7, 0.9), weight_decay=0.2)),
    ("Adamax", "Adamax", dict(betas=(0.7, 0.9), eps=1e-3)),
    ("NAdam", "NAdam", dict(betas=(0.7, 0.9), momentum_decay=0.1, decoupled_weight_decay=True,
                            weight_decay=0.1)),
]  # fmt: skip
EXTRAS = [
    {},
    dict(max_grad_norm=0.7),
    dict(max_grad_value=0.3, zero_grads=True),
    dict(ema_decay=0.9, ema_warmup=True),
    dict(n_threads=2),
    dict(lookahead_steps=3, lookahead_alpha=0.3),
]
LOW_EXTRAS = [
    {},
    dict(rounding="stochastic", seed=5),
    dict(master="float32"),
    dict(state_dtype="bfloat16", master="float32", rounding="stochastic"),
    dict(ema_decay=0.5, max_grad_norm=0.5),
    dict(lookahead_steps=2, rounding="stochastic"),
]
SHAPES = [(), (1,), (17,), (0, 3), (5, 33), (129, 130)]


def as_numpy(tensor):
    if tensor.dtype is torch.bfloat16:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        return tensor.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


def tensors(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    found.append(torch.randn(7, 4, generator=generator).to(dtype).t())
    found.append(torch.randn(6, 9, generator=generator).to(dtype)[:, ::2])
    return found


def trained(torch_name, name, options, extras, dtype, steps=4):
    """Return the parameters of both optimizers after the same steps, and both optimizers."""
    ours = [w.clone(memory_format=torch.preserve_format) for w in tensors(dtype)]
    ours[-1] = torch.empty(6, 9, dtype=dtype)[:, ::2].copy_(tensors(dtype)[-1])
    arrays = [as_numpy(w).copy(order="K") for w in ours]
    for w in ours:
        w.requires_grad_()
    one = getattr(fastopt.torch, torch_name)(ours, lr=0.1, **options, **extras)
    other = getattr(fastopt, name)(arrays, lr=0.1, **options, **extras)
    for t in range(steps):
        one.param_groups[0]["lr"] = other.lr = 0.1 / (t + 1)
        grads = tensors(dtype, seed=t + 1)
        for w, g in zip(ours, grads, strict=True):
            w.grad = g.clone(memory_format=torch.preserve_format)
        one.step()
        other.step([as_numpy(g).copy(order="K") for g in grads])
        if extras.get("zero_grads"):
            assert all((w.grad == 0).all() for w in ours)
    return ours, arrays, one, other


def require_equal(ours, arrays, one, other):
    for k, (w, array) in enumerate(zip(ours, arrays, strict=True)):
        np.testing.assert_array_equal(as_numpy(w), array)
        for key, value in one.state[w].items():
            expected = np.asarray(other.state[k][key])
            if key == "step":  # a whole number, which PyTorch keeps in single precision
                expected = expected.astype(np.float32)
            np.testing.assert_array_equal(as_numpy(value), expected, key)
    assert one.grad_norm == other.grad_norm or math.isnan(one.grad_norm + other.grad_norm)


@pytest.mark.parametrize("extras", EXTRAS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("torch_name", "name", "options"), CASES, ids=str)
def test_equal_bits(torch_name, name, options, dtype, extras):
    require_equal(*trained(torch_name, name, options, extras, dtype))


@pytest.mark.parametrize("extras", LOW_EXTRAS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("torch_name", "name", "options"), CASES, ids=str)
def test_equal_bits_of_low_precision(torch_name, name, options, dtype, extras):
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16")
    require_equal(*trained(torch_name, name, options, extras, dtype))


@pytest.fixture
def without_exchange():
    use_exchange(False)
    yield
    assert use_exchange(True)


@pytest.mark.usefixtures("without_exchange")
@pytest.mark.parametrize(("torch_name", "name", "options"), CASES, ids=str)
def test_equal_bits_without_the_exchange_table(torch_name, name, options):
    require_equal(*trained(torch_name, name, options, {}, torch.float32))


# The options that fastopt adds


def one_step(grad, **extras):
    w = torch.ones(3, requires_grad=True)
    opt = fastopt.torch.Adam([w], lr=0.5, **extras)
    w.grad = torch.tensor(grad)
    opt.step()
    return w, opt


def test_a_nonfinite_gradient_raises_before_anything_changes():
    w = torch.ones(3, requires_grad=True)
    opt = fastopt.torch.Adam([("weights", w)], on_nonfinite="raise")
    w.grad = torch.tensor([1.0, math.nan, 1.0])
    with pytest.raises(FastoptError, match=r"gradient of parameter 'weights' has a NaN"):
        opt.step()
    assert torch.equal(w, torch.ones(3))
    assert not opt.state


def test_a_nonfinite_gradient_is_skipped_or_propagates():
    w, opt = one_step([math.inf, 1.0, 1.0], on_nonfinite="skip", zero_grads=True)
    assert torch.equal(w, torch.ones(3))
    assert not opt.state
    assert torch.equal(w.grad, torch.zeros(3))
    w, _ = one_step([math.inf, 1.0, 1.0])
    assert w.isnan().tolist() == [True, False, False]


def test_norm_and_clipping_are_those_of_clip_grad_norm():
    w, opt = one_step([3.0, 0.0, 4.0], max_grad_norm=1.0)
    assert opt.grad_norm == 5.0
    other = torch.ones(3, requires_grad=True)
    other.grad = torch.tensor([3.0, 0.0, 4.0])
    torch.nn.utils.clip_grad_norm_([other], 1.0)
    expected = torch.optim.Adam([other], lr=0.5)
    expected.step()
    torch.testing.assert_close(opt.state[w]["exp_avg"], expected.state[other]["exp_avg"])


def test_averages_replace_the_parameters_in_a_block():
    w = torch.ones(2, requires_grad=True)
    opt = fastopt.torch.SGD([w], lr=1.0, ema_decay=0.5)
    w.grad = torch.tensor([1.0, 2.0])
    opt.step()
    opt.step()
    before = w.detach().clone()
    with opt.averaged():
        assert torch.equal(w, torch.tensor([-0.25, -1.5]))
        with pytest.raises(FastoptError, match="inside averaged"):
            opt.step()
    assert torch.equal(w, before)
    with pytest.raises(FastoptError, match="ema_decay"), fastopt.torch.SGD([w]).averaged():
        pass


def test_slow_weights_replace_the_parameters_in_a_block():
    w = torch.zeros(1, requires_grad=True)
    opt = fastopt.torch.SGD([w], lr=1.0, lookahead_steps=2)
    w.grad = torch.ones(1)
    for _ in range(3):
        opt.step()
    assert w.item() == -2
    with opt.averaged():
        assert w.item() == opt.state[w]["slow"].item() == -1
    assert w.item() == -2


def test_a_master_keeps_small_updates():
    w = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    opt = fastopt.torch.SGD([w], lr=1e-3, master="float32")
    for _ in range(10):
        w.grad = torch.ones(4, dtype=torch.bfloat16)
        opt.step()
    assert w[0].item() == 0.98828125  # 0.99 rounded
    with torch.no_grad():
        w.fill_(2.0)
    opt.sync_master()
    opt.step()
    assert opt.state[w]["master"][0].item() == pytest.approx(1.999)


def test_a_master_that_does_not_round_to_the_parameter_is_replaced():
    w = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    w.grad = torch.ones(4, dtype=torch.bfloat16)
    opt = fastopt.torch.SGD([w], lr=1e-3, master="float32")
    opt.step()
    saved = opt.state_dict()
    for start, expected in ((w.detach().clone(), 0.998), (torch.full_like(w, 3.0), 2.999)):
        other = start.detach().requires_grad_()
        other.grad = w.grad
        opt = fastopt.torch.SGD([other], lr=1e-3, master="float32")
        opt.load_state_dict(saved)
        opt.step()
        assert opt.state[other]["master"][0].item() == pytest.approx(expected)


def test_stochastic_rounding_keeps_small_updates_on_average():
    w = torch.ones(100_000, dtype=torch.bfloat16, requires_grad=True)
    opt = fastopt.torch.SGD([w], lr=1e-4, rounding="stochastic")
    for _ in range(10):
        w.grad = torch.ones_like(w)
        opt.step()
    assert w.float().mean().item() == pytest.approx(1 - 1e-3, abs=1e-4)


def test_dtype_of_state():
    for given, dtype in ((None, torch.float32), ("param", torch.bfloat16), ("float32", None)):
        w = torch.ones(8, dtype=torch.bfloat16, requires_grad=True)
        opt = fastopt.torch.AdamW([w], state_dtype=given)
        w.grad = torch.ones_like(w)
        opt.step()
        assert opt.state[w]["exp_avg"].dtype is (dtype or torch.float32)


def test_weight_decay_applies_to_the_names_of_the_mask():
    model = torch.nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    opt = fastopt.torch.AdamW(
        model.named_parameters(),
        lr=0.1,
        weight_decay=0.5,
        weight_decay_mask=lambda name: name.endswith("weight"),
    )
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()
    torch.testing.assert_close(model.weight.detach(), before["weight"] * 0.95)
    assert torch.equal(model.bias, before["bias"])
    unnamed = fastopt.torch.AdamW(model.parameters(), weight_decay_mask=bool)
    with pytest.raises(FastoptError, match="named_parameters"):
        unnamed.step()


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("max_grad_norm", -1.0, "max_grad_norm is -1.0; allowed: "),
        ("on_nonfinite", "ignore", "on_nonfinite is 'ignore'; allowed: "),
        ("state_dtype", "float16", "state_dtype is 'float16'; allowed: "),
        ("rounding", "up", "rounding is 'up'; allowed: "),
        ("n_threads", 0, "n_threads is 0; allowed: "),
        ("ema_warmup", True, "ema_warmup is True; it needs ema_decay"),
        ("lookahead_steps", 0, "lookahead_steps is 0; allowed: "),
        ("lookahead_alpha", 0.3, "lookahead_alpha is 0.3; it needs lookahead_steps"),
    ],
)
def test_bad_options(option, value, match):
    with pytest.raises(FastoptError, match=match):
        fastopt.torch.Adam([torch.ones(2)], **{option: value})


def test_an_unknown_keyword_raises_the_error_of_torch():
    with pytest.raises(TypeError, match="max_norm"):
        fastopt.torch.Adam([torch.ones(2)], max_norm=1.0)


def test_float64_needs_float64_state():
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    w.grad = torch.ones_like(w)
    opt = fastopt.torch.Adam([w], state_dtype="bfloat16")
    with pytest.raises(FastoptError, match="float64, which needs float64 state"):
        opt.step()


def test_zero_grads_refuses_gradients_that_share_memory():
    w = torch.ones(3, requires_grad=True)
    opt = fastopt.torch.SGD([w], lr=1.0, zero_grads=True)
    w.grad = torch.ones(1).expand(3)
    with pytest.raises(FastoptError, match="share memory"):
        opt.step()
    assert torch.equal(w, torch.ones(3))
    pair = [torch.ones(3, requires_grad=True) for _ in range(2)]
    pair[0].grad = pair[1].grad = torch.ones(3)
    with pytest.raises(FastoptError, match="share memory"):
        fastopt.torch.SGD(pair, zero_grads=True).step()
    fastopt.torch.SGD(pair, lr=1.0).step()
    assert torch.equal(pair[1], torch.zeros(3))


def test_columns_of_a_matrix_are_accepted_and_overlapping_slices_refused():
    whole = torch.ones(5, 4)
    columns = [whole[:, k].detach().requires_grad_() for k in range(4)]
    for w in columns:
        w.grad = torch.ones(5)
    fastopt.torch.SGD(columns, lr=1.0).step()
    assert torch.equal(whole, torch.zeros(5, 4))
    slices = [whole[k : k + 2].detach().requires_grad_() for k in range(2)]
    for w in slices:
        w.grad = torch.ones(2, 4)
    with pytest.raises(FastoptError, match="share memory"):
        fastopt.torch.SGD(slices, lr=1.0).step()
    assert torch.equal(whole, torch.zeros(5, 4))


def test_an_option_of_a_newer_torch_is_refused_unless_at_its_default(monkeypatch):
    w = torch.ones(2, requires_grad=True)
    w.grad = torch.ones(2)
    opt = fastopt.torch.SGD([w], lr=1.0)
    opt.defaults["sharpness"] = opt.param_groups[0]["sharpness"] = None
    opt.step()
    opt.param_groups[0]["sharpness"] = 2.0
    with pytest.raises(FastoptError, match="sharpness is"):
        opt.step()
    assert torch.equal(w, torch.zeros(2))


def test_options_of_fastopt_are_refused_in_a_group():
    w = torch.ones(2, requires_grad=True)
    w.grad = torch.ones(2)
    opt = fastopt.torch.SGD([{"params": [w], "max_grad_norm": 3.0}], lr=1.0)
    with pytest.raises(FastoptError, match=r"max_grad_norm is .* in a group and None"):
        opt.step()
    assert torch.equal(w, torch.ones(2))
    opt = fastopt.torch.SGD([{"params": [w], "n_threads": None}], lr=1.0)
    opt.step()
    assert torch.equal(w, torch.zeros(2))

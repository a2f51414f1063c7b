"""Unusual tensors, options and states give PyTorch's result, or an error before any change."""

import copy
import gc
import inspect
import weakref
from collections import UserDict

import pytest
import torch

import fastopt.torch
from fastopt import FastoptError


def ones(*shape, **options):
    return torch.ones(*shape, **options).requires_grad_()


def take_step(opt, grads):
    for p, grad in zip(opt.param_groups[0]["params"], grads, strict=True):
        p.grad = None
        p.grad = grad
    opt.step()


def rows(values, shape):
    return torch.sparse_coo_tensor([[0]], values, shape, check_invariants=True)


# Gradients


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("is_sparse", [False, True])
def test_gradients_without_a_floating_dtype_are_refused(dtype, is_sparse):
    w = ones(3, 2)
    w.grad_dtype = None
    grad = torch.ones(3, 2, dtype=dtype)
    with pytest.raises(FastoptError, match=rf"a gradient is {dtype}; its parameter is torch.float"):
        take_step(fastopt.torch.SGD([w], lr=1.0), [rows(grad[:1], (3, 2)) if is_sparse else grad])
    assert torch.equal(w, torch.ones(3, 2))


def test_a_real_gradient_of_a_complex_parameter_is_refused():
    w = ones(3, dtype=torch.complex64)
    w.grad_dtype = None
    with pytest.raises(
        FastoptError, match=r"a gradient is torch.float32; its parameter is torch.c"
    ):
        take_step(fastopt.torch.SGD([w]), [torch.ones(3)])


def test_sparse_and_dense_gradients_alternate():
    w = ones(3, 2)
    opt = fastopt.torch.SGD([w], lr=1.0)
    for _ in range(2):
        take_step(opt, [rows(torch.ones(1, 2), (3, 2))])
        take_step(opt, [torch.ones(3, 2)])
    assert w.tolist() == [[-3.0, -3.0], [-1.0, -1.0], [-1.0, -1.0]]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2,)])
def test_negated_gradients(shape):
    w = torch.zeros(shape, requires_grad=True)
    (torch.complex(torch.ones(shape), w).conj() * (2 + 3j)).imag.sum().backward()
    w.grad = torch.full(shape, 1 + 2j).conj().imag
    assert w.grad.is_neg()
    fastopt.torch.SGD([w], lr=1.0).step()
    assert torch.equal(w, torch.full(shape, 2.0))


# Parameters


@pytest.mark.parametrize(
    ("w", "match"),
    [
        (torch.ones(3, dtype=torch.complex64).conj(), "negated or conjugated"),
        (torch.ones(3, dtype=torch.complex64).conj().imag, "negated or conjugated"),
        (torch.ones(20).as_strided((2, 3), (4, 2)), r"share memory \(strides \(4, 2\)\)"),
        (torch.ones(1).expand(3), "share memory"),
    ],
)
def test_views_that_cannot_be_updated(w, match):
    w = w.detach().requires_grad_()
    with pytest.raises(FastoptError, match=match):
        take_step(fastopt.torch.SGD([w]), [torch.ones(w.shape, dtype=w.dtype)])


@pytest.mark.parametrize("what", ["parameter", "gradient", "state"])
def test_addresses_that_are_not_aligned(what):
    def unaligned():
        memory = torch.frombuffer(bytearray(4 * 100 + 1), dtype=torch.float32, offset=1, count=100)
        return memory.fill_(1.0)

    found = []
    for make in (torch.ones(100).clone, unaligned):
        w = (make() if what == "parameter" else torch.ones(100)).requires_grad_()
        opt = fastopt.torch.Adam([w])
        for _ in range(2):
            take_step(opt, [make() if what == "gradient" else torch.ones(100)])
            if what == "state":
                opt.state[w]["exp_avg"] = make()
        take_step(opt, [torch.ones(100)])
        found.append(w.detach().clone())
    assert torch.equal(*found)


def test_a_parameter_that_is_not_a_tensor():
    opt = fastopt.torch.SGD([ones(2)])
    opt.param_groups[0]["params"].append(3)
    with pytest.raises(TypeError, match="a parameter is a int"):
        opt.step()


def test_lazy_parameters():
    model = torch.nn.LazyLinear(2)
    opt = fastopt.torch.SGD(model.parameters(), lr=1.0)
    opt.step()
    model(torch.ones(1, 3)).sum().backward()
    before = model.bias.detach().clone()
    opt.step()
    assert torch.equal(model.bias, before - 1)


def test_overlapping_parameters_that_are_updated_in_turn():
    whole = torch.ones(3)
    pair = [whole[k : k + 2].detach().requires_grad_() for k in range(2)]
    opt = fastopt.torch.SGD(pair, lr=1.0)
    take_step(opt, [torch.ones(2), None])
    take_step(opt, [None, torch.ones(2)])
    with pytest.raises(FastoptError, match="share memory"):
        take_step(opt, [torch.ones(2), torch.ones(2)])
    assert whole.tolist() == [0.0, -1.0, 0.0]


def test_a_gradient_in_the_memory_of_another_parameter():
    whole = torch.ones(6)
    one, other, third = (whole[k : k + 2].detach().requires_grad_() for k in (0, 2, 4))
    opt = fastopt.torch.SGD([one, other, third], lr=1.0)
    take_step(opt, [torch.ones(2), torch.ones(2), None])
    take_step(opt, [None, None, torch.ones(2)])
    with pytest.raises(FastoptError, match=r"gradient of parameter 0 .* memory with parameter 1"):
        take_step(opt, [whole[2:4], torch.ones(2), None])


# State


@pytest.mark.parametrize("extras", [{"ema_decay": 0.5}, {"master": "float32"}], ids=str)
def test_sgd_keeps_its_momentum_if_an_average_or_master_is_added(extras):
    w = ones(3, dtype=torch.bfloat16)
    opt = fastopt.torch.SGD([w], lr=1.0, momentum=0.5, **extras)
    opt.state[w] = {"momentum_buffer": torch.full((3,), 4.0)}
    take_step(opt, [torch.ones_like(w)])
    assert opt.state[w]["momentum_buffer"].tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("reason", ["found_inf", "skip", "raise"])
def test_a_skipped_first_step_makes_no_momentum_buffer(reason):
    w = ones(3)
    options = {} if reason == "found_inf" else {"on_nonfinite": reason}
    opt = fastopt.torch.SGD([w], lr=1.0, momentum=0.9, dampening=0.5, **options)
    opt.found_inf = torch.tensor(1.0) if reason == "found_inf" else None
    try:
        take_step(opt, [torch.full((3,), torch.inf)])
    except FastoptError:
        assert reason == "raise"
    opt.found_inf = None
    assert "momentum_buffer" not in opt.state.get(w, {})
    take_step(opt, [torch.ones(3)])
    assert torch.equal(w, torch.zeros(3))


@pytest.mark.parametrize("extras", [{"ema_decay": 0.999, "ema_warmup": True},
                                    {"rounding": "stochastic"}], ids=str)  # fmt: skip
def test_sgd_resumes_its_step_count(extras):
    found = []
    for resumes in (False, True):
        w = ones(64, dtype=torch.bfloat16)
        opt = fastopt.torch.SGD([w], lr=0.01, **extras)
        for t in range(20):
            if resumes and t == 10:
                saved = opt.state_dict()
                opt = fastopt.torch.SGD([w], lr=0.01, **extras)
                opt.load_state_dict(saved)
            take_step(opt, [torch.ones_like(w)])
        found.append([w.detach(), *opt.state[w].values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("what", ["parameter", "gradient", "exp_avg", "step"])
def test_freed_storage_is_refused(what):
    w = ones(100)
    opt = fastopt.torch.Adam([w])
    take_step(opt, [torch.ones(100)])
    freed = {"parameter": w, "gradient": w.grad, **opt.state[w]}[what]
    freed.untyped_storage().resize_(0)
    with pytest.raises(FastoptError, match=f"{what}.* has no memory; its storage has been freed"):
        opt.step()


def test_complex_parameters_have_no_state_of_16_bits():
    opt = fastopt.torch.Adam([ones(3, dtype=torch.complex64)], state_dtype="bfloat16")
    with pytest.raises(FastoptError, match="a parameter is complex, which needs complex state"):
        take_step(opt, [torch.ones(3, dtype=torch.complex64)])


def test_an_optimizer_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        w = ones(3)
        opt = fastopt.torch.Adam([w], max_grad_norm=1.0)
        take_step(opt, [torch.ones(3)])
        freed = [weakref.ref(opt), weakref.ref(w), weakref.ref(opt.state[w]["exp_avg"])]
        del opt, w
        assert [found() for found in freed] == [None, None, None]
    finally:
        gc.enable()


def test_a_sparse_buffer_of_torch_becomes_dense():
    found = []
    for cls in (torch.optim.SGD, fastopt.torch.SGD):
        w = ones(3, 2)
        opt = torch.optim.SGD([w], lr=1.0, momentum=0.5)
        take_step(opt, [rows(torch.ones(1, 2), (3, 2))])
        other = cls([w], lr=1.0, momentum=0.5)
        other.load_state_dict(opt.state_dict())
        take_step(other, [rows(torch.ones(1, 2), (3, 2))])
        found.append(w.detach())
    assert torch.equal(*found)


def test_an_empty_parameter_with_gaps():
    w = torch.ones(0, 2, 2)[..., 0].detach().requires_grad_()
    opt = fastopt.torch.Adam([w])
    take_step(opt, [torch.ones(0, 2)])
    assert opt.state[w]["step"] == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_stochastic_master_is_kept_by_copies(dtype):
    w = ones(64, dtype=dtype)
    opt = fastopt.torch.SGD([w], lr=1e-4, master="float32", rounding="stochastic")
    take_step(opt, [torch.ones_like(w)])
    other = copy.deepcopy(opt)
    take_step(opt, [torch.ones_like(w)])
    take_step(other, [torch.ones_like(w)])
    copied = other.param_groups[0]["params"][0]
    assert torch.equal(other.state[copied]["master"], opt.state[w]["master"])


def test_states_that_are_not_dicts():
    w = ones(3)
    opt = fastopt.torch.Adam([w])
    opt.state[w] = UserDict()
    with pytest.raises(TypeError, match="is a UserDict; a dict is needed"):
        take_step(opt, [torch.ones(3)])
    opt.state = UserDict()
    with pytest.raises(TypeError, match="is a UserDict; a dict is needed"):
        opt.step()
    assert torch.equal(w, torch.ones(3))


@pytest.mark.parametrize("step", [torch.nan, torch.inf, -1.0, 1e30, -3])
def test_impossible_step_counts(step):
    w = ones(3)
    opt = fastopt.torch.Adam([w])
    take_step(opt, [torch.ones(3)])
    before = w.detach().clone()
    opt.state[w]["step"] = step if isinstance(step, int) else torch.tensor(step)
    with pytest.raises(FastoptError, match=r"state 'step' is .*; allowed: 0 to"):
        opt.step()
    assert torch.equal(w, before)


def test_items_that_users_add_to_a_state():
    columns = [column.detach().requires_grad_() for column in torch.ones(5, 2).T]
    opt = fastopt.torch.Adam(columns, lr=1.0)
    for w in columns:
        opt.state[w] |= {"mask": torch.ones(5, dtype=torch.bool), "start": w.detach()}
    take_step(opt, [torch.ones(5)] * 2)
    assert torch.allclose(columns[1], torch.zeros(5), atol=1e-6)


def test_an_interrupt_while_a_state_is_looked_up():
    class Interrupted(torch.nn.Parameter):
        is_pending = False

        def __hash__(self):
            if self.is_pending:
                self.is_pending = False
                raise KeyboardInterrupt
            return id(self)

    w = Interrupted(torch.ones(3))
    opt = fastopt.torch.Adam([w])
    opt.state["note"] = {}  # states in the order of the parameters are found without their hashes
    take_step(opt, [torch.ones(3)])
    w.is_pending = True
    with pytest.raises(KeyboardInterrupt):
        opt.step()
    opt.step()
    assert opt.state[w]["step"] == 2


def test_loading_inside_averaged_does_not_end_the_block():
    w = ones(3)
    opt = fastopt.torch.SGD([w], ema_decay=0.5)
    take_step(opt, [torch.ones(3)])
    with opt.averaged():
        opt.load_state_dict(opt.state_dict())
        with pytest.raises(FastoptError, match="inside averaged"):
            opt.step()


# Options


def test_betas_in_a_list_that_changes():
    found = []
    for cls in (fastopt.torch.Adam, torch.optim.Adam):
        w = ones(3)
        opt = cls([w], lr=0.1)
        opt.param_groups[0]["betas"] = [0.9, 0.99]
        take_step(opt, [torch.ones(3)])
        opt.param_groups[0]["betas"][0] = 0.1
        take_step(opt, [-torch.ones(3)])
        found.append(w.detach())
    torch.testing.assert_close(*found)


def test_a_mask_that_appends_parameters():
    def mask(name):
        group["params"] += [ones(2) for _ in range(100)]
        group["param_names"] += ["added"] * 100
        return True

    w = ones(3)
    opt = fastopt.torch.AdamW([("w", w)], weight_decay_mask=mask)
    group = opt.param_groups[0]
    w.grad = torch.ones(3)
    with pytest.raises(FastoptError, match="parameters changed while"):
        opt.step()
    assert torch.equal(w, torch.ones(3))


def test_a_mask_needs_a_name_for_each_parameter():
    opt = fastopt.torch.AdamW([("w", ones(3))], weight_decay_mask=bool)
    opt.param_groups[0]["params"].append(ones(2))
    with pytest.raises(FastoptError, match="a group has 1 names and 2 parameters"):
        opt.step()


@pytest.mark.parametrize("reason", ["found_inf", "skip"])
def test_skipped_steps_clear_gradients(reason):
    w = ones(3)
    opt = fastopt.torch.SGD([w], zero_grads=True, on_nonfinite="skip")
    if reason == "found_inf":
        opt.found_inf = torch.tensor(1.0)
    w.grad = torch.full((3,), torch.inf)
    version = w.grad._version
    opt.step()
    assert torch.equal(w.grad, torch.zeros(3))
    assert w.grad._version > version


def test_options_without_effect_are_refused():
    w = ones(3)
    opt = fastopt.torch.SGD([w], differentiable=True, max_grad_norm=0.1)
    with torch.no_grad(), pytest.raises(FastoptError, match=r"max_grad_norm is 0.1; with capt"):
        take_step(opt, [torch.ones(3)])


def test_the_signature_of_a_subclass_is_its_own():
    class Mine(fastopt.torch.Adam):
        def __init__(self, params, rate=3):
            super().__init__(params, lr=rate)

    assert list(inspect.signature(Mine).parameters) == ["params", "rate"]
    assert "max_grad_norm" in inspect.signature(fastopt.torch.Adagrad).parameters

"""What cannot be updated raises an error that names it, before anything has changed."""

import pytest
import torch
from torch.nn import Parameter
from torch.testing._internal.two_tensor import TwoTensor

from tests.torch.pairs import NAMES, OPTIONS, PAIRS, TAKE_SPARSE, make_params, normal, rows


class Tagged(torch.Tensor):
    """A subclass of Tensor that changes nothing, and stores its elements as Tensor does."""


def twice(opt_class, options):
    a, b = make_params([(3, 4), (3, 4)])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        return opt_class([a, b, a], **options)


def twice_by_editing(opt_class, options):
    a, b = make_params([(3, 4), (3, 4)])
    opt = opt_class([a, b], **options)
    opt.param_groups[0]["params"].append(a)
    return opt


def in_two_groups_by_editing(opt_class, options):
    a, b = make_params([(3, 4), (3, 4)])
    opt = opt_class([{"params": [a]}, {"params": [b]}], **options)
    opt.param_groups[1]["params"].append(a)
    return opt


def overlapping_views(opt_class, options):
    flat = normal((20,), 0)
    return opt_class([Parameter(flat[:12].view(3, 4)), Parameter(flat[11:])], **options)


def the_same_memory(opt_class, options):
    table = normal((3, 4), 0)
    return opt_class([Parameter(table), Parameter(table)], **options)


def transposed_view_of_the_same_memory(opt_class, options):
    table = normal((3, 4), 0)
    return opt_class([Parameter(table), Parameter(table.t())], **options)


def expanded_parameter(opt_class, options):
    return opt_class([Parameter(normal((4,), 0).expand(3, 4))], **options)


def windows(opt_class, options):
    return opt_class([Parameter(normal((9,), 0).unfold(0, 3, 1))], **options)


def on_the_meta_device(opt_class, options):
    return opt_class([Parameter(torch.empty(3, 4, device="meta"))], **options)


def wrapper_subclass(opt_class, options):
    values = normal((3, 4), 0)
    return opt_class([Parameter(TwoTensor(values, values.clone()))], **options)


def integer_parameter(opt_class, options):
    p = Parameter(torch.arange(12).view(3, 4), requires_grad=False)
    return opt_class([p, *make_params([(3, 4)])], **options)


def eight_bit_floats(opt_class, options):
    p = Parameter(normal((3, 4), 0).to(torch.float8_e4m3fn))
    return opt_class([p, *make_params([(3, 4)])], **options)


def state_in_a_parameter(opt_class, options):
    (p,) = params = make_params([(3, 4)])
    opt = opt_class(params, **options)
    step(opt)
    for key, value in opt.state[p].items():
        if torch.is_tensor(value) and value.ndim:
            opt.state[p][key] = p.data.view(-1)[: value.numel()].view(value.shape)
    return opt


def state_of_two_parameters_in_one_tensor(opt_class, options):
    a, b = params = make_params([(3, 4), (3, 4)])
    opt = opt_class(params, **options)
    step(opt)
    for key, value in opt.state[a].items():
        if torch.is_tensor(value) and value.ndim:
            opt.state[b][key] = value
    return opt


def state_of_another_shape(opt_class, options):
    (p,) = params = make_params([(3, 4)])
    opt = opt_class(params, **options)
    step(opt)
    for key, value in opt.state[p].items():
        if torch.is_tensor(value) and value.ndim:
            opt.state[p][key] = torch.zeros(2)
    return opt


# Scenarios, and a pattern that the error message matches.
REFUSED = [
    (twice, "more than once|twice|duplicate|shares? memory"),
    (twice_by_editing, "more than once|twice|duplicate|shares? memory"),
    (in_two_groups_by_editing, "more than once|twice|duplicate|shares? memory"),
    (overlapping_views, "shares? memory"),
    (the_same_memory, "shares? memory"),
    (transposed_view_of_the_same_memory, "shares? memory"),
    (expanded_parameter, "shares? memory"),
    (windows, "shares? memory"),
    (on_the_meta_device, "meta"),
    (wrapper_subclass, "TwoTensor"),
    (integer_parameter, "int64"),
    (eight_bit_floats, "float8_e4m3fn"),
    (state_in_a_parameter, "shares? memory"),
    (state_of_two_parameters_in_one_tensor, "shares? memory"),
    (state_of_another_shape, r"shape"),
]
WITH_STATE = [state_in_a_parameter, state_of_two_parameters_in_one_tensor, state_of_another_shape]


def parameters(opt):
    return [p for group in opt.param_groups for p in group["params"]]


def step(opt):
    """Take a step with gradients that suit the parameters."""
    for i, p in enumerate(parameters(opt)):
        g = normal(p.shape, 10 + i)
        g = rows(g) if type(opt).__name__ == "SparseAdam" else g
        if p.device.type == "meta":
            g = g.to("meta")
        elif isinstance(p, TwoTensor):
            g = TwoTensor(g.to_dense(), g.to_dense())
        elif p.dtype != torch.float32:
            p.grad_dtype = torch.float32
        p.grad = g
    opt.step()


def bits(p):
    if p.device.type == "meta":
        return []
    values = p.a if isinstance(p, TwoTensor) else p
    return values.detach().contiguous().view(torch.uint8).tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("scenario", "message"), REFUSED, ids=[scenario.__name__ for scenario, _ in REFUSED]
)
def test_refused(scenario, message, name):
    if scenario in WITH_STATE and name == "SGD":
        options = dict(lr=0.1, momentum=0.9)
    elif scenario in (on_the_meta_device, wrapper_subclass) and name == "SparseAdam":
        return  # torch cannot make such a gradient
    else:
        options = OPTIONS[name]
    opt = scenario(PAIRS[name][0], options)
    before = [bits(p) for p in parameters(opt)]
    with pytest.raises((ValueError, TypeError), match=message):
        step(opt)
    assert [bits(p) for p in parameters(opt)] == before


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_step_can_be_repeated_after_the_cause_is_gone(name):
    a, b = make_params([(3, 4), (3, 4)])
    other = PAIRS[name][0](make_params([(3, 4), (3, 4)]), **OPTIONS[name])
    opt = PAIRS[name][0]([a, b], **OPTIONS[name])
    opt.param_groups[0]["params"].append(a)
    with pytest.raises(ValueError, match="parameter"):
        step(opt)
    opt.param_groups[0]["params"].pop()
    for one in (opt, other):
        step(one)
    assert all(torch.equal(p, q) for p, q in zip([a, b], parameters(other), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_of_another_shape_is_refused(name):
    (p,) = params = make_params([(3, 4)])
    opt = PAIRS[name][0](params, **OPTIONS[name])
    step(opt)
    p.data = normal((5, 4), 1)
    before = bits(p)
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        opt.step()
    assert bits(p) == before


@pytest.mark.parametrize("name", [name for name in NAMES if name in TAKE_SPARSE])
def test_rows_beyond_the_parameter_are_refused(name):
    """torch makes such a tensor if it does not check invariants."""
    (p,) = params = make_params([(6, 4)])
    opt = PAIRS[name][0](params, lr=0.1)
    before = bits(p)
    for row in (6, -1, 2**40):
        p.grad = torch.sparse_coo_tensor(
            torch.tensor([[1, row]]), normal((2, 4), 1), (6, 4), check_invariants=False,
            is_coalesced=True,
        )  # fmt: skip
        with pytest.raises((ValueError, IndexError), match=str(row)):
            opt.step()
        assert bits(p) == before


def test_a_subclass_that_stores_its_elements_is_updated():
    for cls in PAIRS["AdamW"]:
        p = normal((3, 4), 0).as_subclass(Tagged).requires_grad_()
        q = Parameter(normal((3, 4), 0))
        opt = cls([p, q])
        p.grad, q.grad = normal((3, 4), 1).as_subclass(Tagged), normal((3, 4), 1)
        opt.step()
        assert torch.equal(p.detach().as_subclass(torch.Tensor), q.detach())


@pytest.mark.parametrize("name", NAMES)
def test_refused_arguments_name_what_is_allowed(name):
    cls = PAIRS[name][0]
    for options, message in [
        (dict(max_grad_norm=-1.0), "max_grad_norm"),
        (dict(max_grad_norm=float("nan")), "max_grad_norm"),
        (dict(max_grad_value=-1.0), "max_grad_value"),
        (dict(on_nonfinite="ignore"), "on_nonfinite.*ignore.*propagate"),
        (dict(ema_decay=1.5), "ema_decay"),
        (dict(state_dtype="int8"), "state_dtype.*int8.*bfloat16"),
        (dict(master="float64"), "master.*float64.*float32"),
        (dict(rounding="up"), "rounding.*up.*stochastic"),
        (dict(n_threads=0), "n_threads"),
        (dict(seed=-1), "seed"),
        (dict(no_such_option=1), "no_such_option"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            cls(make_params([(3,)]), **options)

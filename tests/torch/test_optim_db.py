"""Every input of torch's own optimizer database, and layouts and sizes that it lacks."""

import inspect
import math
from copy import deepcopy

import pytest
import torch
from torch.nn import Parameter
from torch.testing._internal.common_optimizers import optim_db

from tests.torch.pairs import (
    DENSE,
    DTYPES,
    NAMES,
    OPTIONS,
    PAIRS,
    assert_same,
    make_pair,
    make_params,
    normal,
    outcome,
    params_of,
    plain,
    rows,
    set_gradients,
    tolerance,
    walk,
)

DB = {info.name: info for info in optim_db if info.name in NAMES}
INPUTS = [
    pytest.param(name, case.kwargs, id=f"{name}-{case.desc}")
    for name in NAMES
    for case in DB[name].optim_inputs_func(device="cpu")
]
ERRORS = [
    pytest.param(name, error, id=f"{name}-{error.optimizer_error_input.desc}")
    for name in NAMES
    for error in DB[name].optim_error_inputs_func("cpu", torch.float64)
]
CAPTURABLE = [
    pytest.param(name, case.kwargs, id=f"{name}-{case.desc}")
    for name in NAMES
    for case in DB[name].optim_inputs_func(device="cuda")
    if case.kwargs.get("capturable")
]
SHAPES = [(5,), (3, 4), (2, 3, 2, 5)]


def sparse_for(name):
    """Return how to lay out a dense gradient for this class."""
    return rows if name == "SparseAdam" else torch.Tensor.clone


def test_the_database_has_every_class():
    assert list(PAIRS) == NAMES
    assert set(DB) == set(NAMES)
    assert (len(INPUTS), len(ERRORS)) == (79, 109)
    assert len(CAPTURABLE) >= 10


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "options"), INPUTS)
def test_input(name, options, dtype):
    pair = make_pair(name, lambda: make_params(SHAPES, dtype), **options)
    # torch multiplies a float32 learning rate by other numbers in float32.
    tol = 1e-8 if torch.is_tensor(options.get("lr")) else 0
    walk(pair, max(tol, tolerance(name, dtype)), layouts=[sparse_for(name)] * len(SHAPES))


@pytest.mark.parametrize("flag", ["foreach", "fused"])
@pytest.mark.parametrize(("name", "options"), INPUTS)
def test_input_with_the_flag_of_an_implementation(name, options, flag):
    """`foreach=True` and `fused=True` are accepted, and change no number."""
    if flag not in DB[name].supported_impls:
        with pytest.raises(TypeError, match=flag):
            PAIRS[name][0](make_params([(3,)]), **options, **{flag: True})
        return
    theirs = PAIRS[name][1](make_params(SHAPES), **plain(name), **deepcopy(options))
    ours = PAIRS[name][0](make_params(SHAPES), **deepcopy(options), **{flag: True})
    walk((ours, theirs), tolerance(name, torch.float32))


@pytest.mark.parametrize(("name", "error"), ERRORS)
def test_error_input(name, error):
    case = error.optimizer_error_input
    params = make_params([(3, 4)]) if case.params is None else case.params
    ours, theirs = (
        outcome(lambda cls=cls: cls(params, **case.kwargs).step()) for cls in PAIRS[name]
    )
    assert ours == theirs
    assert theirs[0] is error.error_type


def two_steps(cls, options):
    """Return the parameters and state after two steps."""
    opt = cls(make_params(SHAPES, torch.float64), **deepcopy(options))
    for t in range(2):
        set_gradients([opt], t)
        opt.step()
    return [(p, opt.state.get(p)) for p in params_of(opt)]


@pytest.mark.parametrize(("name", "options"), CAPTURABLE)
def test_capturable_input(name, options):
    """On the CPU, torch raises an error for these."""
    ours, theirs = (outcome(lambda cls=cls: two_steps(cls, options)) for cls in PAIRS[name])
    assert_same(ours, theirs, tolerance(name, torch.float64), "two steps")


def gradient_through_a_step(cls, options):
    """Return the derivatives of a loss after a step with respect to values and gradients before."""
    start = Parameter(normal((3, 4), 0, torch.float64))
    gradient = normal((3, 4), 1, torch.float64).requires_grad_()
    p = start.clone()
    opt = cls([p], differentiable=True, **options)
    for _ in range(2):
        p.grad = gradient
        opt.step()
    return torch.autograd.grad((p**2).sum(), [start, gradient])


@pytest.mark.parametrize(("name", "options"), [case for case in INPUTS if case.values[0] in DENSE])
def test_differentiable_input(name, options):
    """With `centered` or `amsgrad`, torch raises an error of autograd."""
    ours, theirs = (
        outcome(lambda cls=cls: gradient_through_a_step(cls, deepcopy(options)))
        for cls in PAIRS[name]
    )
    assert_same(ours, theirs, 1e-10, "d loss / d (start, gradient)")


# Tensors where torch also takes numbers.
TENSOR_OPTIONS = [
    *((name, {"lr": torch.tensor(0.05)}) for name in NAMES),
    *((name, {"lr": torch.tensor([0.05])}) for name in NAMES),
    *((name, {"lr": torch.tensor(0.05, dtype=torch.float64)}) for name in NAMES),
    *(
        (name, {"lr": torch.tensor(0.05), "betas": (torch.tensor(0.8), torch.tensor(0.95))})
        for name in ("Adam", "AdamW")
    ),
    ("SGD", {"lr": 0.1, "weight_decay": torch.tensor(0.1)}),
]


@pytest.mark.parametrize(("name", "options"), TENSOR_OPTIONS)
def test_tensor_options(name, options):
    pair = make_pair(name, lambda: make_params([(3, 4)]), **{**OPTIONS[name], **options})
    walk(pair, 1e-6, layouts=[sparse_for(name)])


def gaps(x):
    """Return `x` as every second element of its last axis, in memory with other numbers between."""
    wide = x.repeat_interleave(2, -1)
    wide[..., 1::2] = 77.0
    return wide[..., ::2]


def unaligned(x):
    """Return `x` at an address that is one element after a multiple of 16 bytes."""
    return torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape)


def odd_strides(x):
    """Return `x` with a first axis of size 1, whose stride is arbitrary."""
    return x[:1].contiguous().as_strided((1, *x.shape[1:]), (77, *x[:1].contiguous().stride()[1:]))


LAYOUTS = {
    "contiguous": torch.Tensor.contiguous,
    "transposed": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "middle axes swapped": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "gaps": gaps,
    "unaligned": unaligned,
}
GRAD_LAYOUTS = {**LAYOUTS, "expanded": lambda x: x[:1, :, :1].expand(x.shape)}


def lay_out(name, layout):
    """Return a function that makes a gradient of this layout, or rows of it."""
    if name == "SparseAdam":
        return lambda g: rows(layout(g))
    return lambda g: layout(g.clone())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_layout_of_parameters_and_gradients(name, layout, dtype):
    shape = (4, 3, 5, 6)

    def laid_out():
        return [
            Parameter(LAYOUTS[layout](normal(shape, i, dtype))) for i in range(len(GRAD_LAYOUTS))
        ]

    strides = LAYOUTS[layout](normal(shape, 0)).stride()
    assert laid_out()[0].stride() == strides
    pair = make_pair(name, laid_out, **OPTIONS[name])
    layouts = [lay_out(name, function) for function in GRAD_LAYOUTS.values()]
    labels = [f"{layout}, gradient {g}" for g in GRAD_LAYOUTS]
    walk(pair, tolerance(name, dtype), layouts=layouts, labels=labels)
    assert laid_out()[0].stride() == strides


@pytest.mark.parametrize("name", DENSE)
def test_an_axis_of_size_1_may_have_any_stride(name):
    pair = make_pair(
        name,
        lambda: [Parameter(odd_strides(normal((1, 5), 0))), *make_params([(1, 5)], seed=1)],
        **OPTIONS[name],
    )
    walk(pair, 1e-6, layouts=[torch.Tensor.clone, odd_strides])


# Around the width of vectors and the length of a chunk.
SIZES = [(n,) for n in (1, 7, 8, 15, 16, 17, 63, 64, 65, 16383, 16384, 16385, 70001)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_sizes(name, dtype):
    pair = make_pair(name, lambda: make_params(SIZES, dtype), **OPTIONS[name])
    walk(pair, tolerance(name, dtype), layouts=[sparse_for(name)] * len(SIZES), labels=SIZES)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (0, 4), (1, 1), (1, 1, 1, 7)], ids=str)
@pytest.mark.parametrize("name", DENSE)
def test_scalars_and_empty_tensors(name, shape):
    pair = make_pair(name, lambda: make_params([shape, (3,)]), **OPTIONS[name])
    if name == "Adafactor" and 0 in shape:  # torch's step divides by 0
        set_gradients(pair, 0)
        pair[0].step()
        assert params_of(pair[0])[1].isfinite().all()
        return
    walk(pair, 1e-6)


def other_options(options):
    """Return `options` with the learning rate halved and flags and numbers changed."""
    other = {**options, "lr": options["lr"] / 2, "maximize": True}
    other.pop("weight_decay", None)
    other.pop("momentum", None)
    other.pop("amsgrad", None)
    other.pop("dampening", None)
    return other


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_groups_with_different_options(name, dtype):
    def groups():
        a, b, c, d = make_params([(3, 4), (5,), (2, 2), (9,)], dtype)
        options = OPTIONS[name]
        return [
            {"params": [a, b]},
            {"params": [c], **other_options(options)},
            {"params": []},
            {"params": [d], **options, "lr": options["lr"] / 4},
        ]

    pair = make_pair(name, groups)
    walk(pair, tolerance(name, dtype), layouts=[sparse_for(name)] * 4)


@pytest.mark.parametrize("name", NAMES)
def test_signature_groups_and_repr_are_those_of_torch(name):
    ours, theirs = PAIRS[name]
    theirs_parameters = list(inspect.signature(theirs).parameters.values())
    ours_parameters = list(inspect.signature(ours).parameters.values())
    facts = [
        [(p.name, p.kind, p.default) for p in ps] for ps in (ours_parameters, theirs_parameters)
    ]
    assert facts[0][: len(facts[1])] == facts[1]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in facts[0][len(facts[1]) :])
    a, b = (cls(make_params([(3,)])) for cls in (ours, theirs))
    assert_same(a.param_groups, b.param_groups, 0, "param_groups")
    assert a.defaults == b.defaults
    assert repr(a) == repr(b)
    assert isinstance(a, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_inf_of_a_gradient_reach_the_parameters(name):
    pair = make_pair(name, lambda: make_params([(6,)]), **OPTIONS[name])
    for t in range(2):
        for opt in pair:
            (p,) = params_of(opt)
            g = normal((6,), t)
            g[2], g[4] = math.nan, math.inf
            p.grad = sparse_for(name)(g)
            opt.step()
        if name == "Rprop":  # torch's leaves the element as it is
            (ours,), (theirs,) = map(params_of, pair)
            assert ours[2].isnan()
            theirs.data[2] = math.nan
        assert_same(*map(params_of, pair), 1e-6, f"step {t}")

"""The optimizers that torch.optim lacks have the bits of fastopt's classes, and torch's behaviour.

A rule without a class in fastopt.torch that extends `Further` gets one here, so that every rule is
tested.
"""

import copy
import inspect
import io
import pickle
import re

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CASES, FACTORED_CASES, FACTORED_RULES, RATES, RULES, SUM_CASES, SUM_RULES
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.nn import Parameter

import fastopt
import fastopt.torch
from fastopt import _core
from fastopt.optimizers.base.rule import defaults_of
from fastopt.torch import options
from fastopt.torch.base import Further
from tests.torch.pairs import DENSE, OPTIONS, normal, params_of, rows, set_gradients

PUBLIC = {cls.__name__: cls for cls in Further.__subclasses__()}
NAMES = [*dict.fromkeys(rule.name for rule in [*RULES, *SUM_RULES, *FACTORED_RULES])]
CLASSES = {
    name: PUBLIC.get(name)
    or type(name, (Further,), {"_rule": getattr(fastopt, name), "__module__": __name__})
    for name in NAMES
}
globals().update(CLASSES)  # where pickle finds them
NOT_HERE = {"rowwise": True, "nesterov": "lookahead", "decoupled_weight_decay": "schedule_only"}
HERE = [
    case
    for case in [*CASES, *SUM_CASES, *FACTORED_CASES]
    if not NOT_HERE.items() & case.options.items()
]
NUMPY_OF = {torch.bfloat16: ml_dtypes.bfloat16}
SHAPES = [(3, 5), (), (70,)]


def array(tensor):
    """Return a copy of a tensor as an array with the same bits."""
    if tensor.dtype is torch.bfloat16:
        return tensor.detach().clone().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().clone().numpy()


def bits(values):
    """Return the bits of tensors or arrays."""
    arrays = [array(v) if torch.is_tensor(v) else np.asarray(v) for v in values]
    return [(a.dtype.str, a.shape, a.tobytes()) for a in arrays]


def params(dtype=torch.float32):
    return [Parameter(normal(shape, i).to(dtype)) for i, shape in enumerate(SHAPES)]


def options_of(name):
    """Return the longest options of a rule that are allowed here."""
    return max((case.options for case in HERE if case.rule.name == name), key=len)


def make(name, **options):
    return CLASSES[name](params(), **{**options_of(name), **options})


def walk(opts, start=0, steps=3):
    """Step optimizers with the same gradients."""
    for t in range(start, start + steps):
        set_gradients(opts, 10 + t)
        for opt in opts:
            opt.step()


def seen(opt):
    """Return the bits of parameters and state."""
    state = [opt.state[p] for p in params_of(opt)]
    return bits(params_of(opt)), [(list(s), bits(s.values())) for s in state]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", HERE, ids=str)
def test_bits_are_those_of_the_class_for_arrays(case, dtype):
    ours = CLASSES[case.rule.name](params(dtype), **case.options)
    other = case.make([array(p) for p in params_of(ours)])
    for t, rate in enumerate(RATES):
        lr = rate * case.rule.lr
        for opt in (ours, other):
            opt.param_groups[0]["lr"] = lr
        set_gradients([ours], t)
        other.step([array(p.grad) for p in params_of(ours)])
        ours.step()
        assert bits(params_of(ours)) == bits(other.params), t
        for p, state in zip(params_of(ours), other.state.values(), strict=True):
            found = dict(ours.state[p])
            assert found.pop("step") == t + 1
            assert {k: bits([v]) for k, v in found.items()} == {
                k: bits([v]) for k, v in state.items() if k != "step"
            }


@pytest.mark.parametrize("name", NAMES)
def test_steps_without_some_gradients(name):
    """Numbers that all parameters share are those of parameters without a gradient, too."""
    ours = make(name)
    other = getattr(fastopt, name)([array(p) for p in params_of(ours)], **options_of(name))
    for t, absent in enumerate([{0}, {1, 2}, {}, {1}, {0, 2}, {2}, {}]):
        set_gradients([ours], t)
        for i in absent:
            params_of(ours)[i].grad = None
        other.step([None if p.grad is None else array(p.grad) for p in params_of(ours)])
        ours.step()
        assert bits(params_of(ours)) == bits(other.params), t


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_those_of_the_class_for_arrays(name):
    ours = inspect.signature(CLASSES[name]).parameters
    theirs = inspect.signature(getattr(fastopt, name)).parameters
    kinds = {n: (p.kind, p.default) for n, p in theirs.items() if p.kind is not p.VAR_KEYWORD}
    assert list(ours)[: len(kinds)] == list(kinds)
    assert {n: (ours[n].kind, ours[n].default) for n in kinds} == kinds
    group = make(name).param_groups[0]
    assert group.keys() == getattr(fastopt, name)(np.zeros(1)).param_groups[0].keys()
    assert list(options.DEFAULTS.keys() - ours.keys()) == ["grad_scale"]


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_name_every_argument(name):
    cls = CLASSES[name]
    listed = re.search(
        r"Parameters\n-+\n(.*?)\n *As in `fastopt\.(\w+)`", inspect.getdoc(cls), re.S
    )
    own = [n for n in inspect.signature(cls).parameters if n not in options.DEFAULTS]
    assert (re.split(r",\s+", listed[1]), listed[2]) == (own, name)


COPIES = {
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
    "deepcopy": copy.deepcopy,
    "state dict": lambda opt: loaded(opt, opt.state_dict()),
    "file": lambda opt: loaded(opt, through_file(opt.state_dict())),
}


def loaded(opt, state_dict):
    other = type(opt)([Parameter(p.detach().clone()) for p in params_of(opt)])
    other.load_state_dict(state_dict)
    return other


def through_file(state_dict):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", NAMES)
def test_copies_continue_with_the_same_bits(name, way):
    opt = make(name)
    walk([opt])
    other = COPIES[way](opt)
    assert other.param_groups[0].keys() == opt.param_groups[0].keys()
    walk([opt, other], 3)
    assert seen(other) == seen(opt)


def test_a_state_dict_without_a_newer_option_has_the_value_of_the_optimizer():
    opt = CLASSES["Adam"](params(), eps_root=0.5)
    saved = opt.state_dict()
    del saved["param_groups"][0]["eps_root"]
    opt.load_state_dict(saved)
    assert opt.param_groups[0]["eps_root"] == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_schedulers_closures_and_tensors_as_rates(name):
    one, other = make(name, lr=0.25), make(name, lr=torch.tensor(0.25))
    schedules = [torch.optim.lr_scheduler.ExponentialLR(opt, 0.5) for opt in (one, other)]
    for t in range(3):
        set_gradients([one, other], t)
        assert one.step(lambda: 3.5) == 3.5
        other.step()
        for schedule in schedules:
            schedule.step()
    assert one.param_groups[0]["lr"] == other.param_groups[0]["lr"] == 0.25 / 8
    assert seen(one) == seen(other)


@pytest.mark.parametrize("name", NAMES)
def test_groups_have_options_of_their_own(name):
    lone, (first, *others) = make(name, lr=0.5), params()
    opt = CLASSES[name]([first], **options_of(name))
    opt.add_param_group({"params": others, **options_of(name), "lr": 0.5, "name": "others"})
    walk([lone, opt])
    assert bits(params_of(opt)[1:]) == bits(params_of(lone)[1:])
    assert bits(params_of(opt)[:1]) != bits(params_of(lone)[:1])


@pytest.mark.parametrize("name", NAMES)
def test_gradient_scaler(name):
    scaled, other = make(name), make(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))  # its first use makes the scale
    for t in range(4):
        set_gradients([scaled, other], t)
        for p in params_of(scaled):
            p.grad *= scaler.get_scale()
        if t == 1:
            params_of(scaled)[0].grad[0] = torch.inf
        else:
            other.step()
        scaler.step(scaled)
        scaler.update()
    assert scaler.get_scale() == 2.0
    assert seen(scaled) == seen(other)


AVERAGED = {
    "ASGD": dict(lr=0.1, t0=2.0),
    "ScheduleFreeSGD": dict(lr=0.1, momentum=0.7, warmup_steps=3),
    "ScheduleFreeAdamW": dict(lr=0.1, betas=(0.7, 0.9), master="float32"),
    "ScheduleFreeRAdam": dict(lr=0.1, betas=(0.7, 0.9), silent_sgd_phase=False),
    "AdamW": dict(lr=0.1, ema_decay=0.7),
    "Lion": dict(lr=0.1, lookahead_steps=2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", AVERAGED)
def test_averages_are_those_of_the_class_for_arrays(name, dtype):
    ours = getattr(fastopt.torch, name)(params(dtype), **AVERAGED[name])
    other = getattr(fastopt, name)([array(p) for p in params_of(ours)], **AVERAGED[name])
    for t in range(5):
        set_gradients([ours], t)
        other.step([array(p.grad) for p in params_of(ours)])
        ours.step()
    before = bits(params_of(ours))
    with ours.averaged(), other.averaged():
        assert bits(params_of(ours)) == bits(other.params) != before
        with pytest.raises(ValueError, match=r"step\(\) inside averaged"):
            ours.step()
    assert bits(params_of(ours)) == before
    with pytest.raises(ValueError, match="ema_decay is None"), make("Adam").averaged():
        pass


@pytest.mark.parametrize("given", [dict(ema_decay=0.9), dict(lookahead_steps=2)], ids=str)
@pytest.mark.parametrize("name", ["ASGD", "ScheduleFreeSGD"])
def test_a_rule_that_averages_refuses_other_averages(name, given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} is .*{name} averages"):
        walk([getattr(fastopt.torch, name)(params(), **given)])


@pytest.mark.parametrize("name", NAMES)
def test_step_in_backward(name):
    opts = [make(name), make(name)]
    if _core.SUMS.get(opts[0]._rule._kernel(opts[0].param_groups[0])[0]) == "all":
        with pytest.raises(ValueError, match=f"{name} needs sums over all parameters"):
            fastopt.torch.step_in_backward(opts[0])
        return
    fastopt.torch.step_in_backward(opts[0])
    for _ in range(3):
        for opt in opts:
            sum((p**2).sum() for p in params_of(opt)).backward()
        opts[1].step()
        opts[1].zero_grad()
    assert seen(opts[0]) == seen(opts[1])


@pytest.mark.parametrize("name", NAMES)
def test_cpu_offload(name):
    opt, offloaded = make(name), params()
    host = fastopt.torch.CPUOffload(
        offloaded, CLASSES[name], offload_gradients=False, **options_of(name)
    )
    walk([opt, host])
    assert bits(offloaded) == bits(params_of(opt))


@pytest.mark.parametrize("name", NAMES)
def test_distributed_checkpoint(name):
    """torch.distributed.checkpoint takes a step with gradients 0 to make the state."""

    def model():
        return torch.nn.ParameterDict({str(i): p for i, p in enumerate(params())})

    one, other = model(), model()
    opt, loaded = (CLASSES[name](m.parameters(), **options_of(name)) for m in (one, other))
    walk([opt])
    saved = get_optimizer_state_dict(one, opt)
    other.load_state_dict(one.state_dict())
    set_optimizer_state_dict(other, loaded, saved)
    walk([opt, loaded], 3)
    assert seen(loaded) == seen(opt)


REFUSED = [
    (dict(lr=-1.0), ValueError, r"lr is -1\.0; allowed: finite, >= 0"),
    (dict(lr=lambda t: 0.1), TypeError, "lr is .* a number is needed"),
    (dict(lr=torch.ones(2)), TypeError, "lr is .* a number is needed"),
    (dict(lr=1e39), ValueError, "lr is 1e\\+39 with a parameter that is computed in float32"),
    (dict(weight_decay=torch.tensor(-1.0)), ValueError, "weight_decay is -1"),
    (dict(decoupled_weight_decay="schedule_only"), ValueError, "schedule_only.*allowed: False"),
    (dict(maximize=1), TypeError, "maximize is 1"),
]


def edited(name, given):
    opt = make(name)
    opt.param_groups[0].update(given)
    walk([opt])


def added(name, given):
    opt = make(name)
    try:
        opt.add_param_group({"params": params(), **given})
    finally:
        assert len(opt.param_groups) == 1


@pytest.mark.parametrize("way", [lambda name, given: make(name, **given), edited, added])
@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=lambda x: str(x)[:30])
@pytest.mark.parametrize("name", NAMES)
def test_refused_options(name, given, error, message, way):
    with pytest.raises(error, match=message):
        way(name, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(learning_rate=0.1), "unexpected keyword 'learning_rate'; did you mean 'lr'"),
        (dict(foreach=True), "unexpected keyword 'foreach'.*allowed: params, lr"),
        (dict(capturable=True), "unexpected keyword 'capturable'"),
        (dict(params=[]), "multiple values for argument 'params'"),
    ],
)
def test_unknown_arguments(given, message):
    with pytest.raises(TypeError, match=message):
        make("Adam", **given)


@pytest.mark.parametrize("item", ["capturable", "differentiable"])
def test_items_of_torch_that_need_its_own_step_are_refused(item):
    with pytest.raises(ValueError, match=r"capturable or differentiable.*Adam"):
        edited("Adam", {item: True})


def test_options_that_cannot_be_combined_are_refused_at_the_step():
    opt = CLASSES["Adam"](params(), amsgrad="corrected")
    walk([opt])
    before = seen(opt)
    opt.param_groups[0]["eps_mode"] = "hat"
    with pytest.raises(ValueError, match="amsgrad='corrected'"):
        walk([opt])
    assert seen(opt) == before


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("Adagrad", dict(rowwise=True), "one state for each row"),
        ("SGD", dict(momentum=0.9, nesterov="lookahead", lr_in_buffer=True), "look-ahead point"),
    ],
)
def test_options_that_only_arrays_have(name, given, message):
    """Neither as arguments, nor as items of a group of a class of torch."""
    with pytest.raises(ValueError, match=message):
        CLASSES[name](params(), **given)
    opt = getattr(fastopt.torch, name)([{"params": params(), **given}])
    with pytest.raises(ValueError, match=message):
        walk([opt])


def test_eps_of_0_is_warned_of():
    with pytest.warns(UserWarning, match="eps is 0"):
        CLASSES["Adam"](params(), eps=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_gradients_update_the_rows_that_are_present(name):
    given = {**options_of(name), "weight_decay": 0.0}
    opt, other = (CLASSES[name]([Parameter(normal((6, 4), 0))], **given) for _ in range(2))
    walk([opt, other], steps=1)
    (p,), (q,) = params_of(opt), params_of(other)
    before = p.detach().clone()
    q.grad = normal((6, 4), 5)
    p.grad = rows(q.grad)
    reason = CLASSES[name]._rule._no_rows({**defaults_of(CLASSES[name]._rule), **given})
    if reason:
        with pytest.raises(ValueError, match=f"the gradient of parameter 0 is sparse; {reason}"):
            opt.step()
        assert torch.equal(p, before)
        return
    opt.step()
    other.step()
    assert torch.equal(p[::2], q[::2])
    assert torch.equal(p[1::2], before[1::2])
    p.grad = normal((6, 4), 5).to_sparse(2)
    with pytest.raises(ValueError, match=f"2 sparse dimensions; {name} needs one"):
        opt.step()
    p.grad = rows(q.grad)
    opt.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(RuntimeError, match="weight_decay"):
        opt.step()


AROUND = [
    dict(l1=0.2, bounds=(-0.5, None)),
    dict(l1=torch.tensor(0.2), bounds=[None, 0.5]),
    dict(decoupled_weight_decay="proximal", weight_decay=0.1),
]


@pytest.mark.parametrize("given", AROUND, ids=str)
def test_options_that_a_class_of_torch_cannot_have(given):
    opt = fastopt.torch.ASGD([{"params": params(), **given}])
    with pytest.raises(ValueError, match="allowed with ASGD"):
        walk([opt])


@pytest.mark.parametrize("given", AROUND, ids=str)
@pytest.mark.parametrize("name", [name for name in DENSE if name != "ASGD"])
def test_l1_bounds_and_proximal_decay_with_a_class_of_torch(name, given):
    """All may be items of a group, and the first two also keywords."""
    cls = getattr(fastopt.torch, name)
    opts = [cls([{"params": params(), **given}], **{**OPTIONS[name], "lr": 0.5})]
    if "l1" in given:
        opts.append(cls(params(), **{**OPTIONS[name], "lr": 0.5}, **given))
        opts.append(cls([{"params": params(), **given}], **{**OPTIONS[name], "lr": 0.5}, l1=7.0))
    other = getattr(fastopt, name)(
        [array(p) for p in params()], **{**OPTIONS[name], **given, "lr": 0.5}
    )
    for t in range(3):
        set_gradients(opts, t)
        other.step([array(p.grad) for p in params_of(opts[0])])
        for opt in opts:
            opt.step()
            assert bits(params_of(opt)) == bits(other.params)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("SGD", dict(normalized="tensor")),
        ("SGD", dict(normalized="all")),
        ("Adam", dict(cautious=True)),
        ("AdamW", dict(cautious=True, weight_decay=0.1)),
    ],
)
def test_options_that_a_class_of_torch_has_only_in_groups(name, given):
    opt = getattr(fastopt.torch, name)([{"params": params(), **given}], lr=0.1)
    other = getattr(fastopt, name)([array(p) for p in params()], lr=0.1, **given)
    for t in range(3):
        set_gradients([opt], t)
        other.step([array(p.grad) for p in params_of(opt)])
        opt.step()
        assert bits(params_of(opt)) == bits(other.params)


@pytest.mark.parametrize("name", ["DoG", "Prodigy"])
def test_initial_values_are_not_rounded(name):
    opt = CLASSES[name](params(), state_dtype="bfloat16")
    with pytest.raises(ValueError, match="is the initial value of a parameter"):
        walk([opt])
    assert not opt.state
    walk([CLASSES[name](params(torch.bfloat16), state_dtype="param")])


def test_sums_over_all_parameters_are_not_known_in_the_backward_pass():
    opt = fastopt.torch.SGD([{"params": params(), "normalized": "all"}], lr=0.1)
    with pytest.raises(ValueError, match="SGD needs sums over all parameters"):
        fastopt.torch.step_in_backward(opt)
    opt.param_groups[0]["normalized"] = False
    fastopt.torch.step_in_backward(opt)
    opt.param_groups[0]["normalized"] = "all"
    before = bits(params_of(opt))
    with pytest.raises(ValueError, match="SGD needs sums over all parameters"):
        (params_of(opt)[0] ** 2).sum().backward()
    assert bits(params_of(opt)) == before


@pytest.mark.parametrize("name", [*DENSE, "Lion"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(l1=-1.0), "l1 is -1.0; allowed: finite, >= 0"),
        (dict(bounds=(1.0, 0.0)), "bounds is .*low <= high is needed"),
    ],
)
def test_refused_l1_and_bounds(name, given, message):
    cls = CLASSES[name] if name in PUBLIC else getattr(fastopt.torch, name)
    with pytest.raises(ValueError, match=message):
        cls(params(), **given)
    opt = cls(params())
    opt.param_groups[0].update(given)
    with pytest.raises(ValueError, match=message):
        walk([opt])


@pytest.mark.parametrize("given", [dict(l1=0.1), dict(bounds=(0.0, None))], ids=str)
def test_the_step_of_torch_refuses_l1_and_bounds(given):
    for opt in (
        fastopt.torch.Adam(params(), differentiable=True, **given),
        fastopt.torch.Adam([{"params": params(), **given}], differentiable=True),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(given))} is .*differentiable"):
            walk([opt])


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_mask(name):
    """A parameter without decay has the bits of a step with weight_decay=0."""
    given = {**options_of(name), "decoupled_weight_decay": False}
    named = [(str(i), p) for i, p in enumerate(params())]
    masked = CLASSES[name](
        named, **{**given, "weight_decay": 0.1}, weight_decay_mask=lambda n: n == "0"
    )
    decayed, other = (CLASSES[name](params(), **{**given, "weight_decay": d}) for d in (0.1, 0.0))
    walk([masked, decayed, other])
    found = bits(params_of(masked))
    assert found[:1] == bits(params_of(decayed)[:1])
    assert found[1:] == bits(params_of(other)[1:])
    assert found[1:] != bits(params_of(decayed)[1:])

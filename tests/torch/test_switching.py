"""State dicts switch between torch.optim and fastopt.torch; schedulers and SWA drive both.

With 16-bit parameters, torch stores state in the parameter's dtype and rounds after each operation.
fastopt stores float32 state and rounds the parameter once per step.  So a state dict transfers the
same numbers (exactly from torch to fastopt, rounded to nearest from fastopt to torch), and a step
of fastopt is a float32 step that is rounded once, but the two trajectories differ.
"""

import io

import pytest
import torch
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

from tests.torch.pairs import (
    DENSE,
    NAMES,
    OPTIONS,
    PAIRS,
    assert_close,
    assert_same,
    assert_same_optimizers,
    make_pair,
    make_params,
    normal,
    outcome,
    params_of,
    plain,
    rows,
    set_gradients,
    tolerance,
)

SHAPES = [(5,), (3, 4), (17,)]


def through_a_file(state_dict):
    """Return the state dict, saved and loaded by torch."""
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


WAYS = {"dict": lambda state_dict: state_dict, "file": through_a_file}


def optimizer(cls, name, dtype):
    """Return an optimizer of two groups."""
    a, b, c = make_params(SHAPES, dtype)
    options = OPTIONS[name] if cls is PAIRS[name][0] else {**OPTIONS[name], **plain(name)}
    return cls([{"params": [a, b]}, {"params": [c], "lr": 0.05}], **options)


def layouts_of(name):
    return [rows] * len(SHAPES) if name == "SparseAdam" else None


def handed_over(opt, cls, name, way):
    """Return a new optimizer of class `cls` with the parameters and state of `opt`."""
    new = optimizer(cls, name, params_of(opt)[0].dtype)
    for p, q in zip(params_of(new), params_of(opt), strict=True):
        p.data.copy_(q.data)
    new.load_state_dict(way(opt.state_dict()))
    return new


def switching(name, dtype, way, steps=40, every=10):
    """Yield the step, torch's optimizer and one that is in turn torch's and ours.

    Both are saved and loaded, because loading changes numbers: torch casts NAdam's float32
    product of momenta to the parameter's dtype.
    """
    ours, theirs = PAIRS[name]
    alone, switched = optimizer(theirs, name, dtype), optimizer(theirs, name, dtype)
    for t in range(1, steps + 1):
        set_gradients([alone, switched], t, layouts_of(name))
        alone.step()
        switched.step()
        for opt in (alone, switched):
            for group in opt.param_groups:
                group["lr"] *= 0.97
        yield t, alone, switched
        if t % every == 0:
            alone = handed_over(alone, theirs, name, way)
            switched = handed_over(switched, theirs if t // every % 2 == 0 else ours, name, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_switching_every_10_steps_changes_nothing(name, dtype, way):
    for t, alone, switched in switching(name, dtype, WAYS[way]):
        assert_same_optimizers(switched, alone, tolerance(name, dtype), f"step {t}")
        for ours, theirs in zip(switched.param_groups, alone.param_groups, strict=True):
            assert {**ours, "params": 0, "foreach": 0} == {**theirs, "params": 0, "foreach": 0}


def float32_walk(name, steps=40):
    opt = optimizer(PAIRS[name][1], name, torch.float32)
    for p in params_of(opt):
        p.data = p.data.bfloat16().float()
    for t in range(1, steps + 1):
        for i, p in enumerate(params_of(opt)):
            g = normal(p.shape, 1000 * t + i, torch.bfloat16).float()
            p.grad = rows(g) if name == "SparseAdam" else g
        opt.step()
        for group in opt.param_groups:
            group["lr"] *= 0.97
    return opt


def mean_distance(opt, truth):
    return torch.cat(
        [
            (p.detach().double() - q.detach()).abs().flatten()
            for p, q in zip(params_of(opt), params_of(truth), strict=True)
        ]
    ).mean()


@pytest.mark.parametrize("name", NAMES)
def test_switching_in_bfloat16_stays_as_near_to_float32_as_torch(name):
    *_, (_, alone, switched) = switching(name, torch.bfloat16, through_a_file)
    truth = float32_walk(name)
    assert mean_distance(switched, truth) <= 1.2 * mean_distance(alone, truth)


def tensors_of_state(opt):
    """Return the floating-point state of each parameter, without the counters."""
    return [
        {
            k: v
            for k, v in opt.state[p].items()
            if torch.is_tensor(v) and k not in ("step", "mu_product")
        }
        for p in params_of(opt)
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_hands_over_the_numbers_of_bfloat16(name, way):
    ours, theirs = PAIRS[name]
    first = optimizer(theirs, name, torch.bfloat16)
    set_gradients([first], 1, layouts_of(name))
    first.step()
    assert [state.get("step", 1) for state in first.state.values()] == [1] * len(SHAPES)
    second = handed_over(first, ours, name, WAYS[way])
    for a, b in zip(tensors_of_state(second), tensors_of_state(first), strict=True):
        assert list(a) == list(b)
        assert all(torch.equal(a[k].float(), b[k].float()) for k in b)
    set_gradients([second], 2, layouts_of(name))
    second.step()
    third = handed_over(second, theirs, name, WAYS[way])
    for a, b in zip(tensors_of_state(third), tensors_of_state(second), strict=True):
        assert all(v.dtype == torch.float32 for v in b.values())
        assert all(torch.equal(a[k], b[k].bfloat16()) for k in b)
    assert [state.get("step", 2) for state in third.state.values()] == [2] * len(SHAPES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_step_in_16_bits_is_a_float32_step_rounded_once(name, dtype):
    ours, theirs = PAIRS[name]
    low, exact = optimizer(ours, name, dtype), optimizer(theirs, name, torch.float32)
    half_ulp = torch.finfo(dtype).eps / 2
    for t in range(1, 7):
        set_gradients([low], t, layouts_of(name))
        for p, q in zip(params_of(low), params_of(exact), strict=True):
            q.data.copy_(p.data)
            q.grad = p.grad.float()
        low.step()
        exact.step()
        for p, q in zip(params_of(low), params_of(exact), strict=True):
            # 1e-5: sums that differ by float32's rounding may round to different neighbours.
            bound = half_ulp * q.detach().abs() * (1 + 1e-3) + 1e-5
            worst = ((p.detach().float() - q.detach()).abs() - bound).max()
            assert worst <= 0, f"step {t}: beyond half a unit in the last place by {worst:.2g}"
            assert_same(low.state[p], exact.state[q], 1e-6, f"step {t}, state")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_has_the_layout_of_torch(name):
    pair = make_pair(name, lambda: make_params(SHAPES), **OPTIONS[name])
    set_gradients(pair, 1, layouts_of(name))
    before = [opt.state_dict() for opt in pair]
    for opt in pair:
        opt.step()
    after = [opt.state_dict() for opt in pair]
    for ours, theirs in (before, after):
        for group in (ours, theirs):
            group["param_groups"][0].pop("foreach", None)
        assert_same(ours, theirs, 1e-6, "state dict")


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_load_raises_the_error_of_torch(name):
    def load(cls, change):
        opt, other = (optimizer(cls, name, torch.float32) for _ in range(2))
        set_gradients([opt, other], 1, layouts_of(name))
        for one in (opt, other):
            one.step()
        state_dict = opt.state_dict()
        change(state_dict)
        return [
            outcome(lambda: other.load_state_dict(state_dict)),
            [(p, other.state[p]) for p in params_of(other)],
        ]

    def fewer_groups(state_dict):
        del state_dict["param_groups"][1]

    def fewer_params(state_dict):
        state_dict["param_groups"][0]["params"].pop()

    for change in (fewer_groups, fewer_params):
        ours, theirs = (load(cls, change) for cls in PAIRS[name])
        assert theirs[0][0] is ValueError
        assert_same(ours, theirs, 1e-6, change.__name__)


def as_saved_by_torch_1_5(state_dict):
    """Change a state dict to what the first versions of torch saved."""
    for group in state_dict["param_groups"]:
        for key in ("maximize", "foreach", "fused", "capturable", "differentiable", "amsgrad",
                    "nesterov", "centered", "decoupled_weight_decay"):  # fmt: skip
            group.pop(key, None)
    for state in state_dict["state"].values():
        if "step" in state:
            state["step"] = int(state["step"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Adafactor"])
def test_state_dicts_of_old_versions_load(name):
    options = {**OPTIONS[name]}
    for key in ("amsgrad", "centered"):
        options.pop(key, None)

    def trained(cls):
        opt = cls(make_params(SHAPES), **options)
        set_gradients([opt], 1, layouts_of(name))
        opt.step()
        state_dict = opt.state_dict()
        as_saved_by_torch_1_5(state_dict)
        new = cls(params_of(opt), **options)
        new.load_state_dict(state_dict)
        for t in (2, 3):
            set_gradients([new], t, layouts_of(name))
            new.step()
        return [[(p, new.state[p]) for p in params_of(new)], new.param_groups[0].keys()]

    ours, theirs = (trained(cls) for cls in PAIRS[name])
    assert_same(ours[0], theirs[0], 1e-6, "after loading")
    assert set(ours[1]) == set(theirs[1])


BEYOND = [2**24 - 2, 2**24, 2**30, 2**24 + 2]


@pytest.mark.parametrize("name", [name for name in DENSE if name != "SGD"])
@pytest.mark.parametrize("start", BEYOND)
def test_steps_beyond_float32(name, start):
    """torch's counter stops at 2^24; ours is the float32 number that is nearest to the count."""
    pair = make_pair(name, lambda: make_params(SHAPES), **OPTIONS[name])
    for t in range(5):
        set_gradients(pair, t)
        for opt in pair:
            opt.step()
        if t == 0:
            for opt in pair:
                state_dict = opt.state_dict()
                for state in state_dict["state"].values():
                    state["step"] = torch.tensor(float(start))
                opt.load_state_dict(state_dict)
            continue
        for p, q in zip(*map(params_of, pair), strict=True):
            assert_close(p.detach(), q.detach(), 1e-6, f"step {t}")
            step = pair[0].state[p]["step"]
            assert step.dtype == torch.float32
            assert torch.equal(step, torch.tensor(float(start + t))), f"step {t}"


def halving(epoch):
    return 0.5**epoch


SCHEDULERS = {
    "LambdaLR": lambda opt: schedulers.LambdaLR(opt, halving),
    "MultiplicativeLR": lambda opt: schedulers.MultiplicativeLR(opt, lambda epoch: 0.9),
    "StepLR": lambda opt: schedulers.StepLR(opt, 3, gamma=0.5),
    "MultiStepLR": lambda opt: schedulers.MultiStepLR(opt, [2, 5], gamma=0.5),
    "ConstantLR": lambda opt: schedulers.ConstantLR(opt, factor=0.3, total_iters=4),
    "LinearLR": lambda opt: schedulers.LinearLR(opt, start_factor=0.3, total_iters=5),
    "ExponentialLR": lambda opt: schedulers.ExponentialLR(opt, 0.8),
    "PolynomialLR": lambda opt: schedulers.PolynomialLR(opt, total_iters=7, power=2),
    "CosineAnnealingLR": lambda opt: schedulers.CosineAnnealingLR(opt, T_max=5, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda opt: schedulers.CosineAnnealingWarmRestarts(opt, T_0=3),
    "SequentialLR": lambda opt: schedulers.SequentialLR(
        opt,
        [schedulers.ConstantLR(opt, factor=0.1, total_iters=3), schedulers.ExponentialLR(opt, 0.8)],
        milestones=[3],
    ),
    "ChainedScheduler": lambda opt: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(opt, factor=0.1, total_iters=3), schedulers.ExponentialLR(opt, 0.8)]
    ),
    "ReduceLROnPlateau": lambda opt: schedulers.ReduceLROnPlateau(opt, patience=1, factor=0.5),
    "CyclicLR": lambda opt: schedulers.CyclicLR(
        opt, 0.01, 0.1, step_size_up=3, base_momentum=0.7, max_momentum=0.95
    ),
    "OneCycleLR": lambda opt: schedulers.OneCycleLR(
        opt, 0.2, total_steps=12, base_momentum=0.7, max_momentum=0.95
    ),
    "SWALR": lambda opt: SWALR(opt, swa_lr=0.02, anneal_epochs=4),
}


def test_every_scheduler_of_torch_is_in_the_table():
    assert set(SCHEDULERS) - {"SWALR"} == set(schedulers.__all__) - {"LRScheduler"}


@pytest.mark.parametrize("lr", [0.1, "tensor"])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "AdamW", "NAdam"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scheduler(scheduler, name, lr):
    def trained(cls):
        lr_of = (lambda x: torch.tensor(x)) if lr == "tensor" else float
        a, b = make_params([(3, 4), (5,)])
        opt = cls([{"params": [a]}, {"params": [b], "lr": lr_of(0.2)}],
                  **{**OPTIONS[name], **plain(name), "lr": lr_of(0.1)})  # fmt: skip
        schedule = SCHEDULERS[scheduler](opt)
        seen = []
        for t in range(12):
            set_gradients([opt], t)
            opt.step()
            if scheduler == "ReduceLROnPlateau":
                schedule.step(1.0)
            elif t < 11:  # OneCycleLR has total_steps - 1 of them
                schedule.step()
            groups = [[float(g["lr"]), g.get("momentum"), g.get("betas")] for g in opt.param_groups]
            seen.append([groups, [p.detach().clone() for p in params_of(opt)]])
        return seen

    ours, theirs = (outcome(lambda cls=cls: trained(cls)) for cls in PAIRS[name])
    assert type(theirs) is list, theirs
    assert_same(ours, theirs, 1e-6, "step")
    assert len({tuple(group[0] for group in groups) for groups, _ in theirs}) > 1
    if scheduler in ("CyclicLR", "OneCycleLR"):
        assert len({str(groups[0][1:]) for groups, _ in theirs}) > 3, "momentum is not cycled"


@pytest.mark.parametrize("name", DENSE)
def test_stochastic_weight_averaging(name):
    def trained(cls):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(),
                                    torch.nn.Linear(6, 2))  # fmt: skip
        data = [normal((8, 4), i) for i in range(3)]
        averages = [
            AveragedModel(model),
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
        ]
        opt = cls(model.parameters(), **{**OPTIONS[name], **plain(name), "lr": 0.02})
        schedule = SWALR(opt, swa_lr=0.005, anneal_epochs=3)
        for _ in range(3):
            for x in data:
                opt.zero_grad()
                (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
                opt.step()
            for average in averages:
                average.update_parameters(model)
            schedule.step()
        for average in averages:
            update_bn(data, average)
        return [list(average.state_dict().values()) for average in averages]

    ours, theirs = (trained(cls) for cls in PAIRS[name])
    assert_same(ours, theirs, 1e-5, "averages")
    assert all(torch.is_tensor(x) for values in theirs for x in values)

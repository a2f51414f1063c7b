"""Dicts in the layout of PyTorch's state dicts; tests/peers loads those of torch itself."""

import ml_dtypes
import numpy as np
import pytest
from support import arrays, unchanged

from fastopt import SGD, Adam, FastoptError, RMSprop
from fastopt.schedules import cosine


def of_pytorch(**changes):
    group = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0, "amsgrad": False,
             "maximize": False, "foreach": None, "params": [0, 1]}  # fmt: skip
    zeros = {"step": 2.0, "exp_avg": np.zeros(3), "exp_avg_sq": np.ones(3)}
    return {"state": {0: zeros}, "param_groups": [group], **changes}


def test_state_dict_of_pytorch_is_loaded():
    opt = Adam(arrays(3, 3), eps_root=0.5, lr=cosine(0.1, 5))
    schedule = opt.param_groups[0].schedule
    opt.load_state_dict(of_pytorch())
    assert opt.step_count == opt.state[0]["step"] == 2
    assert opt.state[1]["step"] == 0
    assert opt.state[0]["exp_avg_sq"].tolist() == [1.0] * 3
    (group,) = opt.param_groups
    assert (group["betas"], group["eps_root"]) == ((0.8, 0.9), 0.0)
    assert group.schedule is schedule
    assert opt.lr == schedule(3)


GROUP_OF = of_pytorch()["param_groups"][0]
ADAMAX = {name: value for name, value in GROUP_OF.items() if name != "amsgrad"}


def test_state_dict_of_pytorch_with_a_master_and_an_average():
    w = np.array([1.5, 2.5, 3.5], ml_dtypes.bfloat16)
    opt = Adam([w, np.ones(3, np.float32)], master="float32", ema_decay=0.5)
    w[...] = 4.0
    single = {"step": 2.0, "exp_avg": np.ones(3, "f4"), "exp_avg_sq": np.ones(3, "f4")}
    opt.load_state_dict(of_pytorch(state={0: single}))
    assert opt.state[0]["master"].tolist() == opt.state[0]["ema"].tolist() == [4.0] * 3
    assert opt.state[0]["exp_avg"].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": None}, "the state None; a dict"),
        ({"state": {0: 5}}, "the state 5 for parameter 0"),
        ({"state": {0: {"step": 1.0, "sum": np.zeros(3)}}}, "for parameter 0.*'sum'.*'exp_avg'"),
        (
            {"state": {0: {"step": 1.0, "exp_avg": np.zeros(3), "exp_avg_sq": np.zeros(4)}}},
            r"shape \(4,\)",
        ),
        ({"state": {0: {"exp_avg": np.zeros(3)}}}, "no step of parameter 0"),
        ({"state": {0: {"step": 1.5, "exp_avg": np.zeros(3)}}}, r"step of parameter 0 is 1\.5"),
        ({"param_groups": []}, "groups: 0; this optimizer has 1"),
        ({"param_groups": 3}, "groups: 3"),
        ({"param_groups": [None]}, "parameters of group 0: None"),
        ({"param_groups": [{**GROUP_OF, "params": [0]}]}, r"parameters of group 0: \[0\]"),
        ({"param_groups": [{**GROUP_OF, "momentum": 0.9}]}, "'momentum' in group 0; Adam has no"),
        ({"param_groups": [{**GROUP_OF, "betas": (0.9, 1.5)}]}, r"betas of group 0\[1\] is 1\.5"),
        ({"param_groups": [{**GROUP_OF, "lr": -1.0}]}, r"^lr of group 0 is -1"),
        ({"param_groups": [{**GROUP_OF, "initial_lr": -1.0}]}, r"^initial_lr of group 0 is -1"),
        ({"param_groups": [{**GROUP_OF, "lr": np.ones(2)}]}, r"lr of group 0 is array"),
        ({"param_groups": [ADAMAX]}, "'amsgrad' in group 0"),
        ({"state": {}, "param_groups": [ADAMAX]}, "'amsgrad' in group 0"),
        ({"state": {5: {}}}, r"state of \[5\], which no group lists"),
        ({"param_groups": [{**GROUP_OF, "params": [5, 6]}]}, r"state of \[0\], which no group"),
        ({"param_groups": [{**GROUP_OF, "params": [0, 0]}]}, r"parameters of group 0: \[0, 0\]"),
        ({"param_groups": [{**GROUP_OF, "params": [0, {}]}]}, r"parameters of group 0: \[0, {}\]"),
        (
            {"state": {0: {"step": np.ones(2), "exp_avg": np.zeros(3)}}},
            "step of parameter 0 is",
        ),
        (
            {"param_groups": [{**GROUP_OF, "amsgrad": True}]},
            r"; make the .* with amsgrad=True$",
        ),
    ],
)
def test_unsuitable_state_dict_of_pytorch_is_refused(changes, message):
    opt = Adam(arrays(3, 3))
    opt.step(arrays(3, 3))
    with unchanged(opt), pytest.raises((FastoptError, TypeError), match=message):
        opt.load_state_dict(of_pytorch(**changes))


def test_message_about_the_state_of_momentum():
    saved = SGD(arrays(3), momentum=0.9).state_dict()["param_groups"][0]
    torchs = {name: saved[name] for name in ("lr", "momentum", "dampening", "weight_decay")}
    state = {"param_groups": [{**torchs, "nesterov": False, "params": [0]}], "state": {}}
    opt = SGD(arrays(3))
    with unchanged(opt), pytest.raises(FastoptError, match=r"; make the .* with momentum=0\.9$"):
        opt.load_state_dict(state)
    with unchanged(opt), pytest.raises(FastoptError, match=r"; make the .* with momentum=0\.5$"):
        opt.param_groups[0]["momentum"] = 0.5
    plain = RMSprop(arrays(3))
    both = RMSprop(arrays(3), centered=True, momentum=0.5)
    with (
        unchanged(plain),
        pytest.raises(
            FastoptError,
            match=r"^momentum=0\.5, centered=True needs|^centered=True, momentum=0\.5 needs",
        ),
    ):
        plain.load_state_dict(both.state_dict())


def named(*names):
    """Return a state dict of parameters with these names and with moments 1, 2 and so on."""
    state = {
        i: {"step": 1.0, "exp_avg": np.full(3, i + 1.0), "exp_avg_sq": np.full(3, i + 1.0)}
        for i in range(len(names))
    }
    indices = list(range(len(names)))
    return of_pytorch(
        state=state, param_groups=[{**GROUP_OF, "params": indices, "param_names": list(names)}]
    )


def test_names_take_precedence_over_order():
    params = dict(zip("ab", arrays(3, 3), strict=True))
    opt = Adam(params)
    opt.load_state_dict(named("b", "a"))
    assert [opt.state[name]["exp_avg"][0] for name in "ab"] == [2.0, 1.0]
    grouped = Adam([{"params": params}])
    grouped.load_state_dict(named("b", "a"))
    assert [grouped.state[i]["exp_avg"][0] for i in range(2)] == [2.0, 1.0]
    listed = Adam(arrays(3, 3))  # has no names, so order is used
    listed.load_state_dict(named("b", "a"))
    assert [listed.state[i]["exp_avg"][0] for i in range(2)] == [1.0, 2.0]


@pytest.mark.parametrize("names", [["a", "c"], ["a"], ["a", "a"], ["a", "b", "c"], "ab", 5])
def test_names_that_do_not_match_are_refused(names):
    opt = Adam(dict(zip("ab", arrays(3, 3), strict=True)))
    saved = named("a", "b")
    saved["param_groups"][0]["param_names"] = names
    with unchanged(opt), pytest.raises(FastoptError, match=r"the names.* in group 0.*\['a', 'b'\]"):
        opt.load_state_dict(saved)

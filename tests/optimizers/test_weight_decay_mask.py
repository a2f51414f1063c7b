"""weight_decay_mask: which names decay, also in group dicts and in groups added later."""

import copy
import pickle

import numpy as np
import pytest
from support import arrays, bits, everything, unchanged

from fastopt import SGD, Adam, FastoptError


def named_arrays():
    return dict(zip(["weight", "bias", "out.weight"], arrays((3, 4), 4, ()), strict=True))


@pytest.mark.parametrize("decoupled", [False, True, "schedule_only"])
def test_mask_splits_parameters_into_two_groups(decoupled):
    options = {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": decoupled}
    params, other = named_arrays(), named_arrays()
    opt = Adam(params, **options, weight_decay_mask=lambda name: name.endswith("weight"))
    by_hand = Adam({k: other[k] for k in ("weight", "out.weight")}, **options)
    by_hand.add_param_group({"params": {"bias": other["bias"]}, "weight_decay": 0.0})
    for t in range(3):
        grads = dict(zip(params, arrays((3, 4), 4, (), seed=t), strict=True))
        opt.step(grads)
        by_hand.step(grads)
    assert everything(opt) == everything(by_hand)
    assert opt.params.keys() == params.keys()
    assert all(opt.params[name] is w for name, w in params.items())
    assert list(opt.state) == ["weight", "out.weight", "bias"]
    opt.lr = 0.5
    assert opt.lr == 0.5


def test_mask_with_pickle_and_a_replaced_parameter():
    params = named_arrays()
    opt = SGD(params, weight_decay=0.1, weight_decay_mask=lambda name: name == "bias")
    copied = pickle.loads(pickle.dumps(opt))
    assert everything(copied) == everything(opt)
    params["weight"] = np.ones((3, 4))
    grads = dict(zip(params, arrays((3, 4), 4, ()), strict=True))
    with unchanged(opt), pytest.raises(FastoptError, match="'weight' is no longer the array"):
        opt.step(grads)


@pytest.mark.parametrize("decays", [True, False])
def test_mask_that_is_constant_makes_one_group(decays):
    opt = SGD(named_arrays(), weight_decay=0.1, weight_decay_mask=lambda name: decays)
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1 if decays else 0.0]


@pytest.mark.parametrize(
    ("params", "mask", "error", "message"),
    [
        (np.ones(3), lambda name: True, FastoptError, "weight_decay_mask takes names"),
        ([np.ones(3)], lambda name: True, FastoptError, "weight_decay_mask takes names"),
        ({"a": np.ones(3)}, "a", TypeError, "weight_decay_mask is 'a'; a callable"),
    ],
)
def test_bad_masks_are_refused(params, mask, error, message):
    with pytest.raises(error, match=message):
        SGD(params, weight_decay_mask=mask)
    with pytest.raises((FastoptError, TypeError), match="weight_decay_mask"):
        SGD([{"params": [np.ones(3)], "weight_decay_mask": mask}])


def test_mask_with_group_dicts_keeps_the_order_of_parameters():
    def made(**options):
        a, b, c, d = arrays(2, 3, 4, 5)
        groups = [
            {"params": {"a.bias": a, "a": b}},
            {"params": {"b": c, "b.bias": d}, "weight_decay": 0.4},
        ]
        return SGD(groups, lr=0.1, weight_decay=0.3, momentum=0.9, **options)

    opt, by_hand = made(weight_decay_mask=lambda name: "bias" not in name), made()
    found = {key: group["weight_decay"] for group in opt.param_groups for key in group.arrays}
    assert found == {0: 0.0, 1: 0.3, 2: 0.4, 3: 0.0}
    assert [w.size for w in opt.params] == list(range(2, 6))
    assert list(opt.state) == [0, 1, 2, 3]
    for seed in range(3):
        grads = arrays(2, 3, 4, 5, seed=seed)
        opt.step(grads)
        by_hand.step(grads)
    same = [bits(w) == bits(other) for w, other in zip(opt.params, by_hand.params, strict=True)]
    assert same == [False, True, True, False]
    opt.accumulate(arrays(2, 3, 4, 5))
    opt.accumulate([None, *arrays(2, 3, 4, 5)[1:]])
    assert {key: v.size for key, v in opt.state_dict()["accumulated"].items()} == {
        0: 2, 1: 3, 2: 4, 3: 5
    }  # fmt: skip


def test_mask_applies_to_added_groups():
    params = {"a": np.ones(2), "a.bias": np.ones(2)}
    opt = SGD(params, weight_decay=0.1, weight_decay_mask=lambda name: "bias" not in name)
    opt.add_param_group({"params": {"b.bias": np.ones(2), "b": np.ones(2)}, "lr": 0.5})
    found = [(list(g.arrays), g["lr"], g["weight_decay"]) for g in opt.param_groups[2:]]
    assert found == [(["b"], 0.5, 0.1), (["b.bias"], 0.5, 0.0)]
    opt = SGD([{"params": {}}], weight_decay=0.1, weight_decay_mask=lambda name: "bias" not in name)
    opt.add_param_group({"params": {"b.bias": np.ones(2), "b": np.ones(3)}})
    with unchanged(opt), pytest.raises(FastoptError, match="weight_decay_mask takes names"):
        opt.add_param_group({"params": [np.ones(2)]})
    opt.step([np.ones(2), np.ones(3)])


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))],
    ids=["copy", "pickle"],
)
def test_copy_needs_the_weight_decay_of_an_added_group(duplicate):
    params = {"a": np.ones(2), "a.bias": np.ones(2)}
    opt = SGD(params, weight_decay=0.1, weight_decay_mask=lambda name: "bias" not in name)
    for _ in range(2):
        opt = duplicate(opt)
    with (
        unchanged(opt),
        pytest.raises(FastoptError, match=r"whether 'b' decays.*'weight_decay'"),
    ):
        opt.add_param_group({"params": {"b": np.ones(2)}})
    opt.add_param_group({"params": {"b": np.ones(2)}, "weight_decay": 0.2})
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.0, 0.2]

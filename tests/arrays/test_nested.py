"""flatten(): nested structures of arrays as a flat dict, and back."""

from collections import OrderedDict, defaultdict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest
from support import bits

import fastopt
from fastopt import Adam, FastoptError, flatten

Layer = namedtuple("Layer", "weight bias")


class Exported:
    """An array of another library; `writeable` is whether NumPy may write to its memory."""

    def __init__(self, array, writeable):
        self.array = array
        self.view = array.view()
        self.view.flags.writeable = writeable

    def __array__(self, dtype=None, copy=None):
        return self.view


def tree():
    return {
        "layers": [Layer(np.ones((2, 3)), None), Layer(np.zeros((3, 1)), np.ones(1))],
        "scale": (np.array(2.0), {"inner": np.zeros(0)}),
        0: OrderedDict(b=np.ones(2), a=np.zeros(2)),
        "empty": {"list": [], "none": None, "tuple": ()},
    }


NAMES = [
    *("layers/0/weight", "layers/1/weight", "layers/1/bias"),
    *("scale/0", "scale/1/inner", "0/b", "0/a"),
]


def test_names_and_leaves():
    nested = tree()
    flat, unflatten = flatten(nested)
    assert list(flat) == NAMES
    assert flat["layers/1/bias"] is nested["layers"][1].bias
    again = unflatten(flat)
    assert bits(again) == bits(nested)
    assert again["scale"][0] is nested["scale"][0]
    assert type(again["layers"][0]) is Layer
    assert type(again["scale"]) is tuple
    assert type(again[0]) is OrderedDict
    assert again["layers"][0].bias is again["empty"]["none"] is None


def test_other_values_in_the_structure():
    flat, unflatten = flatten(tree())
    numbers = {name: i for i, name in enumerate(reversed(NAMES))}
    again = unflatten(numbers)
    assert again["layers"] == [Layer(6, None), Layer(5, 4)]
    assert again["scale"] == (3, {"inner": 2})
    assert again[0] == OrderedDict(b=1, a=0)
    for wrong in ({}, dict(list(numbers.items())[1:]), {**numbers, "other": 1}, None):
        with pytest.raises(FastoptError, match=r"layers/0/weight.* are needed"):
            unflatten(wrong)
    assert flat.keys() == numbers.keys()


@pytest.mark.parametrize(
    "node",
    [
        defaultdict(list, a=np.ones(1)),
        MappingProxyType({"a": np.ones(1)}),
        OrderedDict(a=np.ones(1)),
    ],
    ids=["defaultdict", "mappingproxy", "OrderedDict"],
)
def test_types_of_mappings_are_kept(node):
    flat, unflatten = flatten([node])
    (again,) = unflatten(flat)
    assert type(again) is type(node)
    assert again["a"] is node["a"]
    assert len(again) == len(node) == 1
    assert getattr(again, "default_factory", None) is getattr(node, "default_factory", None)


def test_one_array_is_a_tree():
    w = np.ones(2)
    flat, unflatten = flatten(w)
    assert flat == {"": w}
    assert unflatten(flat) is w


def test_equal_names_are_refused():
    with pytest.raises(FastoptError, match="'a/b'"):
        flatten({"a/b": np.ones(1), "a": {"b": np.ones(1)}})
    with pytest.raises(FastoptError, match="'1'"):
        flatten({"1": np.ones(1), 1: np.ones(1)})


def test_read_only_memory_of_other_libraries_is_copied():
    shared, locked = Exported(np.ones(3), True), Exported(np.ones(3), False)
    flat, _ = flatten({"shared": shared, "locked": locked})
    Adam(flat, lr=0.5).step({name: np.ones(3) for name in flat})
    assert shared.array.tolist() == flat["shared"].tolist() == flat["locked"].tolist()
    assert shared.array[0] == pytest.approx(0.5)
    assert locked.array.tolist() == [1.0] * 3


@pytest.mark.parametrize("leaf", [1.0, "w", object(), fastopt.RowSparse([0], np.ones((1, 2)))])
def test_leaves_that_are_no_arrays(leaf):
    with pytest.raises(TypeError, match=r"'a/0' is a \w+; .*copy=False"):
        flatten({"a": [leaf]})
    assert flatten({"a": [leaf]}, copy=False)[0]["a/0"] is leaf
    locked = Exported(np.ones(3), False)
    assert flatten([locked], copy=False)[0]["0"] is locked
    with pytest.raises(TypeError, match="copy is 1"):
        flatten([], copy=1)


def test_a_step_with_nested_gradients_equals_one_with_a_list():
    nested, grads = tree(), {"layers": [], **tree()}
    listed = [w.copy() for w in flatten(nested)[0].values()]
    opt, other = Adam(flatten(nested)[0], lr=0.1), Adam(listed, lr=0.1)
    values = flatten(grads, copy=False)[0]
    del values["scale/1/inner"]
    for _ in range(3):
        opt.step(dict.fromkeys(opt.params) | values)
        other.step(list((dict.fromkeys(NAMES) | values).values()))
    assert bits(list(flatten(nested)[0].values())) == bits(listed)
    assert nested["layers"][0].weight[0, 0] == pytest.approx(0.7)

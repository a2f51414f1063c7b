"""Loading matches parameters by name if they have names, with or without the saved options."""

import numpy as np
import pytest
from support import arrays, bits, unchanged

from fastopt import SGD, Adam, Batches, FastoptError
from fastopt.schedules import ReduceOnPlateau, cosine

SHAPES = {"a": (3,), "b": (3,), "c": (3,), "d": (2, 2)}


def params(order="abcd"):
    return {name: np.full(SHAPES[name], float(i)) for i, name in enumerate(order)}


def grads(of, seed):
    values = dict(zip("abcd", arrays(*SHAPES.values(), seed=seed), strict=True))
    return {name: values[name] for name in of}


def by_name(opt, named):
    """Return the bits of parameters and states by name, and the counts."""
    names = {id(w): name for name, w in named.items()}
    keyed = opt.params.items() if isinstance(opt.params, dict) else enumerate(opt.params)
    found = {names[id(w)]: (bits(w), bits(opt.state[key])) for key, w in keyed}
    return dict(sorted(found.items())), opt.step_count


def grouped(named, *groups, **options):
    """Return an optimizer of group dicts, each with a dict of these names."""
    of = [
        {"params": {name: named[name] for name in names}, "lr": 0.1 * (1 + len(names)), **options}
        for names in groups
    ]
    return Adam(of)


def run(opt, names, steps=3):
    for seed in range(steps):
        values = grads(names, seed)
        opt.step(values if isinstance(opt.params, dict) else list(values.values()))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_dict_in_another_order_loads_by_name(suffix, tmp_path):
    pytest.importorskip("safetensors")
    (first, second) = params(), params("dbca")
    source = Adam(first, lr=0.3)
    run(source, "abcd")
    source.accumulate(grads("ab", 7) | {"c": None, "d": None})
    source.save(tmp_path / f"saved.{suffix}")
    opt = Adam(second)
    opt.load(tmp_path / f"saved.{suffix}")
    assert by_name(opt, second) == by_name(source, first)
    assert opt.lr == 0.3
    for one in (opt, source):
        one.step()
        run(one, "dcba")
    assert by_name(opt, second) == by_name(source, first)


def test_groups_with_dicts_load_by_name(tmp_path):
    first, second = params(), params("dbca")
    source, opt = grouped(first, "abd", "c"), grouped(second, "c", "dba", lr=9.0)
    run(source, "abdc")
    source.accumulate([*list(grads("ab", 7).values()), None, None])
    source.save(tmp_path / "saved.npz")
    opt.load(tmp_path / "saved.npz")
    assert by_name(opt, second) == by_name(source, first)
    assert [group["lr"] for group in opt.param_groups] == [0.2, 0.4]
    source.step()
    opt.step()
    assert by_name(opt, second) == by_name(source, first)


def test_groups_made_by_a_mask_load_by_name():
    def decays(name):
        return name in "bd"

    first, second = params(), params("dcba")
    source = SGD(first, lr=0.1, momentum=0.9, weight_decay=0.1, weight_decay_mask=decays)
    opt = SGD(
        second, lr=0.1, momentum=0.9, weight_decay=0.1, weight_decay_mask=lambda n: not decays(n)
    )
    run(source, "abcd")
    opt.load_state_dict(source.state_dict())
    found = {name: group["weight_decay"] for group in opt.param_groups for name in group.arrays}
    assert found == {"a": 0.0, "b": 0.1, "c": 0.0, "d": 0.1}
    assert {k: bits(opt.state[k]) for k in "abcd"} == {k: bits(source.state[k]) for k in "abcd"}


def test_equal_names_in_two_groups_load_by_the_order_of_the_groups():
    def make():
        return Adam(
            [{"params": dict(zip("wb", arrays(2, 3, seed=s), strict=True))} for s in (1, 2)]
        )

    source, opt = make(), make()
    source.step(arrays(2, 3, 2, 3, seed=3))
    opt.load_state_dict(source.state_dict())
    assert bits(opt.state) == bits(source.state)


@pytest.mark.parametrize("names", ["abc", "abcde", "abce"])
def test_other_names_are_refused(names, tmp_path):
    first = {name: np.ones(2) for name in "abcd"}
    source, opt = Adam(first), Adam({name: np.ones(2) for name in names})
    source.save(tmp_path / "saved.npz")
    with unchanged(opt), pytest.raises(FastoptError, match="'d'"):
        opt.load(tmp_path / "saved.npz")


def test_state_of_a_parameter_that_no_group_lists_is_refused():
    source, opt = Adam(params()), Adam(params())
    saved = source.state_dict()
    saved["state"]["e"] = saved["state"].pop("d")
    with unchanged(opt), pytest.raises(FastoptError, match="state of 'e', which no group lists"):
        opt.load_state_dict(saved)


# Without options


@pytest.mark.parametrize("lr", [0.3, cosine(0.3, 10), ReduceOnPlateau(0.3)], ids=["", "f", "obj"])
def test_loading_without_options_keeps_them(lr, tmp_path):
    (w,), (other,) = arrays(3, seed=1), arrays(3, seed=2)
    source = Adam([w], lr=0.1, betas=(0.5, 0.6))
    for seed in range(3):
        source.step(arrays(3, seed=seed))
    source.save(tmp_path / "saved.npz")
    opt = Adam([other], lr=lr, betas=(0.7, 0.8))
    before = bits([group.shown() for group in opt.param_groups])
    opt.load(tmp_path / "saved.npz", options=False)
    assert bits(opt.state) == bits(source.state)
    assert bits(other) == bits(w)
    assert opt.step_count == 3
    assert bits([group.shown() for group in opt.param_groups]) == before
    with pytest.raises(TypeError, match="options"):
        opt.load(tmp_path / "saved.npz", options=None)


def test_loading_without_options_into_other_groups_of_names():
    first, second = params(), params()
    source = Adam(first)
    opt = Adam(second, lr=0.5, weight_decay=0.1, weight_decay_mask=lambda name: name == "a")
    run(source, "abcd")
    saved = source.state_dict()
    with unchanged(opt), pytest.raises(FastoptError, match="groups"):
        opt.load_state_dict(saved)
    opt.load_state_dict(saved, options=False)
    assert {k: bits(opt.state[k]) for k in "abcd"} == {k: bits(source.state[k]) for k in "abcd"}
    assert opt.lr == 0.5


def test_loading_without_options_checks_what_indices_mean():
    source = Adam([{"params": arrays(3, 3)}])
    opt = Adam([{"params": arrays(3)}, {"params": arrays(3)}])
    with unchanged(opt), pytest.raises(FastoptError, match="groups"):
        opt.load_state_dict(source.state_dict(), options=False)


def test_loading_without_options_needs_the_same_state():
    source, opt = SGD(arrays(3), momentum=0.9), SGD(arrays(3))
    with unchanged(opt), pytest.raises(FastoptError, match="momentum_buffer"):
        opt.load_state_dict(source.state_dict(), options=False)


# An epoch that is open


def test_an_iteration_that_is_open_while_a_state_is_loaded_ends_with_an_error(tmp_path):
    def make():
        return Batches(np.arange(10), batch_size=2, seed=0)

    opt, batches = Adam(arrays(3)), make()
    opt.save(tmp_path / "saved.npz", batches=batches)
    for load in (
        lambda: batches.load_state_dict(make().state_dict()),
        lambda: opt.load(tmp_path / "saved.npz", batches=batches),
        lambda: batches.load_state_dict({**make().state_dict(), "epoch": 1}),
    ):
        epoch, unstarted = iter(batches), iter(batches)
        next(epoch)
        load()
        position = batches.state_dict()
        with pytest.raises(FastoptError, match="state was loaded"):
            next(epoch)
        assert batches.state_dict() == position
        fresh = make()
        fresh.load_state_dict(position)
        expected = [rows.tolist() for (rows,) in fresh]
        assert [rows.tolist() for (rows,) in unstarted] == expected


def test_a_state_that_is_refused_leaves_an_open_iteration_going():
    batches = Batches(np.arange(10), batch_size=2, seed=0)
    epoch = iter(batches)
    first = next(epoch)[0].tolist()
    with pytest.raises(FastoptError):
        batches.load_state_dict({**batches.state_dict(), "position": 9})
    rest = [rows.tolist() for (rows,) in epoch]
    whole = [rows.tolist() for (rows,) in Batches(np.arange(10), batch_size=2, seed=0)]
    assert [first, *rest] == whole

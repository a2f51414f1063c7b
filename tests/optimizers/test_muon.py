"""Muon: matrices against tests/reference.py, AdamW for the rest, and who takes which."""

import copy
import inspect
import pickle

import ml_dtypes
import numpy as np
import pytest
import reference
from support import arrays, bits, everything, unchanged

import fastopt
from fastopt import AdamW, FastoptError, Muon, RowSparse
from fastopt.optimizers.base.newton_schulz import NewtonSchulz

BF16 = np.dtype(ml_dtypes.bfloat16)
SHAPES = [(40, 33), (20, 61), (32, 32), (1, 50), (50, 1), (1, 1)]
RATES = [0.1, 0.03, 0.07, 0.1]

OPTIONS = [
    {},
    {"weight_decay": 0.0},
    {"weight_decay": 0.3, "decoupled_weight_decay": "schedule_only"},
    {"weight_decay": 0.3, "decoupled_weight_decay": False},
    {"weight_decay": 0.3, "decoupled_weight_decay": False, "maximize": True},
    {"maximize": True},
    {"momentum": 0.7},
    {"momentum": 0.7, "nesterov": False},
    {"momentum": 0.7, "nesterov": "corrected"},
    {"momentum": 0.0},
    {"ns_coefficients": (1.875, -1.25, 0.375)},
    {"ns_steps": 2},
    {"ns_steps": 0},
    {"eps": 100.0, "ns_steps": 1},
    {"adjust_lr_fn": "original"},
    {"adjust_lr_fn": "inputs_first"},
    {"adjust_lr_fn": "match_rms_adamw"},
    {"adjust_lr_fn": "none"},
]


def gradients(shape, dtype=np.float64):
    return [arrays(shape, seed=10 + t, dtype=dtype)[0] for t in range(len(RATES))]


def take(opt, grads):
    for lr, grad in zip(RATES, grads, strict=True):
        opt.lr = lr
        opt.step(grad)


def follow(w, grads, **options):
    """Return the path of the reference; 0.1 is the learning rate of the construction."""
    options = {"weight_decay": 0.1, "decoupled_weight_decay": True, **options}
    exact = [g.astype(np.float64) for g in grads]
    return reference.muon(w.astype(np.float64), exact, RATES, base_lr=0.1, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
def test_matrices_follow_the_reference(options, shape, dtype):
    """Errors are relative to the largest element of the steps, as those of products are."""
    (start,) = arrays(shape, dtype=dtype)
    w, grads = start.copy(), gradients(shape, dtype)
    opt = Muon(w, lr=0.1, **options)
    take(opt, grads)
    path = follow(start, grads, **options)
    moved = sum(np.abs(after - before) for before, after in zip(path.w, path.w[1:], strict=False))
    eps = np.finfo(dtype).eps
    bound = 16 * eps * (np.abs(start) + moved) + 100 * eps * moved.max()
    assert (np.abs(w - path.w[-1]) <= bound).all()
    buffer, expected = opt.state[0]["momentum_buffer"], path.states[-1]["momentum_buffer"]
    assert np.allclose(buffer, expected, rtol=100 * eps, atol=100 * eps)


def test_every_option_is_tested_away_from_its_default():
    defaults = inspect.signature(Muon).parameters
    tested = {
        k
        for options in OPTIONS
        for k, v in options.items()
        if k == "maximize" or v != defaults[k].default
    }
    others = {"params", "lr", "common", *(name for name in defaults if name.startswith("adamw_"))}
    assert defaults.keys() - tested - others == {"use_muon"}


def test_a_gradient_of_low_rank():
    """Most singular values are rounding errors, which the iterations multiply by up to 500."""
    left, right = arrays((200, 2), (2, 300))
    grad, w = (left @ right).astype(np.float32), np.zeros((200, 300), np.float32)
    Muon(w, lr=1.0).step(grad)
    expected = reference.muon(np.zeros(w.shape), [grad.astype(np.float64)], [1.0]).w[-1]
    assert np.abs(w - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1e30])
def test_the_scale_of_the_gradient_does_not_matter(scale):
    """The squares of these elements would be 0 or infinite in float32."""
    (g,) = arrays((8, 5), dtype=np.float32)
    w, other = np.zeros((2, 8, 5), np.float32)
    with pytest.warns(UserWarning, match="eps is 0"):
        Muon(w, eps=0.0, nesterov=False).step(g)
    Muon(other, eps=1e-38, nesterov=False).step(g * np.float32(scale))
    assert np.abs(w - other).max() <= 1e-5 * np.abs(w).max()
    assert np.abs(w).max() > 0


def test_zero_gradients_only_decay():
    w = np.ones((3, 4))
    Muon(w, lr=0.1, weight_decay=0.5).step(np.zeros((3, 4)))
    assert (w == 1 - 0.1 * 0.5).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_matrix(bad):
    params, grads = arrays((3, 4), (3, 4), 5), arrays((3, 4), (3, 4), 5, seed=1)
    grads[0][1, 2] = bad
    Muon(params).step(grads)
    assert np.isnan(params[0]).all()
    assert np.isfinite(params[1]).all()
    assert np.isfinite(params[2]).all()


# Other dtypes


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, BF16], ids=str)
def test_masters_equal_float32_parameters(dtype, decoupled):
    (start,) = arrays((30, 20), dtype=dtype)
    w, single = start.copy(), start.astype(np.float32)
    options = {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": decoupled}
    opt, expected = Muon(w, master="float32", **options), Muon(single, **options)
    for grad in gradients(w.shape, np.float32):
        opt.step(grad)
        expected.step(grad)
    assert bits(opt.state[0]["master"]) == bits(single)
    assert bits(w) == bits(single.astype(dtype))


def test_the_direction_is_rounded_once_to_the_dtype_of_the_states():
    w, single, grad = arrays((30, 20), (30, 20), (30, 20), dtype=np.float32)
    w[...] = single[...] = 0.0
    opt = Muon(w, lr=1.0, state_dtype="bfloat16")
    opt.step(grad)
    Muon(single, lr=1.0).step(grad)
    assert bits(w) == bits(single.astype(BF16).astype(np.float32))
    assert opt.state[0]["momentum_buffer"].dtype == BF16


# Groups


def model(dtype=np.float64, seed=0):
    shapes = {"embedding": (9, 4), "hidden": (6, 5), "bias": (5,), "out": (5, 2), "scale": ()}
    return dict(zip(shapes, arrays(*shapes.values(), seed=seed, dtype=dtype), strict=True))


def is_hidden(name):
    return name not in ("embedding", "out")


def names(opt):
    return [list(group.arrays) for group in opt.param_groups]


def test_one_optimizer_equals_two():
    """Muon for some and AdamW for the others, bit for bit, in one step."""
    params, apart = model(np.float32), model(np.float32)
    opt = Muon(params, lr=0.02, use_muon=is_hidden, adamw_lr=3e-3, adamw_weight_decay=0.2,
               adamw_betas=(0.8, 0.95), adamw_eps=1e-3)  # fmt: skip
    muon = Muon({"hidden": apart["hidden"]}, lr=0.02)
    others = {name: w for name, w in apart.items() if name != "hidden"}
    adamw = AdamW(others, lr=3e-3, weight_decay=0.2, betas=(0.8, 0.95), eps=1e-3)
    assert names(opt) == [["hidden"], ["embedding", "bias", "out", "scale"]]
    for t in range(3):
        grads = model(seed=t)
        opt.step(grads)
        muon.step({"hidden": grads["hidden"]})
        adamw.step({name: grads[name] for name in others})
    assert bits(params) == bits(apart)
    for name, state in {**muon.state, **adamw.state}.items():
        assert bits(dict(opt.state[name])) == bits(dict(state))


def test_row_sparse_gradients_for_adamw_only():
    params, apart = model(), model()
    opt = Muon(params, use_muon=is_hidden, weight_decay=0.0)
    adamw = AdamW({"embedding": apart["embedding"]}, weight_decay=0.0)
    rows = RowSparse([3, 1], np.ones((2, 4)))
    grads = {**dict.fromkeys(params), "embedding": rows}
    opt.step(grads)
    adamw.step({"embedding": rows})
    assert bits(params) == bits(apart)
    message = "gradient of parameter 'hidden' is row-sparse; the rule needs all rows of a matrix"
    with unchanged(opt), pytest.raises(FastoptError, match=message):
        opt.step({**grads, "hidden": RowSparse([3], np.ones((1, 5)))})


@pytest.mark.parametrize("kind", ["list", "groups of dicts", "groups of lists"])
def test_structures_of_parameters(kind):
    """The order of the parameters, gradients and averages is the caller's, not that of groups."""
    params, grads = model(), [*model(seed=1).values()]
    given = {
        "list": [*params.values()],
        "groups of dicts": [{"params": params}],
        "groups of lists": [{"params": [w]} for w in params.values()],
    }[kind]
    by_name = model()
    opt, expected = Muon(given, ema_decay=0.5), Muon(by_name, ema_decay=0.5)
    for _ in range(2):
        opt.step(grads)
        expected.step(dict(zip(params, grads, strict=True)))
    assert bits(params) == bits(by_name)
    averages = expected.ema
    assert bits(opt.ema) == bits([averages[name] for name in params])
    assert [w.shape for w in opt.params] == [w.shape for w in params.values()]
    assert list(opt.state) == [0, 1, 2, 3, 4]


def test_use_muon_of_a_group():
    w = arrays((3, 2), (3, 2), (3,))
    opt = Muon([{"params": w[:1], "use_muon": False, "lr": 0.5}, {"params": w[1:]}], adamw_lr=0.25)
    of = [(g["use_muon"], g["lr"], len(g["params"])) for g in opt.param_groups]
    assert of == [(False, 0.5, 1), (True, 1e-3, 1), (False, 0.25, 1)]
    assert Muon(w, use_muon=False).param_groups[0]["use_muon"] is False
    assert [g["use_muon"] for g in Muon([{"params": []}]).param_groups] == [True]


def test_weight_decay_mask_and_use_muon_together():
    params = model()
    opt = Muon(params, use_muon=is_hidden, adamw_weight_decay=0.2,
               weight_decay_mask=lambda name: name not in ("bias", "hidden"))  # fmt: skip
    found = [([*g.arrays], g["use_muon"], g["weight_decay"]) for g in opt.param_groups]
    assert found == [
        (["embedding", "out", "scale"], False, 0.2),
        (["hidden"], True, 0.0),
        (["bias"], False, 0.0),
    ]


@pytest.mark.parametrize(
    ("params", "options", "error", "message"),
    [
        ([np.ones((2, 2))], {"use_muon": is_hidden}, FastoptError, "use_muon takes names"),
        (np.ones((2, 2)), {"use_muon": 1}, TypeError, "use_muon is 1; True or False is needed"),
        ([{"params": [], "use_muon": is_hidden}], {}, TypeError, "use_muon is <function"),
        (np.ones((2, 2)), {"adamw_lr": -1.0}, FastoptError, "adamw_lr is -1.0; allowed"),
        (np.ones(2), {"adamw_weight_decay": "x"}, TypeError, "adamw_weight_decay is 'x'"),
        (np.ones(2), {"momentum": 1.0}, FastoptError, "momentum is 1.0; allowed: 0 <= value < 1"),
        (np.ones(2), {"ns_coefficients": (1, 2)}, TypeError, "three values are needed"),
        (np.ones(2), {"ns_steps": 100}, FastoptError, "ns_steps is 100; allowed: 0 to 99"),
        (np.ones(2), {"adjust_lr_fn": "x"}, FastoptError, "adjust_lr_fn is 'x'; allowed: None"),
        (np.ones(2, np.float32), {"adamw_eps": 1e-50}, FastoptError, "adamw_eps is 1e-50"),
    ],
)
def test_refused_options(params, options, error, message):
    with pytest.raises(error, match=message):
        Muon(params, **options)


def test_use_muon_cannot_be_set_later():
    opt = Muon(model())
    with unchanged(opt), pytest.raises(FastoptError, match="use_muon cannot be set to False after"):
        opt.param_groups[0]["use_muon"] = False
    with unchanged(opt), pytest.raises(FastoptError, match="use_muon can only be set when"):
        opt.use_muon = False


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_groups_of_a_copy(duplicate):
    opt = Muon(model(), use_muon=is_hidden, adamw_lr=0.5)
    other = duplicate(opt)
    assert everything(other) == everything(opt)
    message = "no use_muon to decide whether 'new' is a matrix that Muon updates; set 'use_muon'"
    with unchanged(other), pytest.raises(FastoptError, match=message):
        other.add_param_group({"params": {"new": np.ones((2, 2))}})
    other.add_param_group({"params": {"new": np.ones((2, 2)), "b": np.ones(2)}, "use_muon": True})
    assert [(g["use_muon"], g["lr"]) for g in other.param_groups[2:]] == [
        (True, 1e-3),
        (False, 0.5),
    ]
    plain = duplicate(Muon([np.ones(2)], use_muon=False))
    plain.add_param_group({"params": [np.ones((2, 2))]})
    assert not plain.param_groups[1]["use_muon"]


# Steps that fail


@pytest.mark.parametrize("bad", ["hidden", "bias"])
@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
def test_steps_with_nonfinite_gradients(bad, on_nonfinite):
    opt = Muon(model(), on_nonfinite=on_nonfinite, max_grad_norm=1.0)
    opt.step(model(seed=1))
    before, grads = everything(opt), model(seed=2)
    grads[bad][0] = np.inf
    if on_nonfinite == "raise":
        with unchanged(opt), pytest.raises(FastoptError, match=f"parameter '{bad}' has a NaN"):
            opt.step(grads)
    else:
        opt.step(grads)
        assert opt.skipped_steps == 1
        assert bits([opt.params, *opt.state.values()]) == bits(
            [pickle.loads(pickle.dumps(opt)).params, *opt.state.values()]
        )
        opt._plan.counts.skipped = 0
        assert everything(opt) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_step_changes_nothing(error, monkeypatch):
    """The error is raised after the directions of some matrices have been computed."""
    opt = Muon(model(), zero_grads=True, ema_decay=0.9)
    opt.step(model(seed=1))
    grads, calls = model(seed=2), []
    original = NewtonSchulz.orthogonalize

    def orthogonalize(self, matrix):
        calls.append(matrix.shape)
        if len(calls) == 2:
            raise error
        original(self, matrix)

    with monkeypatch.context() as patch:
        patch.setattr(NewtonSchulz, "orthogonalize", orthogonalize)
        with unchanged(opt), pytest.raises(error):
            opt.step(grads)
    assert bits(grads) == bits(model(seed=2))
    expected = Muon(model(), ema_decay=0.9)
    for seed in (1, 2):
        expected.step(model(seed=seed))
    opt.step(grads)
    assert everything(opt) == everything(expected)


@pytest.mark.parametrize("bad", [np.ones((5, 6)), None, "overlap"], ids=["shape", "missing", "own"])
def test_refused_gradients(bad):
    opt = Muon(model())
    grads = model(seed=1)
    grads["hidden"] = opt.params["hidden"] if isinstance(bad, str) else bad
    if bad is None:
        del grads["hidden"]
    with unchanged(opt), pytest.raises(FastoptError, match="hidden"):
        opt.step(grads)


# State dicts


def test_a_state_dict_of_torch():
    """torch.optim.Muon has matrices only, and counts no steps."""
    w, (buffer,) = np.zeros((3, 2), np.float32), arrays((3, 2), dtype=np.float32, seed=1)
    group = {
        "lr": 0.5, "weight_decay": 0.25, "momentum": 0.75, "nesterov": False,
        "ns_coefficients": (3.0, -4.0, 2.0), "eps": 1e-3, "ns_steps": 4,
        "adjust_lr_fn": "match_rms_adamw", "params": [0],
    }  # fmt: skip
    opt = Muon(w)
    opt.load_state_dict({"state": {0: {"momentum_buffer": buffer}}, "param_groups": [group]})
    assert bits(opt.state[0]["momentum_buffer"]) == bits(buffer)
    assert opt.state[0]["step"] == 1
    found = opt.param_groups[0]
    assert {name: found[name] for name in group if name != "params"} == {
        name: value for name, value in group.items() if name != "params"
    }
    incomplete = {name: value for name, value in group.items() if name != "ns_steps"}
    with unchanged(opt), pytest.raises(FastoptError, match="the state dict has no 'ns_steps'"):
        opt.load_state_dict({"state": {}, "param_groups": [incomplete]})


def test_state_of_another_kind_is_refused():
    """The saved group's parameter was updated by AdamW."""
    opt, other = Muon([np.ones((2, 2))]), Muon([np.ones((2, 2))], use_muon=False)
    with unchanged(opt), pytest.raises(FastoptError, match="use_muon=False needs other state"):
        opt.load_state_dict(other.state_dict())


def test_muon_is_exported():
    assert fastopt.Muon is Muon

"""The interface of the optimizers: containers of parameters and gradients, groups, options, lr."""

import inspect

import numpy as np
import pytest
from support import (
    ALL_RULES,
    FIND_RATE,
    RULES,
    SEPARATE,
    arrays,
    bits,
    everything,
    make,
    takes,
    unchanged,
)

import fastopt
from fastopt import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, FastoptError, NAdam, RMSprop, _core
from fastopt.schedules import ReduceOnPlateau, cosine, exponential

every_rule = pytest.mark.parametrize("rule", RULES)
separate_rules = pytest.mark.parametrize("rule", SEPARATE)


def test_every_kernel_is_tested_here():
    assert set(ALL_RULES) - {"adamw"} == set(_core.RULES) - {"muon_direction"}


@pytest.mark.parametrize(
    ("cls", "names", "defaults"),
    [
        (SGD, "lr momentum dampening weight_decay nesterov", (1e-3, 0, 0, 0, False)),
        (Adagrad, "lr lr_decay weight_decay initial_accumulator_value eps",
         (1e-2, 0, 0, 0, 1e-10)),
        (Adadelta, "lr rho eps weight_decay", (1.0, 0.9, 1e-6, 0)),
        (RMSprop, "lr alpha eps weight_decay momentum centered",
         (1e-2, 0.99, 1e-8, 0, 0, False)),
        (Adam, "lr betas eps weight_decay amsgrad", (1e-3, (0.9, 0.999), 1e-8, 0, False)),
        (AdamW, "lr betas eps weight_decay amsgrad", (1e-3, (0.9, 0.999), 1e-8, 1e-2, False)),
        (Adamax, "lr betas eps weight_decay", (2e-3, (0.9, 0.999), 1e-8, 0)),
        (NAdam, "lr betas eps weight_decay momentum_decay decoupled_weight_decay",
         (2e-3, (0.9, 0.999), 1e-8, 0, 4e-3, False)),
        (fastopt.RAdam, "lr betas eps weight_decay decoupled_weight_decay",
         (1e-3, (0.9, 0.999), 1e-8, 0, False)),
        (fastopt.ASGD, "lr lambd alpha t0 weight_decay", (1e-2, 1e-4, 0.75, 1e6, 0)),
    ],
)  # fmt: skip
def test_positional_arguments_are_those_of_pytorch(cls, names, defaults):
    given = [
        p for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert [p.name for p in given] == ["params", *names.split()]
    assert tuple(p.default for p in given[1:]) == defaults


# Parameters and gradients

FORMS = {
    "list": (lambda a, b: [a, b], lambda g, h: [g, h]),
    "tuple": (lambda a, b: (a, b), lambda g, h: (g, h)),
    "generator": (lambda a, b: (w for w in (a, b)), lambda g, h: [g, h]),
    "dict": (lambda a, b: {"a": a, "b": b}, lambda g, h: {"b": h, "a": g}),
    "groups": (lambda a, b: [{"params": [a]}, {"params": b}], lambda g, h: [g, h]),
    "one group": (lambda a, b: [{"params": (w for w in (a, b))}], lambda g, h: (g, h)),
    "groups of dicts": (lambda a, b: [{"params": {"x": a}}, {"params": {"x": b}}],
                        lambda g, h: [g, h]),
    "generator of groups": (lambda a, b: ({"params": [w]} for w in (a, b)),
                            lambda g, h: [g, h]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bound", [False, True])
def test_parameters_in_every_container(form, bound):
    given, received = FORMS[form]
    (a, b), (c, d) = arrays((2, 3), (4,)), arrays((2, 3), (4,))
    g, h = arrays((2, 3), (4,), seed=1)
    for w, grad in ((c, g), (d, h)):  # a separate optimizer for each array
        alone = Adam(w, lr=0.1)
        for _ in range(3):
            alone.step(grad)

    opt = Adam(given(a, b), lr=0.1)
    if bound:
        opt.bind(received(g, h))
    for _ in range(3):
        opt.step(*([] if bound else [received(g, h)]))
    assert bits([a, b]) == bits([c, d])
    assert opt.step_count == 3


def test_params_are_the_arrays_given():
    a, b = arrays(2, 3)
    assert Adam(a).params is a
    assert all(x is y for x, y in zip(Adam([a, b]).params, [a, b], strict=True))
    named = Adam({"a": a, "b": b}).params
    assert list(named) == ["a", "b"]
    assert named["a"] is a
    assert named["b"] is b
    groups = Adam([{"params": [a]}, {"params": [b]}])
    assert groups.params[1] is groups.param_groups[1]["params"][0] is b


def test_no_parameters():
    opt = Adam([{"params": []}])
    opt.step([])
    assert opt.step_count == 1
    opt.add_param_group({"params": arrays(2)})
    assert len(opt.params) == 1


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_and_0d_parameters(rule, dtype):
    scalar, vector = np.array(0.7, dtype), np.array([0.7], dtype)
    empty = np.zeros((0, 3), dtype)
    opt = make(rule, [scalar, empty, vector], lr=0.1)
    for t in range(3):
        grad = dtype(0.5 + t)
        opt.step([grad, empty.copy(), np.array([grad])])
    assert bits(scalar.reshape(1)) == bits(vector)
    assert scalar != dtype(0.7)
    assert opt.state[1]["step"] == 3


NUMBERS = [0.5, np.float64(0.5), np.float32(0.5), np.array(0.5), np.array(0.5, np.float32)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grad", NUMBERS, ids=lambda g: f"{type(g).__name__}-{np.result_type(g)}")
def test_the_gradient_of_a_0d_parameter_may_be_a_number(dtype, grad):
    w = np.array(1.0, dtype)
    SGD({"bias": w}, lr=0.5).step({"bias": grad})
    assert w == 0.75


def test_the_gradient_of_a_0d_parameter_may_be_a_python_int():
    w = np.array(1.0)
    SGD(w, lr=0.25).step(2)
    assert w == 0.5


class OnlyArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class OnlyDlpack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    moved = raw.view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


GRADIENTS = {
    "__array__": OnlyArray,
    "__dlpack__": OnlyDlpack,
    "read-only": read_only,
    "subclass": lambda g: g.view(np.matrix),
    "float32": lambda g: g.astype(np.float32),
    "Fortran order": np.asfortranarray,
    "strided": lambda g: np.repeat(g, 2, axis=1)[:, ::2],
    "reversed": lambda g: g[::-1].copy()[::-1],
    "unaligned": unaligned,
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("form", GRADIENTS)
def test_gradients_of_every_form_equal_the_plain_array(form):
    w, plain = arrays((3, 4), (3, 4))
    plain[...] = w
    g = arrays((3, 4), seed=1, dtype=np.float32)[0].astype(np.float64)
    Adam(plain, lr=0.1).step(g)
    Adam(w, lr=0.1).step(GRADIENTS[form](g))
    assert bits(w) == bits(plain)


def test_a_memory_mapped_parameter(tmp_path):
    (plain,) = arrays(5)
    w = np.memmap(tmp_path / "w", dtype=np.float64, mode="w+", shape=5)
    w[...] = plain
    for params in (w, plain):
        Adam(params, lr=0.1).step(np.ones(5))
    assert bits(np.array(w)) == bits(plain)


@separate_rules
def test_none_leaves_parameter_state_and_step_unchanged(rule):
    """The bias corrections of a parameter depend on the number of steps that it has taken."""
    given = [(True, True), (True, False), (True, True), (False, True), (True, True)]
    params = arrays(3, 4)
    others = [w.copy() for w in params]
    opt = make(rule, params, lr=0.1)
    alone = [make(rule, [w], lr=0.1) for w in others]
    for t, pattern in enumerate(given):
        grads = arrays(3, 4, seed=t)
        opt.step([g if here else None for g, here in zip(grads, pattern, strict=True)])
        for one, g, here in zip(alone, grads, pattern, strict=True):
            if here:
                one.step([g])
    assert opt.step_count == 5
    for i, one in enumerate(alone):
        assert opt.state[i]["step"] == 4
        assert bits(opt.state[i]) == bits(one.state[0])
    assert bits(params) == bits(others)


def test_momentum_products_are_per_parameter_at_equal_steps():
    """NAdam's product of momenta is separate for each parameter, even if steps are equal."""
    params, others = arrays(3, 3), arrays(3, 3)
    opt, alone = NAdam(params), [NAdam([w]) for w in others]
    for given, betas in (((0,), (0.9, 0.999)), ((1,), (0.5, 0.999)), ((0, 1), (0.5, 0.999))):
        for one in (opt, *alone):
            one.param_groups[0]["betas"] = betas
        opt.step([np.ones(3) if i in given else None for i in (0, 1)])
        for i in given:
            alone[i].step([np.ones(3)])
    assert opt.state[0]["step"] == opt.state[1]["step"] == 2
    assert opt.state[0]["mu_product"] != opt.state[1]["mu_product"]
    assert bits(params) == bits(others)


def test_a_bound_gradient_may_be_none():
    a, b, g = np.zeros(2), np.zeros(2), np.ones(2)
    opt = SGD([a, b], lr=1.0)
    opt.bind([None, g])
    opt.step()
    assert a.tolist() == [0.0, 0.0]
    assert b.tolist() == [-1.0, -1.0]
    opt.zero_grad()
    assert g.tolist() == [0.0, 0.0]


def test_bound_gradients_are_read_at_each_step():
    w, g = np.zeros(2), np.ones(2)
    opt = SGD(w, lr=1.0)
    opt.bind(g)
    opt.step()
    g[...] = 10.0
    opt.step()
    opt.step(np.full(2, 100.0))  # for this step only
    opt.step()
    assert w.tolist() == [-121.0, -121.0]
    opt.zero_grad()
    assert g.tolist() == [0.0, 0.0]
    opt.step()
    assert w.tolist() == [-121.0, -121.0]


@separate_rules
def test_float32_and_float64_in_one_optimizer(rule):
    params = [*arrays(5), *arrays(5, dtype=np.float32), *arrays(3, seed=2)]
    others = [w.copy() for w in params]
    opt = make(rule, params, lr=0.1)
    alone = [make(rule, w, lr=0.1) for w in others]
    for t in range(3):
        grads = [g.astype(w.dtype) for g, w in zip(arrays(5, 5, 3, seed=t), params, strict=True)]
        opt.step(grads)
        for one, g in zip(alone, grads, strict=True):
            one.step(g)
    assert bits(params) == bits(others)
    assert [opt.state[i]["step"].item() for i in range(3)] == [3, 3, 3]


# Options

SETS = [
    {"lr": 0.3},
    {"weight_decay": 0.2, "maximize": True},
    {"weight_decay": 0.2, "decoupled_weight_decay": True},
    {"weight_decay": 0.2, "decoupled_weight_decay": "schedule_only", "lr": exponential(0.1, 0.5)},
]


@separate_rules
def test_groups_with_different_options(rule):
    shapes = [3, (2, 2), (), 4]
    params, others = arrays(*shapes), arrays(*shapes)
    sets = [own if takes(rule, own) else {} for own in SETS]
    opt = make(rule, [{"params": [w], **own} for w, own in zip(params, sets, strict=True)], lr=0.1)
    alone = [make(rule, w, **{"lr": 0.1, **own}) for w, own in zip(others, sets, strict=True)]
    for t in range(3):
        grads = arrays(*shapes, seed=t)
        opt.step(grads)
        for one, g in zip(alone, grads, strict=True):
            one.step(g)
    assert bits(params) == bits(others)


COUPLED = {"weight_decay": 0.3, "decoupled_weight_decay": False}


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({"maximize": True}, lambda w, g, _: (w, -g)),
        (COUPLED, lambda w, g, _: (w, g + 0.3 * w)),
        ({**COUPLED, "maximize": True}, lambda w, g, _: (w, -g + 0.3 * w)),
        ({"weight_decay": 0.3, "decoupled_weight_decay": True},
         lambda w, g, lr: (w * (1 - lr * 0.3), g)),
        ({"weight_decay": 0.3, "decoupled_weight_decay": "lr", "maximize": True},
         lambda w, g, lr: (w * (1 - lr * 0.3), -g)),
        ({"weight_decay": 0.3, "decoupled_weight_decay": "schedule_only"},
         lambda w, g, lr: (w * (1 - lr / 0.1 * 0.3), g)),
    ],
    ids=["maximize", "coupled", "coupled maximize", "True", "lr maximize", "schedule_only"],
)  # fmt: skip
@every_rule
def test_decay_and_sign_equal_changing_the_arrays_by_hand(rule, options, by_hand):
    if not takes(rule, options):
        return  # see test_bad_options.py
    if options.items() >= COUPLED.items() and ALL_RULES[rule][0]._own_decay:
        return  # the rule defines the decay; see test_sums.py
    if options.get("decoupled_weight_decay") and rule in FIND_RATE:
        return  # the decay is not that of lr; see test_sums.py
    (w,), (other,) = arrays(5), arrays(5)
    opt = make(rule, w, **{"lr": 0.1, "weight_decay": 0.0, **options})
    plain = make(rule, other, lr=0.1, weight_decay=0.0)
    for t, lr in enumerate((0.1, 0.05, 0.2)):
        (g,) = arrays(5, seed=t)
        opt.lr = plain.lr = lr
        opt.step(g)
        other[...], own = by_hand(other, g, lr)
        plain.step(own)
    assert bits(w) == bits(other)


CHANGES = [
    (SGD, {}, "lr", 0.5),
    (SGD, {}, "weight_decay", 0.2),
    (SGD, {}, "maximize", True),
    (SGD, {"weight_decay": 0.2}, "decoupled_weight_decay", True),
    (SGD, {"weight_decay": 0.2}, "decoupled_weight_decay", "schedule_only"),
    (SGD, {"momentum": 0.9}, "momentum", 0.5),
    (SGD, {"momentum": 0.9}, "dampening", 0.5),
    (SGD, {"momentum": 0.9}, "nesterov", True),
    (SGD, {"momentum": 0.9, "lr": 0.3}, "lr_in_buffer", True),
    (Adagrad, {}, "lr_decay", 0.5),
    (Adagrad, {}, "eps", 0.1),
    (Adagrad, {}, "eps_root", 0.1),
    (Adadelta, {}, "rho", 0.5),
    (Adadelta, {}, "eps", 0.1),
    (RMSprop, {}, "alpha", 0.5),
    (RMSprop, {}, "eps", 0.1),
    (RMSprop, {}, "eps_root", 0.1),
    (RMSprop, {}, "bias_correction", True),
    (RMSprop, {"momentum": 0.9}, "momentum", 0.5),
    (RMSprop, {"momentum": 0.9}, "nesterov", True),
    (RMSprop, {"momentum": 0.9, "lr": 0.3}, "lr_in_buffer", True),
    (Adam, {}, "betas", (0.5, 0.6)),
    (Adam, {}, "eps", 0.1),
    (Adam, {}, "eps_root", 0.1),
    (Adam, {"eps": 0.1}, "eps_mode", "hat"),
    (Adam, {}, "bias_correction", (False, True)),
    (Adam, {}, "bias_correction", (True, False)),
    (Adam, {"amsgrad": True}, "amsgrad", "corrected"),
    (AdamW, {}, "decoupled_weight_decay", False),
    (Adamax, {}, "betas", (0.5, 0.6)),
    (Adamax, {}, "eps", 0.1),
    (Adamax, {"eps": 0.1}, "eps_mode", "outside"),
    (NAdam, {}, "betas", (0.5, 0.6)),
    (NAdam, {}, "eps", 0.1),
    (NAdam, {}, "eps_root", 0.1),
    (NAdam, {}, "momentum_decay", 1.0),
    (NAdam, {}, "nadam_schedule", "paper"),
]


@pytest.mark.parametrize(
    ("cls", "options", "name", "value"), CHANGES, ids=lambda v: getattr(v, "__name__", str(v))
)
def test_changed_option_takes_effect_at_the_next_step(cls, options, name, value):
    """The step equals that of a new optimizer with that option and equal parameters and state."""
    (w,), (unchanged_option,) = arrays(5), arrays(5)
    grads = arrays(5, 5, 5, 5, seed=1)
    opt, same = cls(w, **options), cls(unchanged_option, **options)
    for g in grads[:2]:
        opt.step(g)
        same.step(g)

    other = w.copy()
    made = cls(other, **{**options, name: value})
    for key, array in opt.state[0].items():
        made.state[0][key][...] = array

    opt.param_groups[0][name] = value
    assert opt.param_groups[0][name] == value
    for g in grads[2:]:
        opt.step(g)
        made.step(g)
        same.step(g)
    assert bits([w, opt.state[0]]) == bits([other, made.state[0]])
    assert bits(w) != bits(unchanged_option)


def test_a_group_is_a_mapping_of_its_options():
    w = np.zeros((2, 3))
    (group,) = SGD(w, lr=0.5, momentum=0.9).param_groups
    assert dict(group)["momentum"] == 0.9
    assert {"params", "lr", "weight_decay", "decoupled_weight_decay", "maximize"} < set(group)
    assert len(group) == len(list(group)) == len(set(group))
    assert group["params"][0] is w
    assert "(2, 3)" in repr(group)
    assert "'lr': 0.5" in repr(group)


@pytest.mark.parametrize("name", ["momentun", "n_threads", "params", "initial_lr"])
def test_unknown_option_of_a_group_is_refused(name):
    opt = SGD(np.zeros(2), lr=0.5)
    with unchanged(opt), pytest.raises(FastoptError, match=f"'{name}'.*allowed.*momentum"):
        opt.param_groups[0][name] = 1
    with unchanged(opt), pytest.raises(FastoptError, match="'lr' cannot be removed"):
        del opt.param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("rule", "name", "value"),
    [
        ("sgd", "momentum", 0.9),
        ("momentum", "momentum", 0.0),
        ("adam", "amsgrad", True),
        ("adam_amsgrad", "amsgrad", False),
        ("rmsprop", "centered", True),
        ("rmsprop_momentum", "momentum", 0.0),
    ],
)
def test_option_that_needs_other_state_is_refused(rule, name, value):
    opt = make(rule, arrays(3))
    opt.step(arrays(3, seed=1))
    with unchanged(opt), pytest.raises(FastoptError, match="; make the optimizer with"):
        opt.param_groups[0][name] = value


# The learning rate


def test_lr_reads_and_sets_all_groups():
    a, b = arrays(2, 2)
    opt = SGD([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.1)
    with pytest.raises(FastoptError, match=r"0\.1, 0\.2"):
        _ = opt.lr
    opt.lr = 0.5
    assert opt.lr == 0.5
    assert [group["lr"] for group in opt.param_groups] == [0.5, 0.5]
    before = a.copy(), b.copy()
    opt.step([np.ones(2), np.ones(2)])
    assert bits([a, b]) == bits([w - 0.5 for w in before])


def test_schedule_is_called_with_steps_1_2_3():
    asked = []

    def schedule(step):
        asked.append(step)
        return 1.0 / step

    w = np.zeros(1)
    opt = SGD(w, lr=schedule)
    for _ in range(3):
        opt.step(np.ones(1))
    assert asked == sorted(asked)
    assert set(asked) == {1, 2, 3}
    assert w[0] == -(1.0 + 1.0 / 2 + 1.0 / 3)


@every_rule
def test_a_schedule_equals_setting_lr_by_hand(rule):
    schedule = cosine(0.2, total_steps=4, lr_min=0.01)
    (w,), (other,) = arrays(3), arrays(3)
    opt, by_hand = make(rule, w, lr=schedule), make(rule, other)
    for t in range(1, 7):
        (g,) = arrays(3, seed=t)
        assert opt.lr == opt.param_groups[0]["lr"] == schedule(t)
        by_hand.lr = schedule(t)
        opt.step(g)
        by_hand.step(g)
    assert bits(w) == bits(other)


def test_lr_cannot_be_set_with_a_schedule():
    a, b = arrays(2, 2)
    opt = SGD([{"params": [a]}, {"params": [b], "lr": cosine(0.2, 5)}], lr=0.1)
    with unchanged(opt), pytest.raises(FastoptError, match=r"follows cosine\(lr=0\.2"):
        opt.lr = 0.3
    with unchanged(opt), pytest.raises(FastoptError, match=r"follows cosine\(lr=0\.2"):
        opt.param_groups[1]["lr"] = 0.3
    opt.param_groups[0]["lr"] = 0.3
    assert [group["lr"] for group in opt.param_groups] == [0.3, 0.2]


@pytest.mark.parametrize(
    ("value", "error"),
    [(-0.1, FastoptError), (np.nan, FastoptError), (np.inf, FastoptError), (None, TypeError),
     ("0.1", TypeError), (True, TypeError)],
)  # fmt: skip
def test_bad_learning_rate_from_a_schedule_is_refused(value, error):
    values = {1: 0.1, 2: value}
    rest = arrays(2, seed=1)[0]
    opt = SGD([{"params": [arrays(2)[0]], "lr": lambda t: values[t]}, {"params": [rest]}])
    opt.step([np.ones(2), np.ones(2)])
    before = bits([opt.params, opt.state])
    with pytest.raises(error, match="step 2"):
        opt.step([np.ones(2), np.ones(2)])
    assert bits([opt.params, opt.state]) == before
    assert opt.step_count == 1
    values[2] = 0.5
    opt.step([np.ones(2), np.ones(2)])
    assert opt.step_count == 2


def test_error_in_a_schedule_passes_through():
    opt = SGD(np.zeros(2), lr=lambda step: {}[step])
    with pytest.raises(KeyError):
        opt.step(np.ones(2))
    assert opt.params.tolist() == [0.0, 0.0]
    assert opt.step_count == 0


def test_a_failed_step_does_not_advance_a_schedule():
    w = np.zeros(2)
    opt = SGD(w, lr=lambda step: float(step))
    with pytest.raises(FastoptError):
        opt.step(np.ones(3))
    opt.step(np.ones(2))
    assert w.tolist() == [-1.0, -1.0]


def test_reduce_on_plateau_takes_effect_at_the_next_step():
    w = np.zeros(1)
    plateau = ReduceOnPlateau(8.0, factor=0.5, patience=0)
    opt = SGD(w, lr=plateau)
    for loss in (3.0, 3.0, 3.0):
        opt.step(np.ones(1))
        plateau.report(loss)
    assert w[0] == -(8.0 + 8.0 + 4.0)
    assert opt.lr == 2.0


def test_schedule_whose_truth_value_is_false():
    class Empty:
        def __call__(self, _step):
            return 0.5

        def __len__(self):
            return 0

    w = np.zeros(1)
    opt = SGD(w, lr=Empty())
    opt.step(np.ones(1))
    assert w[0] == -0.5
    assert opt.state_dict()["param_groups"][0]["schedule"] is not None


# More groups


@pytest.mark.parametrize("named", [False, True])
def test_added_group_starts_with_new_state(named):
    a, b, c = arrays(3, 4, ())
    others = [w.copy() for w in (a, b, c)]
    opt = Adam({"a": a, "b": b} if named else [a, b], lr=0.1, weight_decay=0.2)
    alone = [Adam(w, lr=0.1, weight_decay=0.2) for w in others[:2]]
    opt.step(dict(zip("ab", arrays(3, 4, seed=1), strict=True)) if named else arrays(3, 4, seed=1))
    for one, g in zip(alone, arrays(3, 4, seed=1), strict=True):
        one.step(g)

    opt.add_param_group({"params": {"c": c} if named else [c], "lr": 0.7})
    alone.append(Adam(others[2], lr=0.7, weight_decay=0.2))
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.7]
    for t in (2, 3):
        grads = arrays(3, 4, (), seed=t)
        opt.step(dict(zip("abc", grads, strict=True)) if named else grads)
        for one, g in zip(alone, grads, strict=True):
            one.step(g)
    assert bits([a, b, c]) == bits(others)
    assert list(opt.state) == (["a", "b", "c"] if named else [0, 1, 2])
    for key, one in zip(opt.state, alone, strict=True):
        assert bits(opt.state[key]) == bits(one.state[0])


def test_gradients_must_be_bound_again_after_adding_a_group():
    opt = SGD(arrays(2))
    opt.bind(arrays(2, seed=1))
    opt.add_param_group({"params": arrays(3)})
    with unchanged(opt), pytest.raises(FastoptError, match=r"bind\(grads\)"):
        opt.step()
    opt.bind(arrays(2, 3, seed=1))
    opt.step()


def test_optimizer_of_one_array_refuses_groups():
    opt = SGD(np.zeros(2))
    with unchanged(opt), pytest.raises(FastoptError, match="list instead"):
        opt.add_param_group({"params": [np.zeros(2)]})


BAD_GROUPS = {
    "not a dict": (lambda _: [np.zeros(2)], TypeError, "'params'"),
    "no params": (lambda _: {"lr": 0.1}, TypeError, "'params'"),
    "params is a number": (lambda _: {"params": 5}, TypeError, "params"),
    "unknown option": (lambda _: {"params": [np.zeros(2)], "mu": 1}, FastoptError, "'mu'"),
    "option that groups share": (
        lambda _: {"params": [np.zeros(2)], "n_threads": 1}, FastoptError, "'n_threads'"
    ),
    "bad value": (lambda _: {"params": [np.zeros(2)], "lr": -1.0}, FastoptError, "lr is -1.0"),
    "bad type": (lambda _: {"params": [np.zeros(2)], "betas": 1.0}, TypeError, "betas is 1.0"),
    "integers": (lambda _: {"params": [np.zeros(2), np.zeros(2, int)]}, TypeError, "parameter 2"),
    "the same array": (lambda w: {"params": [np.zeros(2), w]}, FastoptError, "share memory"),
    "part of an array": (lambda w: {"params": [w[1:]]}, FastoptError, "share memory"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD_GROUPS)
def test_refused_group_changes_nothing(how):
    bad, error, message = BAD_GROUPS[how]
    (w,), (other,) = arrays(3), arrays(3)
    opt, twin = Adam([w], lr=0.1), Adam([other], lr=0.1)
    grad = arrays(3, seed=1)[0]
    for one in (opt, twin):
        one.bind([grad])
        one.step()
    with unchanged(opt), pytest.raises(error, match=message):
        opt.add_param_group(bad(w))
    assert list(opt.state) == [0]
    for one in (opt, twin):
        one.step()
    assert everything(opt) == everything(twin)


@pytest.mark.parametrize(
    ("group", "error"),
    [
        ({"params": {"a": np.zeros(2)}}, FastoptError),  # the name is used already
        ({"params": [np.zeros(2)]}, TypeError),  # arrays without names
    ],
)
def test_refused_group_of_named_parameters(group, error):
    opt = Adam({"a": np.zeros(3)})
    with unchanged(opt), pytest.raises(error):
        opt.add_param_group(group)


# State

# Of PyTorch's rules; test_rules.py compares the names of the others with those of the reference.
STATES = {
    "sgd": [],
    "momentum": ["momentum_buffer"],
    "adagrad": ["sum"],
    "adadelta": ["square_avg", "acc_delta"],
    "schedule_free_sgd": ["z", "weight_sum", "lr_max"],
    "schedule_free_adamw": ["z", "exp_avg_sq", "weight_sum", "lr_max"],
    "schedule_free_radam": ["z", "exp_avg_sq", "weight_sum", "lr_max"],
    "rmsprop": ["square_avg"],
    "rmsprop_centered": ["square_avg", "grad_avg"],
    "rmsprop_momentum": ["square_avg", "momentum_buffer"],
    "rmsprop_centered_momentum": ["square_avg", "grad_avg", "momentum_buffer"],
    "adam": ["exp_avg", "exp_avg_sq"],
    "adam_amsgrad": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    "adamw": ["exp_avg", "exp_avg_sq"],
    "adamax": ["exp_avg", "exp_inf"],
    "muon": ["momentum_buffer"],
    "nadam": ["mu_product", "exp_avg", "exp_avg_sq"],
    "radam": ["exp_avg", "exp_avg_sq"],
    "smorms3": ["mem", "g", "g2"],
    "ftrl": ["accumulator", "linear"],
    "ademamix": ["exp_avg_fast", "exp_avg_slow", "exp_avg_sq"],
    "adopt": ["exp_avg", "exp_avg_sq"],
    "asgd": ["eta", "mu", "ax"],
    "adan": ["exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad"],
}


@pytest.mark.parametrize("rule", STATES)
def test_state_has_the_names_of_pytorch(rule):
    a, b = np.zeros((2, 3)), np.zeros((4, 1), np.float32)
    state = make(rule, {"a": a, "b": b}).state
    assert list(state) == ["a", "b"]
    for key, w in (("a", a), ("b", b)):
        assert set(state[key]) == {"step", *STATES[rule]}
        for name in {*STATES[rule]} - ALL_RULES[rule][0]._scalars.keys():
            assert state[key][name].shape == w.shape
            assert state[key][name].dtype == w.dtype


@pytest.mark.parametrize(
    ("cls", "name"), [(Adagrad, "sum"), (RMSprop, "square_avg")], ids=["adagrad", "rmsprop"]
)
def test_accumulator_starts_at_its_initial_value(cls, name):
    opt = cls([{"params": arrays(2), "initial_accumulator_value": 0.25}, {"params": arrays(2)}],
              initial_accumulator_value=0.5)  # fmt: skip
    assert [opt.state[i][name].tolist() for i in range(2)] == [[0.25] * 2, [0.5] * 2]


def test_state_is_live_and_its_mappings_are_read_only():
    w = np.zeros(2)
    opt = NAdam(w)
    state = opt.state[0]
    exp_avg, step = state["exp_avg"], state["step"]
    opt.step(np.ones(2))
    assert step == 1
    assert exp_avg.tolist() == [1 - 0.9] * 2
    assert state["mu_product"] < 1
    with pytest.raises(TypeError):
        opt.state[0] = {}
    with pytest.raises(TypeError):
        state["exp_avg"] = np.zeros(2)
    exp_avg[...] = 0.0  # the next step uses it
    opt.step(np.zeros(2))
    assert opt.state[0]["exp_avg"].tolist() == [0.0, 0.0]


def test_repr_shows_groups_and_options():
    opt = SGD([{"params": [np.zeros((20, 100))]}, {"params": [np.zeros(5)], "lr": cosine(0.2, 9)}],
              lr=0.1, momentum=0.9)  # fmt: skip
    opt.step([np.zeros((20, 100)), None])
    head, *groups = repr(opt).splitlines()
    assert head == "SGD: 2 parameters, 2,005 elements, 1 step taken"
    assert len(groups) == 2
    assert "group 0: lr=0.1, " in groups[0]
    assert "momentum=0.9" in groups[0]
    assert "lr=cosine(lr=0.2, total_steps=9" in groups[1]
    assert "params" not in repr(opt).replace("parameters", "")


def named_arrays():
    return dict(zip(["weight", "bias", "out.weight"], arrays((3, 4), 4, ()), strict=True))


def test_parameter_without_gradient_resumes_when_it_has_one():
    """Without a gradient, neither its decay nor its state advances."""
    params = named_arrays()
    start = {name: w.copy() for name, w in params.items()}
    opt = AdamW(params, lr=0.1, weight_decay=0.5)
    g = dict(zip(params, arrays((3, 4), 4, (), seed=1), strict=True))
    opt.step({**g, "bias": None})
    opt.step({**g, "bias": None})
    assert (params["bias"] == start["bias"]).all()
    assert opt.state["bias"]["step"] == 0
    opt.step(g)
    alone = {"bias": start["bias"].copy()}
    AdamW(alone, lr=0.1, weight_decay=0.5).step({"bias": g["bias"]})
    assert bits(alone["bias"]) == bits(params["bias"])

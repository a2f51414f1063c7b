"""Options out of range, of the wrong type or in bad combinations: the error names them."""

import fractions
import inspect
import re

import numpy as np
import pytest
from support import arrays, unchanged

import fastopt
from fastopt import (
    SGD,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    FastoptError,
    Muon,
    NAdam,
    Optimizer,
    RMSprop,
    Rprop,
    Yogi,
)
from fastopt._checks import Choice, OrNone, Pair, Whole, at_least_0, decay_rate, flag, fraction
from fastopt.optimizers.schedule_free import power

NAN, INF = float("nan"), float("inf")

# For each kind of option: values out of range, and values of the wrong type.
NOT_NUMBERS = [None, "0.1", True, [0.1], (0.1,), {}, 0.1j, np.array([0.1])]
AT_LEAST_0 = ([-1e-30, -1, NAN, INF, -INF, np.float32(-1), np.array(-1.0)], NOT_NUMBERS)
BELOW_1 = ([-1e-30, 1, 1.0, 2, NAN, INF], NOT_NUMBERS)
UP_TO_1 = ([-1e-30, 1.1, NAN, INF], NOT_NUMBERS)
UP_TO_30 = ([-1e-30, 30.5, 1000, NAN, INF], NOT_NUMBERS)
FLAG = ([], [0, 1, None, "True", 0.0, np.bool_(True)])
BETAS = (
    [(0.9, 1.0), (1.0, 0.9), (-0.1, 0.9), (0.9, NAN)],
    [0.9, (0.9,), (0.9, 0.9, 0.9), None, "ab", (0.9, "0.9"), (True, 0.9), np.array([0.9, 0.9])],
)
THREE_BETAS = ([(0.9, 0.9, 1.0), (-0.1, 0.9, 0.9)], [0.9, (0.9, 0.9), "abc", (0.9, 0.9, "0.9")])
DECAY = ([0, 1, 0.5, None, "LR", "coupled", []], [])
# The options that all classes have.
COMMON = {
    "lr": AT_LEAST_0, "weight_decay": AT_LEAST_0, "decoupled_weight_decay": DECAY, "maximize": FLAG,
    "l1": AT_LEAST_0,
    "bounds": ([(1, 0), (NAN, 1), (0, INF), (None, NAN)], [0, "01", (1,), (0, 1, 2), (0, "1")]),
}  # fmt: skip
# Options whose values are restricted in another way than by one of KINDS.
OPTIONS = {
    AdamW: {"amsgrad": ([0, 1, None, "max"], []), "eps_mode": (["outside", None, True], []),
            "bias_correction": ([], [True, (True,), (1, 1), None])},
    Adafactor: {"beta2_decay": ([0.1, NAN, -INF], NOT_NUMBERS),
                "d": ([0.99, NAN, INF], NOT_NUMBERS),
                "eps": ([(-1, 0.1), (NAN, 0.1), (None, -1), (None, INF)],
                        [None, 0.1, (None,), (None, None), (True, 0.1), (0.1, 0.1, 0.1), "ab"])},
    SGD: {"dampening": ([NAN, INF, -INF], NOT_NUMBERS),
          "nesterov": ([0, 1, None, "true", "Lookahead"], []),
          "first_step": (["skip", None, True], [])},
    Adam: {"amsgrad": ([0, 1, None, "max"], []), "eps_mode": (["outside", None, True], []),
           "bias_correction": ([], [True, (True,), (1, 1), None])},
    Adamax: {"eps_mode": (["hat", None], [])},
    Muon: {"ns_coefficients": ([(1, 2, NAN)], [3.4, (3.4, -4.8), (3.4, -4.8, "2"), None]),
           "ns_steps": ([-1, 100], [1.5, "5", True, None])},
    NAdam: {"nadam_schedule": (["keras", 0, None], [])},
    fastopt.Prodigy: {"beta3": ([-1e-30, 1, NAN], ["0.1", True, {}]),
                      "growth_rate": ([0.9, NAN, INF], ["2", True, {}])},
    fastopt.LARS: {"dampening": ([NAN, INF, -INF], NOT_NUMBERS)},
    fastopt.RAdam: {"threshold": ([3.9, NAN, INF], NOT_NUMBERS)},
}  # fmt: skip
KINDS = {
    at_least_0: AT_LEAST_0,
    decay_rate: BELOW_1,
    fraction: UP_TO_1,
    power: UP_TO_30,
    flag: FLAG,
}
CLASSES = [
    thing
    for thing in map(fastopt.__dict__.get, fastopt.__all__)
    if inspect.isclass(thing) and issubclass(thing, Optimizer) and thing is not Optimizer
]


def values_of(check):
    """Return values out of range, and of the wrong type, for the check of an option."""
    if isinstance(check, Pair) and check.each is decay_rate:
        return BETAS if check.length == 2 else THREE_BETAS
    if isinstance(check, Pair):
        out_of_range, wrong_type = values_of(check.each)
        return [(x, x) for x in out_of_range], [0.5, *((x, x) for x in wrong_type)]
    if isinstance(check, Choice):
        return [0.5, "of another kind"], []
    if isinstance(check, Whole):
        return [check.low - 1], [*NOT_NUMBERS, 1.0]
    if isinstance(check, OrNone):
        out_of_range, wrong_type = KINDS[check.check]
        return out_of_range, [value for value in wrong_type if value is not None]
    return KINDS[check]


OPTIONS = {
    cls: {
        **COMMON,
        **{
            name: OPTIONS.get(cls, {}).get(name) or values_of(check)
            for name, check in cls._checks.items()
        },
    }
    for cls in CLASSES
}


@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls, options in OPTIONS.items() for name in options],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_values_that_are_not_allowed_are_refused(cls, name):
    """The constructor, a group dict, an added group and an assignment to a group refuse them."""
    opt = cls(arrays(2))
    out_of_range, wrong_type = OPTIONS[cls][name]
    for error, values in ((FastoptError, out_of_range), (TypeError, wrong_type)):
        for value in values:
            message = rf"(?s){name}.* is .*(allowed|needed)"
            with pytest.raises(error, match=message) as refused:
                cls(arrays(2), **{name: value})
            assert repr(value) in str(refused.value) or f"{name}[" in str(refused.value)
            with pytest.raises(error, match=message):
                cls([{"params": arrays(2), name: value}])
            with unchanged(opt), pytest.raises(error, match=message):
                opt.add_param_group({"params": arrays(3), name: value})
            with unchanged(opt), pytest.raises(error, match=message):
                opt.param_groups[0][name] = value


UNABLE = [("l1", 0.1), ("bounds", (0.0, None)), ("decoupled_weight_decay", "proximal")]


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [*((cls, *option) for cls in (fastopt.ASGD, fastopt.Ftrl) for option in UNABLE),
     *((fastopt.Ftrl, "decoupled_weight_decay", decay) for decay in (True, "lr", "schedule_only"))],
)  # fmt: skip
def test_what_changes_w_outside_of_the_formula_is_refused(cls, name, value):
    opt = cls(arrays(2))
    message = rf"decoupled_weight_decay, l1 and bounds are .*{re.escape(repr(value))}.*; allowed"
    with pytest.raises(FastoptError, match=message):
        cls(arrays(2), **{name: value})
    with unchanged(opt), pytest.raises(FastoptError, match=message):
        opt.param_groups[0][name] = value


def test_every_option_is_tested_here():
    for cls in OPTIONS:
        assert {*OPTIONS[cls]} == {*cls(arrays(2)).param_groups[0]} - {"params"}


@pytest.mark.parametrize(
    "value",
    [np.bool_(True), np.array(True), np.str_("0.1"), np.array("0.1"), np.complex128(0.1 + 5j),
     0.1 + 0j],
    ids=repr,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_values_that_numpy_would_convert_are_not_numbers(value):
    with pytest.raises(TypeError, match=r"lr is .* number is needed"):
        SGD(arrays(2), lr=value)


class Tensor:
    """A number of another library, whose dtype is not one of NumPy."""

    shape = ()
    dtype = "other.float32"

    def item(self):
        return 2.0

    def __float__(self):
        return 2.0


def test_a_number_beyond_the_range_of_floats():
    with pytest.raises(FastoptError, match=r"lr is 1000.*allowed"):
        SGD(arrays(2), lr=10**400)


@pytest.mark.parametrize(
    "value",
    [2, np.float32(2), np.int64(2), np.array(2.0), np.array(2), fractions.Fraction(2), Tensor()],
    ids=lambda v: type(v).__name__,
)
def test_numbers_of_every_type_are_allowed(value):
    opt = SGD(arrays(2), lr=value)
    assert opt.lr == 2.0
    assert type(opt.lr) is float


@pytest.mark.parametrize("value", [0, -1, 4097, 10**30])
def test_a_number_of_threads_out_of_range(value):
    with pytest.raises(FastoptError, match=rf"n_threads is {value}; allowed: 1 to"):
        SGD(arrays(2), n_threads=value)


@pytest.mark.parametrize("value", [1.0, True, "2", [2], NAN])
def test_number_of_threads_must_be_an_integer(value):
    with pytest.raises(TypeError, match=re.escape(f"n_threads is {value!r}; a whole number")):
        SGD(arrays(2), n_threads=value)


class NoBase:
    """A schedule without the attribute `lr`, its base learning rate."""

    def __call__(self, _step):
        return 0.1


class BadBase(NoBase):
    def __init__(self, lr):
        self.lr = lr


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SGD, {"nesterov": True}, "nesterov=True needs momentum > 0"),
        (SGD, {"nesterov": "lookahead", "lr_in_buffer": True}, "needs momentum > 0"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening 0"),
        (SGD, {"nesterov": "lookahead", "momentum": 0.9}, "needs lr_in_buffer=True"),
        (SGD, {"normalized": "all", "momentum": 0.5}, "normalized='all' needs momentum 0, not 0.5"),
        (RMSprop, {"nesterov": True}, "nesterov=True needs momentum > 0"),
        (fastopt.DoG, {"reps_rel": 0}, r"reps_rel is 0.0; allowed: > 0"),
        (fastopt.Prodigy, {"d0": 0}, r"d0 is 0.0; allowed: > 0"),
        (fastopt.LARS, {"nesterov": True, "momentum": 0.0}, "nesterov=True needs momentum > 0"),
        *((Rprop, {"etas": etas}, r"etas is \(.*allowed.*0 < etaminus < 1 < etaplus")
          for etas in ((0.0, 1.2), (1.0, 1.2), (0.5, 1.0))),
        *((Rprop, {"step_sizes": sizes}, r"step_sizes is \(.*allowed.*0 < smallest <= largest")
          for sizes in ((0.0, 1.0), (0.2, 0.1))),
        *((Adam, options, r"amsgrad=.*, cautious=.* and rowwise=.*; only one of them is allowed")
          for options in ({"cautious": True, "amsgrad": True}, {"rowwise": True, "cautious": True},
                          {"rowwise": True, "amsgrad": "raw"})),
        (Adam, {"amsgrad": "corrected", "eps_mode": "hat"}, "amsgrad='corrected'.*eps_mode='hat'"),
        *(
            (Adam, {"decoupled_weight_decay": "schedule_only", "weight_decay": 0.1, "lr": lr},
             "schedule_only.*lr > 0")
            for lr in (0.0, NoBase(), BadBase(0.0), BadBase(NAN), BadBase(-1.0), BadBase("0.1"))
        ),
    ],
)  # fmt: skip
def test_options_that_cannot_be_combined_are_refused(cls, options, message):
    with pytest.raises((FastoptError, TypeError), match=message):
        cls(arrays(2), **options)


def test_attribute_lr_of_a_schedule_is_used_by_schedule_only():
    w = np.zeros(2)
    for lr in (None, "0.1", lambda: 0.1, [0.1], NAN):
        opt = SGD([w], lr=BadBase(lr), weight_decay=0.1, decoupled_weight_decay="lr")
        opt.step([np.ones(2)])
        opt.load_state_dict(opt.state_dict())


def test_setting_options_that_cannot_be_combined_is_refused():
    opt = SGD([{"params": arrays(2), "momentum": 0.9}])
    group = opt.param_groups[0]
    for name, value in (("nesterov", "lookahead"), ("momentum", 0.0)):
        with unchanged(opt), pytest.raises(FastoptError, match=r"needs|need the rule"):
            group[name] = value
    group["nesterov"] = True
    with unchanged(opt), pytest.raises(FastoptError, match=r"dampening=0\.5"):
        group["dampening"] = 0.5


def test_option_of_another_class_is_refused():
    with pytest.raises(TypeError, match="betas"):
        SGD(arrays(2), betas=(0.9, 0.9))


@pytest.mark.parametrize("cls", OPTIONS)
def test_message_about_an_unknown_keyword_lists_all_keywords(cls):
    with pytest.raises(
        TypeError, match=r"unexpected keyword 'momentun'.*; allowed: lr, "
    ) as refused:
        cls(np.zeros(3), momentun=0.9)
    allowed = str(refused.value).rpartition("allowed: ")[2].split(", ")
    own = set(inspect.signature(cls).parameters) - {"params", "common", "options"}
    assert own < set(allowed)
    assert {"decoupled_weight_decay", "n_threads", "max_grad_norm", "maximize"} < set(allowed)
    assert len(set(allowed)) == len(allowed)


def test_setting_an_option_on_the_optimizer_is_refused():
    opt = Adagrad(np.zeros(3), lr=0.1)
    for name in ("weight_decay", "maximize", "eps"):
        with pytest.raises(FastoptError, match=rf"{name} is an option of groups.*\['{name}'\]"):
            setattr(opt, name, opt.param_groups[0][name])
    for name in ("max_grad_norm", "zero_grads", "n_threads", "initial_accumulator_value"):
        with pytest.raises(FastoptError, match=f"{name} can only be set when"):
            setattr(opt, name, None)
    for name in ("step_count", "ema", "param_groups"):
        with pytest.raises(AttributeError):
            setattr(opt, name, None)
    with pytest.raises(AttributeError):
        opt.param_groups.append(opt.param_groups[0])
    opt.lr, opt.grad_scale = 0.2, 2.0
    assert (opt.lr, opt.grad_scale) == (0.2, 2.0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("learning_rate", "'lr'"),
        ("max_grad_nrom", "'max_grad_norm'"),
        ("beta1", "'betas'"),
        ("grad_scal", "'grad_scale'"),
        ("param_group", "'param_groups'"),
        ("remark", None),
        ("state", "write into its arrays"),
    ],
)
def test_setting_an_unknown_attribute_is_refused(name, meant):
    opt = Adam(np.zeros(3))
    with pytest.raises(AttributeError, match=name) as refused:
        setattr(opt, name, 0.1)
    assert name == "state" or (f"did you mean {meant}?" in str(refused.value)) == (
        meant is not None
    )
    assert meant is None or meant in str(refused.value)


def test_subclass_may_have_its_own_attributes():
    class Noted(Adam):
        remark = ""

    opt = Noted(np.zeros(3))
    opt.remark, opt._private = "first", 1
    assert (opt.remark, opt._private) == ("first", 1)


def test_setting_an_option_as_an_attribute_of_a_group_is_refused():
    opt = Adam(np.zeros(3), lr=0.1)
    with pytest.raises(AttributeError, match=r"group\['lr'\]"):
        opt.param_groups[0].lr = 0.5
    assert opt.lr == 0.1


def test_messages_about_unknown_options_suggest_a_name():
    with pytest.raises(TypeError, match="'learning_rate'; did you mean 'lr'"):
        Adam(np.zeros(3), learning_rate=0.1)
    with pytest.raises(FastoptError, match=r"'wieght_decay' .*; did you mean 'weight_decay'"):
        Adam(np.zeros(3)).param_groups[0]["wieght_decay"] = 0.1


@pytest.mark.parametrize("cls", [Adagrad, RMSprop, Yogi])
def test_initial_value_beyond_the_dtype_is_refused(cls):
    w, low = np.ones(3, np.float32), {"state_dtype": "bfloat16"}
    for value, options in ((1e39, {}), (3.4e38, low)):
        with pytest.raises(
            FastoptError, match=r"parameter 0 would start at .*e\+3[89].* must fit in"
        ):
            cls([w], initial_accumulator_value=value, **options)
    cls([w], initial_accumulator_value=3.4e38)
    cls([np.ones(3)], initial_accumulator_value=1e39)

"""Bad parameters and gradients: the error names them, and no value or count has changed."""

import copy
import decimal
import pickle
import warnings
from collections import defaultdict

import numpy as np
import pytest
from support import arrays, bits, everything, unchanged

from fastopt import SGD, Adagrad, Adam, FastoptError, NAdam

# Parameters

unaligned = np.zeros(25, np.uint8)[1:].view(np.float64)
frozen = np.zeros(3)
frozen.flags.writeable = False
PARAMETERS = {
    "int64": (np.zeros(3, int), TypeError, "int64"),
    "bool": (np.zeros(3, bool), TypeError, "bool"),
    "longdouble": (np.zeros(3, np.longdouble), TypeError, str(np.dtype(np.longdouble))),
    "complex64": (np.zeros(3, np.complex64), TypeError, "complex64"),
    "complex128": (np.zeros(3, complex), TypeError, "complex128"),
    "object": (np.zeros(3, object), TypeError, "object"),
    "text": (np.zeros(3, "U1"), TypeError, "U1"),
    "other byte order": (np.zeros(3, np.dtype("f8").newbyteorder()), TypeError, "native byte"),
    "structured": (np.zeros(3, "f8,f8"), TypeError, "float32 or float64"),
    "masked": (np.ma.masked_array(np.zeros(3)), TypeError, "masked"),
    "read-only": (frozen, FastoptError, "read-only"),
    "overlapping itself": (
        np.lib.stride_tricks.as_strided(np.zeros(4), (2, 3), (8, 8)),
        FastoptError,
        "strides",
    ),
    "one element repeated": (
        np.lib.stride_tricks.as_strided(np.zeros(1), (3,), (0,)),
        FastoptError,
        "share memory",
    ),
    "17 axes": (np.zeros((1,) * 17), FastoptError, "17 axes; allowed: up to 16"),
    "broadcast": (np.broadcast_to(np.zeros(()), (3,)), FastoptError, "read-only|strides"),
    "unaligned": (unaligned, FastoptError, "aligned"),
    "a list": ([0.0, 1.0], TypeError, "list"),
    "a number": (1.0, TypeError, "float"),
    "a NumPy number": (np.float64(1.0), TypeError, "float64"),
    "None": (None, TypeError, "NoneType"),
}


@pytest.mark.parametrize("kind", PARAMETERS)
def test_unsupported_parameter_is_refused(kind):
    bad, error, message = PARAMETERS[kind]
    good = np.zeros(2)
    if isinstance(bad, np.ndarray):
        with pytest.raises(error, match=f"parameter 0 .*({message})"):
            Adam(bad)
    with pytest.raises(error, match=f"parameter 1 .*({message})"):
        Adam([good, bad])
    with pytest.raises(error, match=f"parameter 'b' .*({message})"):
        Adam({"a": good, "b": bad})
    with pytest.raises(error, match=f"parameter 1 .*({message})"):
        Adam([{"params": [good]}, {"params": [bad]}])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, "params is a NoneType"),
        (5, "params is a int"),
        (np.float64(1.0), "params is a float64"),
        ("w", "parameter 0 is a str"),
        ([{"lr": 0.1}], "'params'"),
        ([{"params": [np.zeros(2)]}, np.zeros(2)], "'params'"),
        ([{"params": 5}], "params"),
        ({"a": {"b": np.zeros(2)}}, "parameter 'a' is a dict; .*flatten"),
        (np.zeros((2, 2)).tolist(), "parameter 0 is a list; .*flatten"),
    ],
)
def test_unsupported_container_of_parameters_is_refused(params, message):
    with pytest.raises(TypeError, match=message):
        Adam(params)


@pytest.mark.parametrize(
    "params", [[], (), {}, iter([])], ids=["list", "tuple", "dict", "generator"]
)
def test_no_parameters_are_refused(params):
    with pytest.raises(FastoptError, match=r"empty parameter list.*\[\{'params': \[\]\}\]"):
        Adam(params)


def test_error_in_a_generator_of_parameters_passes_through():
    def generator():
        yield np.zeros(2)
        raise TypeError("of mine")

    with pytest.raises(TypeError, match="of mine"):
        Adam(generator())


@pytest.mark.parametrize(
    "share",
    [
        lambda w: [w, w],
        lambda w: {"a": w, "b": w[2:5]},
        lambda w: [w[:4], w[3:]],
        lambda w: [w[:8], np.zeros(2), w[4:5].reshape(())],
        lambda w: [w, w.view(np.float32)],
        lambda w: [{"params": [w[:4]]}, {"params": [w[2:]]}],
    ],
)
def test_parameters_that_share_memory_are_refused(share):
    with pytest.raises(FastoptError, match=r"parameter .* and parameter .* share memory"):
        Adam(share(np.zeros(8)))


def test_adjacent_parameters_do_not_share_memory():
    w = np.zeros(8)
    opt = SGD([w[:3], w[3:3], w[3:4].reshape(()), w[4:]], lr=1.0)
    opt.step([np.ones(3), np.ones(0), 2.0, np.full(4, 3.0)])
    assert w.tolist() == [-1.0, -1.0, -1.0, -2.0, -3.0, -3.0, -3.0, -3.0]


# Gradients: a bad one in the first or the last place, among good ones.


class Converts:
    """An object whose __array__ returns what a given function returns."""

    def __init__(self, answer):
        self.answer = answer

    def __array__(self, dtype=None, copy=None):
        return self.answer()


def gradients():
    return arrays((2, 3), (), (2, 3), seed=8)


def bound():
    """Return an optimizer with bound gradients that has taken a step."""
    opt = NAdam(arrays((2, 3), (), (2, 3)), lr=0.1)
    opt.bind(gradients())
    opt.step()
    return opt


def fails():
    raise ZeroDivisionError("of the user")


def ones(dtype, *shape):
    return lambda _: np.ones(shape or (2, 3), dtype)


GRADIENTS = {
    "shape transposed": (ones(float, 3, 2), FastoptError, r"\(3, 2\).*\(2, 3\)"),
    "shape flat": (ones(float, 6), FastoptError, r"\(6,\).*\(2, 3\)"),
    "one axis more": (ones(float, 1, 2, 3), FastoptError, r"\(1, 2, 3\).*\(2, 3\)"),
    "0-d": (lambda _: np.array(1.0), FastoptError, r"\(\).*\(2, 3\)"),
    "empty": (ones(float, 0), FastoptError, r"\(0,\).*\(2, 3\)"),
    "a number": (lambda _: 1.0, TypeError, "float; an array"),
    "int64": (ones(int), TypeError, "int64"),
    "bool": (ones(bool), TypeError, "bool"),
    "longdouble": (ones(np.longdouble), TypeError, str(np.dtype(np.longdouble))),
    "complex64": (ones(np.complex64), TypeError, "complex64"),
    "complex128": (ones(complex), TypeError, "complex128"),
    "object": (ones(object), TypeError, "object"),
    "text dtype": (ones("U1"), TypeError, "U1"),
    "time": (ones("m8[s]"), TypeError, "timedelta64"),
    "other byte order": (ones(np.dtype("f8").newbyteorder()), TypeError, "native byte order"),
    "masked": (lambda _: np.ma.masked_array(np.ones((2, 3))), TypeError, "masked"),
    "a list": (lambda _: [[1.0] * 3] * 2, TypeError, "list; an array"),
    "text": (lambda _: "123456", TypeError, "str; an array"),
    "a parameter": (lambda opt: opt.params[0], FastoptError, "memory with parameter 0"),
    "the last parameter": (lambda opt: opt.params[2], FastoptError, "memory with parameter 2"),
    "a state": (lambda opt: opt.state[2]["exp_avg_sq"], FastoptError,
                "memory with the state of parameter 2"),
    "a parameter by __array__": (lambda opt: Converts(lambda: opt.params[0]), FastoptError,
                                 "memory with parameter 0"),
    "__array__ of another shape": (lambda _: Converts(lambda: np.ones(3)), FastoptError, r"\(3,\)"),
    "__array__ of integers": (lambda _: Converts(lambda: np.ones((2, 3), int)), TypeError, "int64"),
    "__array__ of nothing": (lambda _: Converts(lambda: None), ValueError, "__array__"),
    "__array__ that fails": (lambda _: Converts(fails), ZeroDivisionError, "of the user"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_bad_gradient_changes_nothing(kind, place):
    bad, error, message = GRADIENTS[kind]
    opt, twin = bound(), bound()
    grads = gradients()
    grads[place] = bad(opt)
    for call in (opt.step, opt.bind):
        with unchanged(opt), pytest.raises(error, match=message) as refused:
            call(grads)
        if isinstance(refused.value, (FastoptError, TypeError)):
            assert f"the gradient of parameter {place} " in str(refused.value)
    for one in (opt, twin):  # with the gradients that were bound before
        one.step()
        one.step(gradients())
    assert everything(opt) == everything(twin)


@pytest.mark.parametrize(
    "overlapping",
    [lambda w: w[::-1], lambda w: w.view(np.float32)[:6], lambda w: w.view(np.float32)[::2]],
    ids=["reversed", "float32", "float32 strided"],
)
def test_gradient_that_needs_a_copy_may_not_overlap_a_parameter(overlapping):
    opt = Adam(arrays(6))
    with unchanged(opt), pytest.raises(FastoptError, match="memory with parameter 0"):
        opt.step([overlapping(opt.params[0])])


def test_gradient_interleaved_with_a_parameter_shares_no_element():
    memory = np.ones((3, 4))
    opt = SGD([memory[1], np.zeros((2, 4))], lr=1.0)
    opt.step([np.ones(4), memory[::2]])
    assert opt.params[1].tolist() == [[-1.0] * 4] * 2
    assert memory.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]


def test_step_called_while_a_gradient_is_converted_is_refused():
    opt, twin = bound(), bound()
    grads = gradients()
    grads[2] = Converts(lambda: opt.step(gradients()))
    with unchanged(opt), pytest.raises(FastoptError, match=r"step\(\)"):
        opt.step(grads)
    for one in (opt, twin):
        one.step(gradients())
    assert everything(opt) == everything(twin)


SCALARS = {
    "one element": (np.ones(1), FastoptError, r"\(1,\)"),
    "bool": (True, TypeError, "bool; an array"),
    "NumPy bool": (np.True_, TypeError, "bool"),
    "complex": (1j, TypeError, "complex; an array"),
    "NumPy complex": (np.complex128(1), TypeError, "complex128"),
    "text": ("1.0", TypeError, "str; an array"),
    "decimal": (decimal.Decimal(1), TypeError, "Decimal; an array"),
    "beyond floats": (10**400, FastoptError, "parameter 1"),
}


@pytest.mark.parametrize("kind", SCALARS)
def test_bad_gradient_of_a_0d_parameter_is_refused(kind):
    bad, error, message = SCALARS[kind]
    opt = bound()
    grads = gradients()
    grads[1] = bad
    with unchanged(opt), pytest.raises(error, match=message):
        opt.step(grads)


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ([], FastoptError, "0 gradients for 3 parameters"),
        (gradients()[:2], FastoptError, "2 gradients for 3 parameters"),
        (gradients() + gradients()[:1], FastoptError, "4 gradients for 3 parameters"),
        (dict(enumerate(gradients())), TypeError, "a dict; a list or tuple"),
        (np.ones((3, 2, 3)), TypeError, "a ndarray; a list or tuple"),
        ((g for g in gradients()), TypeError, "a generator; a list or tuple"),
        (1.0, TypeError, "a float; a list or tuple"),
    ],
    ids=["none", "too few", "too many", "dict", "array", "generator", "number"],
)
def test_gradients_in_another_structure_than_the_list(grads, error, message):
    opt = bound()
    for call in (opt.step, opt.bind):
        with unchanged(opt), pytest.raises(error, match=message):
            call(grads)


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ({"a": np.ones(2)}, FastoptError, r"\['a'\].*\['a', 'b'\]"),
        ({"a": np.ones(2), "c": np.ones(3)}, FastoptError, r"\['a', 'c'\].*\['a', 'b'\]"),
        ({"a": np.ones(2), "b": np.ones(3), "c": None}, FastoptError, r"'c'\].*\['a', 'b'\]"),
        ([np.ones(2), np.ones(3)], TypeError, "a list; a dict"),
    ],
)
def test_gradients_in_another_structure_than_the_dict(grads, error, message):
    opt = Adam({"a": np.zeros(2), "b": np.zeros(3)})
    for call in (opt.step, opt.bind):
        with unchanged(opt), pytest.raises(error, match=message):
            call(grads)


def test_defaultdict_does_not_supply_a_missing_gradient():
    opt = SGD({"a": np.zeros(2), "b": np.zeros(2)})
    grads = defaultdict(lambda: np.ones(2), a=np.ones(2), bb=np.ones(2))
    with unchanged(opt), pytest.raises(FastoptError, match=r"keys \['a', 'bb'\]; \['a', 'b'\]"):
        opt.step(grads)
    assert list(grads) == ["a", "bb"]
    opt.step(defaultdict(None, a=np.ones(2), b=None))


def test_messages_name_the_parameter_of_a_dict():
    opt = Adam({"layer.0": np.zeros(2)})
    with pytest.raises(FastoptError, match=r"parameter 'layer\.0'"):
        opt.step({"layer.0": np.ones(3)})


def test_a_step_without_gradients():
    opt = Adam(np.zeros(2))
    with unchanged(opt), pytest.raises(FastoptError, match=r"bind\(grads\)"):
        opt.step()
    with unchanged(opt), pytest.raises(FastoptError, match=r"bind\(grads\)"):
        opt.zero_grad()


@pytest.mark.parametrize(
    "grad", [np.ones((2, 3), np.float32), np.ones((3, 2)).T, np.ones((2, 6))[:, ::2]]
)
def test_bound_gradient_of_any_layout_can_be_refilled(grad):
    opt = SGD(np.zeros((2, 3)), lr=1.0)
    opt.bind(grad)
    opt.step()
    grad[0, 1] = 5.0
    opt.step()
    assert opt.params.tolist() == [[-2, -6, -2], [-2, -2, -2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binding_refuses_a_number(dtype):
    """A number can neither be refilled nor set to 0."""
    opt = Adam(np.zeros((), dtype))
    for number in (1.0, dtype(1.0)):
        with unchanged(opt), pytest.raises((FastoptError, TypeError), match="0-d array is needed"):
            opt.bind(number)


def test_a_read_only_gradient_may_be_bound_but_not_cleared():
    a, b = np.ones(2), np.ones(2)
    b.flags.writeable = False
    opt = SGD(arrays(2, 2))
    opt.bind([a, b])
    opt.step()
    with unchanged(opt), pytest.raises(FastoptError, match="read-only"):
        opt.zero_grad()
    assert a.tolist() == [1.0, 1.0]


def test_resized_bound_gradient_is_refused():
    g = np.ones(3)
    opt = SGD(arrays(3))
    opt.bind([g])
    g.resize(1000, refcheck=False)
    with unchanged(opt), pytest.raises(FastoptError, match=r"\(1000,\)"):
        opt.step()


def test_gradients_may_share_memory_with_each_other():
    (g,) = arrays(3)
    params, others = arrays(3, 3), arrays(3, 3)
    Adam(params).step([g, g])
    Adam(others).step([g, g.copy()])
    assert bits(params) == bits(others)


# Parameters that change after the optimizer was made


@pytest.mark.parametrize(
    ("params", "spoil", "mend"),
    [
        ([np.ones(2), np.ones(2)], lambda p: p.__setitem__(1, np.ones(2)), None),
        ([np.ones(2), np.ones(2)], lambda p: p.reverse(), lambda p: p.reverse()),
        ([np.ones(2), np.ones(2)], lambda p: p.clear(), None),
        ({"a": np.ones(2), "b": np.ones(2)}, lambda p: p.update(b=np.ones(2)), None),
        ({"a": np.ones(2), "b": np.ones(2)}, lambda p: p.pop("a"), None),
        ({"a": np.ones(2), "b": np.ones(2)}, lambda p: p.update(b=None), None),
    ],
    ids=["list entry", "list order", "list emptied", "dict entry", "dict key", "dict None"],
)
def test_replaced_parameter_is_refused(params, spoil, mend):
    original = params.copy()
    opt = Adam(params)
    grads = {"a": np.ones(2), "b": np.ones(2)} if isinstance(params, dict) else [np.ones(2)] * 2
    opt.step(grads)
    spoil(params)
    with unchanged(opt), pytest.raises(FastoptError, match="no longer the array"):
        opt.step(grads)
    with unchanged(opt), pytest.raises(FastoptError, match="no longer the array"):
        opt.step({"a": None, "b": None} if isinstance(params, dict) else [None, None])
    if mend:
        mend(params)
    elif isinstance(params, dict):
        params.update(original)
    else:
        params[:] = original
    opt.step(grads)
    assert opt.step_count == 2


def test_replaced_parameter_in_a_group_is_refused():
    group = {"params": [np.ones(2)]}
    opt = Adam([group])
    group["params"][0] = np.ones(2)
    with unchanged(opt), pytest.raises(FastoptError, match="no longer the array"):
        opt.step([np.ones(2)])


def test_appending_to_the_callers_list_is_allowed():
    params = arrays(2)
    opt = Adam(params)
    params.append(np.zeros(3))
    opt.step(arrays(2))
    assert opt.step_count == 1


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: [w], lambda w: {"w": w}],
                         ids=["array", "list", "dict"])  # fmt: skip
def test_resized_parameter_is_refused(size, wrap):
    w = np.ones(2)
    opt = SGD(wrap(w))
    w.resize(size, refcheck=False)
    with unchanged(opt), pytest.raises(FastoptError, match="resized"):
        opt.step(wrap(np.ones(size)))


@pytest.mark.parametrize("size", [1, 4, 400])
@pytest.mark.parametrize(
    "make",
    [
        Adam,
        lambda w: Adagrad(w, rowwise=True),
        lambda w: SGD(w, ema_decay=0.9),
        lambda w: SGD(w, master="float32"),
    ],
    ids=["state", "state of rows", "ema", "master"],
)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))], ids=["copy", "pickle"]
)
def test_optimizer_of_a_resized_parameter_cannot_be_copied(size, make, copied):
    """A step of the copy would write beyond the end of the state."""
    w = np.zeros(3, np.float16)
    opt = make(w)
    w.resize(size, refcheck=False)
    with pytest.raises(FastoptError, match=f"3 elements; {size} are needed"):
        copied(opt)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.complex64, ">f8"])
def test_parameter_with_a_changed_dtype_is_refused(dtype):
    w = np.ones(2)
    opt = SGD([w])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a newer NumPy may have one
        w.dtype = dtype
    with pytest.raises((FastoptError, TypeError), match="parameter 0"):
        opt.step([np.ones(w.shape)])
    assert w.view(np.float64).tolist() == [1.0, 1.0]


def test_parameter_that_became_read_only_is_refused():
    w = np.ones(2)
    opt = SGD(w)
    w.flags.writeable = False
    with unchanged(opt), pytest.raises(FastoptError, match="read-only"):
        opt.step(np.ones(2))
    w.flags.writeable = True
    opt.step(np.ones(2))
    assert opt.step_count == 1


def test_reshaped_parameter_is_allowed():
    w = np.ones((2, 3))
    opt = SGD(w, lr=1.0)
    w.resize((3, 2), refcheck=False)
    opt.step(np.ones((3, 2)))
    assert not w.any()


# The environment


def test_decimal_context_of_the_caller_has_no_effect():
    """NAdam computes a power with the module decimal."""
    (w,), (other,) = arrays(3), arrays(3)
    NAdam(w, momentum_decay=0.1).step(np.ones(3))
    with decimal.localcontext(prec=3):
        NAdam(other, momentum_decay=0.1).step(np.ones(3))
    assert bits(w) == bits(other)
    with decimal.localcontext() as context:
        context.traps[decimal.Inexact] = True
        NAdam(other, momentum_decay=0.1).step(np.ones(3))

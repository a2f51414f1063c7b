"""state_dict, save, pickle, deepcopy: restored optimizers continue exactly; damage is refused."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
from support import ALL_RULES, RULES, arrays, bits, everything, make, takes, unchanged

from fastopt import SGD, Adam, AdamW, Batches, FastoptError, KalmanSGD, NAdam, NovoGrad, RMSprop
from fastopt.schedules import ReduceOnPlateau, cosine, exponential

SHAPES = {"a": (2, 3), "b": (), "c": (4,), "d": (0, 2)}


def parameters(named):
    params = dict(zip(SHAPES, arrays(*SHAPES.values()), strict=True))
    params["c"] = params["c"].astype(np.float32)
    return params if named else list(params.values())


def step(opt, t):
    """Take step t; the tensors have taken different numbers of steps."""
    grads = dict(zip(SHAPES, arrays(*SHAPES.values(), seed=t), strict=True))
    grads["c"] = None if t == 2 else grads["c"].astype(np.float32)
    opt.step(grads if isinstance(opt.params, dict) else list(grads.values()))


def two_groups(rule, named=False, **options):
    """Return an optimizer of two groups with different options, one with a schedule."""
    params = parameters(named)
    first, second = (
        ({k: params[k] for k in "ab"}, {k: params[k] for k in "cd"})
        if named else (params[:2], params[2:])
    )  # fmt: skip
    opt = make(rule, first, **{"lr": 0.1, **options})
    opt.add_param_group(
        {"params": second, "lr": ReduceOnPlateau(0.2, factor=0.5, patience=0),
         "weight_decay": 0.1, "maximize": True}
    )  # fmt: skip
    return opt


def report(opt):
    """Report losses that make the last group's schedule lower its learning rate."""
    for metric in (1.0, 1.0):
        opt.param_groups[-1].schedule.report(metric)


def values(opt):
    return opt.params.values() if isinstance(opt.params, dict) else opt.params


def through_state_dict(opt, rule, named):
    """Return a new optimizer, of other options and values, that has loaded opt's state dict."""
    made = two_groups(rule, named, lr=0.9, maximize=True)
    step(made, 9)
    made.load_state_dict(opt.state_dict())
    for w, value in zip(values(made), values(opt), strict=True):
        w[...] = value
    return made


def through_file(opt, rule, named, path):
    """Return a new optimizer, of other options and values, that has loaded opt from a file."""
    made = two_groups(rule, named, lr=0.9, maximize=True)
    step(made, 9)
    opt.save(path)
    made.load(path)
    return made


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("how", ["state_dict", "npz", "safetensors", "deepcopy", *PROTOCOLS])
def test_restored_optimizer_continues_with_equal_bits(rule, how, named, tmp_path):
    opt = two_groups(rule, named)
    for t in (1, 2, 3):
        step(opt, t)
    report(opt)
    opt.param_groups[0]["lr"] = 0.3
    if how == "state_dict":
        other = through_state_dict(opt, rule, named)
    elif how in ("npz", "safetensors"):
        other = through_file(opt, rule, named, tmp_path / f"x.{how}")
    else:
        other = copy.deepcopy(opt) if how == "deepcopy" else pickle.loads(pickle.dumps(opt, how))
    assert type(other) is type(opt)
    assert everything(other) == everything(opt)
    assert repr(other) == repr(opt)
    for t in (4, 5):
        step(opt, t)
        with unchanged(opt):  # the copy is independent
            step(other, t)
            report(other)
        report(opt)
        assert everything(other) == everything(opt)


def test_copy_has_its_own_bound_gradients():
    w, g = np.zeros(2), np.ones(2)
    opt = SGD(w, lr=1.0)
    opt.bind(g)
    other = copy.deepcopy(opt)
    g[...] = 10.0
    opt.step()
    other.step()
    assert w.tolist() == [-10.0, -10.0]
    assert other.params.tolist() == [-1.0, -1.0]


def test_copying_arrays_with_the_optimizer_keeps_them_connected():
    model = {"w": np.zeros(2), "g": np.ones(2)}
    opt = SGD([model["w"]], lr=1.0)
    opt.bind([model["g"]])
    for duplicate in (copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))):
        other_model, other = duplicate((model, opt))
        other_model["g"][...] = 5.0
        other.step()
        assert other_model["w"].tolist() == [-5.0, -5.0]
    assert model["w"].tolist() == [0.0, 0.0]


def test_a_copy_keeps_the_base_learning_rate():
    """The base is the rate at construction, not the current one, which may be 0."""
    (w,) = arrays(3)
    opt = AdamW(w, lr=0.1, decoupled_weight_decay="schedule_only")
    opt.lr = 0.0
    other = copy.deepcopy(opt)
    for one in (opt, other):
        one.lr = 0.05
        one.step(np.ones(3))
    assert everything(other) == everything(opt)


def test_state_dict_has_the_layout_of_pytorch():
    opt = Adam([{"params": arrays(2)}, {"params": arrays(3, ()), "lr": cosine(0.1, 5)}], lr=0.2)
    opt.step([np.ones(2), None, 1.0])
    saved = opt.state_dict()
    assert saved["rule"] == "Adam"
    assert saved["step_count"] == 1
    assert list(saved["state"]) == [0, 1, 2]
    assert [saved["state"][i]["step"] for i in range(3)] == [1, 0, 1]
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert [group["params"] for group in saved["param_groups"]] == [[0], [1, 2]]
    assert saved["param_groups"][0]["lr"] == 0.2
    assert saved["param_groups"][0]["betas"] == (0.9, 0.999)
    assert pickle.loads(pickle.dumps(saved))["state"][0]["exp_avg"].shape == (2,)


def test_state_dict_is_a_copy():
    opt = NAdam(arrays(2))
    opt.step(arrays(2))
    saved = opt.state_dict()
    before = bits(saved)
    opt.step(arrays(2, seed=1))
    opt.lr = 0.7
    assert bits(saved) == before
    opt.load_state_dict(saved)
    opt.step(arrays(2, seed=1))
    assert bits(saved) == before


def test_state_dict_may_contain_the_optimizers_own_arrays():
    opt = Adam(arrays(2))
    opt.step(arrays(2))
    saved = opt.state_dict()
    saved["state"][0] = dict(opt.state[0])
    with unchanged(opt):
        saved["state"][0]["step"] = int(saved["state"][0]["step"])
        opt.load_state_dict(saved)


def test_loaded_options_take_effect_at_the_next_step():
    (w,), (other,) = arrays(2), arrays(2)
    opt, source = Adam(w), Adam(other, lr=0.3, betas=(0.5, 0.6), maximize=True)
    opt.load_state_dict(source.state_dict())
    assert opt.lr == 0.3
    for one in (opt, source):
        one.step(np.ones(2))
    assert bits(w) == bits(other)


def test_schedule_continues_from_the_loaded_step():
    opt, source = (
        SGD(np.zeros(1), lr=exponential(8.0, 0.5)),
        SGD(np.zeros(1), lr=exponential(8.0, 0.5)),
    )
    for _ in range(3):
        source.step(np.ones(1))
    opt.load_state_dict(source.state_dict())
    opt.step(np.ones(1))
    assert opt.params[0] == -1.0


# Damage: each entry spoils a good state dict of `two_groups("nadam")`, for the given message.

DELETE = object()


def at(*path, value=DELETE):
    def spoil(saved):
        for name in path[:-1]:
            saved = saved[name]
        if value is DELETE:
            del saved[path[-1]]
        else:
            saved[path[-1]] = value

    return spoil


GROUP, STATE = ("param_groups", 0), ("state", 0)
DAMAGE = {
    "no rule": (at("rule"), "rule"),
    "another rule": (at("rule", value="Adam"), "'Adam'.*'NAdam'"),
    "no step_count": (at("step_count"), "step_count"),
    "negative step_count": (at("step_count", value=-1), "step_count.*-1"),
    "fractional step_count": (at("step_count", value=1.5), r"step_count.*1\.5"),
    "step_count None": (at("step_count", value=None), "step_count.*None"),
    "step_count True": (at("step_count", value=True), "step_count.*True"),
    "no groups": (at("param_groups"), "param_groups"),
    "groups None": (at("param_groups", value=None), "param_groups|groups"),
    "groups a number": (at("param_groups", value=2), "param_groups|groups"),
    "groups empty": (at("param_groups", value=[]), "groups"),
    "a group too few": (at("param_groups", 1), "groups: 1.*2"),
    "a group None": (at("param_groups", 1, value=None), "group 1"),
    "other parameters": (at(*GROUP, "params", value=[0, 7]), "parameters.*7"),
    "parameters of another count": (at(*GROUP, "params", value=[0]), "parameters"),
    **{
        f"no {name} in a group": (at(*GROUP, name), f"{name}.*group 0")
        for name in ("params", "lr", "betas", "weight_decay", "maximize", "decoupled_weight_decay",
                     "initial_lr", "schedule")
    },
    "lr NaN": (at(*GROUP, "lr", value=float("nan")), "lr of group 0 is nan"),
    "lr negative": (at(*GROUP, "lr", value=-0.1), r"lr of group 0 is -0\.1"),
    "betas beyond 1": (at(*GROUP, "betas", value=(0.9, 1.5)), r"betas of group 0\[1\] is 1\.5"),
    "unknown choice": (at(*GROUP, "nadam_schedule", value="x"), "nadam_schedule of group 0 is 'x'"),
    "initial_lr NaN": (at(*GROUP, "initial_lr", value=float("nan")), "initial_lr"),
    "initial_lr negative": (at(*GROUP, "initial_lr", value=-1.0), "initial_lr"),
    "a schedule too many": (at(*GROUP, "schedule", value={}), "schedule in group 0"),
    "a schedule too few": (at("param_groups", 1, "schedule", value=None), "schedule in group 1"),
    "a schedule's state empty": (at("param_groups", 1, "schedule", value={}), "current_lr"),
    "a schedule's state without best": (at("param_groups", 1, "schedule", "best"), "best"),
    "a schedule's lr NaN": (
        at("param_groups", 1, "schedule", "current_lr", value=float("nan")), "current_lr"
    ),
    "no state": (at("state"), "'state'"),
    "state None": (at("state", value=None), "state"),
    "state a list": (at("state", value=[0, 1, 2, 3]), "state|parameter"),
    "a parameter's state missing": (at("state", 3), "parameters"),
    "a parameter's state None": (at("state", 3, value=None), "parameter 3"),
    "a parameter's state a number": (at("state", 3, value=5), "parameter 3"),
    "a parameter's state empty": (at("state", 3, value={}), "parameter 3"),
    "state of another parameter": (at("state", 7, value={}), "parameters"),
    "an array missing": (at(*STATE, "exp_avg_sq"), "exp_avg_sq"),
    "an array too many": (at(*STATE, "sum", value=np.zeros((2, 3))), "sum"),
    "an entry that is no name": (at(*STATE, 5, value=np.zeros((2, 3))), "parameter 0"),
    "another shape": (at("state", 2, "exp_avg", value=np.zeros(5, "f4")), r"exp_avg.*2.*\(5,\)"),
    "the shape transposed": (at(*STATE, "exp_avg", value=np.zeros((3, 2))), r"\(3, 2\).*\(2, 3\)"),
    "another dtype": (at("state", 2, "exp_avg", value=np.zeros(4)), "float64.*float32"),
    "another dtype, 0-d": (at("state", 1, "exp_avg", value=np.float32(0)), "float32.*float64"),
    "byte order": (at(*STATE, "exp_avg", value=np.zeros((2, 3), ">f8")), ">f8|float64"),
    "an array None": (at(*STATE, "exp_avg", value=None), "exp_avg"),
    "a 0-d array None": (at("state", 1, "exp_avg", value=None), "exp_avg"),
    "a 0-d array of text": (at("state", 1, "exp_avg", value="1.5"), "exp_avg"),
    "no step": (at(*STATE, "step"), "step"),
    "step negative": (at("state", 3, "step", value=-1), "step.*-1"),
    "step a fraction": (at("state", 3, "step", value=2.5), r"step.*2\.5"),
    "step beyond 64 bits": (at("state", 3, "step", value=2**70), "step"),
    "step two numbers": (at("state", 3, "step", value=np.array([1, 2])), "step"),
    "mu_product None": (at(*STATE, "mu_product", value=None), "mu_product"),
    "mu_product of text": (at(*STATE, "mu_product", value="half"), "mu_product"),
    "mu_product two numbers": (at(*STATE, "mu_product", value=[0.5, 0.5]), "mu_product"),
}  # fmt: skip


def other_state():
    """Return a state dict that differs from a new optimizer's in everything that is loaded."""
    source = two_groups("nadam", lr=0.3, betas=(0.7, 0.8))
    for t in (1, 2, 3):
        step(source, t)
    report(source)
    return source.state_dict()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_state_dict_is_refused_and_changes_nothing(damage):
    spoil, message = DAMAGE[damage]
    opt, twin = two_groups("nadam"), two_groups("nadam")
    for one in (opt, twin):
        step(one, 5)
    saved = other_state()
    spoil(saved)
    with unchanged(opt), pytest.raises(FastoptError, match=message):
        opt.load_state_dict(saved)
    for one in (opt, twin):
        step(one, 6)
    assert everything(opt) == everything(twin)


@pytest.mark.parametrize("base", [None, 0.0])
def test_schedule_only_needs_a_loaded_base_learning_rate(base):
    opt = AdamW(arrays(3), decoupled_weight_decay="schedule_only")
    saved = opt.state_dict()
    saved["param_groups"][0]["initial_lr"] = base
    with unchanged(opt), pytest.raises(FastoptError, match=r"initial_lr|schedule_only"):
        opt.load_state_dict(saved)


@pytest.mark.parametrize("value", [None, 5, "text", [], {}])
def test_object_that_is_no_state_dict_is_refused(value):
    opt = two_groups("nadam")
    with unchanged(opt), pytest.raises((FastoptError, TypeError), match="state dict"):
        opt.load_state_dict(value)


def test_undamaged_state_dict_is_loaded():
    """Without this, damaged ones could be refused for another reason."""
    opt = two_groups("nadam")
    opt.load_state_dict(other_state())
    assert bits(opt.state_dict()) == bits(other_state())


@pytest.mark.parametrize(
    ("made", "saved"),
    [
        (Adam(arrays(3)), AdamW(arrays(3))),
        (Adam(arrays(3)), Adam(arrays(3), amsgrad=True)),
        (SGD(arrays(3)), SGD(arrays(3), momentum=0.9)),
        (RMSprop(arrays(3)), RMSprop(arrays(3), centered=True)),
        (Adam(arrays(3)), Adam(arrays(3, 3))),
        (Adam(arrays(3)), Adam({"a": np.zeros(3)})),
        (Adam({"b": np.zeros(3)}), Adam({"a": np.zeros(3)})),
        (Adam(arrays(3)), Adam(arrays(3, dtype=np.float32))),
        (Adam(arrays(3)), Adam(arrays(4))),
        (Adam(arrays(3)), Adam(arrays(3), lr=cosine(0.1, 5))),
        (Adam(arrays(3), lr=cosine(0.1, 5)), Adam(arrays(3))),
        (Adam(arrays(3), lr=cosine(0.1, 5)), Adam(arrays(3), lr=ReduceOnPlateau(0.1))),
        (Adam(arrays(3), lr=ReduceOnPlateau(0.1)), Adam(arrays(3), lr=cosine(0.1, 5))),
    ],
)
def test_the_state_of_another_optimizer_is_refused(made, saved):
    saved.step({"a": np.ones(3)} if isinstance(saved.params, dict) else
               [np.ones_like(w) for w in saved.params])  # fmt: skip
    with unchanged(made), pytest.raises(FastoptError):
        made.load_state_dict(saved.state_dict())


def test_first_schedule_is_restored_if_the_second_cannot_be_loaded():
    def make_two():
        return SGD(
            [{"params": [w], "lr": ReduceOnPlateau(0.2, 0.5, patience=0)} for w in arrays(2, 2)]
        )

    opt, source = make_two(), make_two()
    for metric in (1.0, 1.0, 1.0):
        source.param_groups[0].schedule.report(metric)
    saved = source.state_dict()
    del saved["param_groups"][1]["schedule"]["best"]
    with unchanged(opt), pytest.raises(FastoptError, match="best"):
        opt.load_state_dict(saved)
    assert opt.lr == 0.2


# Files


def test_parameters_are_loaded_in_place(tmp_path):
    (w,), (other,) = arrays((2, 3)), arrays((2, 3), seed=1)
    opt, view = Adam(other), other.reshape(-1)
    Adam(w).save(tmp_path / "x.npz")
    opt.load(tmp_path / "x.npz")
    assert opt.params is other
    assert bits(view) == bits(w.reshape(-1))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (arrays(3), r"parameters of group 0: \[0\]"),
        (arrays(3, 4), r"parameter 1 the shape \(4,\)"),
        (arrays(3, 3, dtype=np.float32), "the dtype 'float32'"),
        (dict(zip("ab", arrays(3, 3), strict=True)), r"parameters of group 0: \['a', 'b'\]"),
    ],
)
def test_parameters_of_another_optimizer_are_refused(params, message, tmp_path):
    """SGD without momentum has no state whose shape could differ."""
    SGD(params).save(tmp_path / "x.npz")
    opt = SGD(arrays(3, 3, seed=1))
    with unchanged(opt), pytest.raises(FastoptError, match=message):
        opt.load(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_file_contains_masters_averages_sums_and_counts(suffix, tmp_path):
    """Parameters have low precision or another memory layout."""

    def made(seed):
        (a,), (b,), (c,) = arrays((6, 8), seed=seed), arrays(5, seed=seed + 1), arrays(3)
        low = a.astype(ml_dtypes.bfloat16)[::2, ::-2].T
        params = {"low": low, "half": b.astype(np.float16), "wide": c[::-1]}
        return Adam(
            params, lr=0.1, master="float32" if seed < 50 else None, rounding="stochastic", seed=7,
            ema_decay=0.9, state_dtype=None, max_grad_norm=1.0, on_nonfinite="skip",
        )  # fmt: skip

    def take_steps(opt, times):
        for t in range(times):
            grads = {key: 0.3 * (t + 1) * np.ones(w.shape) for key, w in opt.params.items()}
            opt.accumulate(grads)
            opt.step()
            opt.step({key: np.full(w.shape, np.nan) for key, w in opt.params.items()})
        opt.accumulate({key: np.ones(w.shape) for key, w in opt.params.items()})

    opt, other = made(0), made(10)
    take_steps(opt, 3)
    take_steps(other, 1)
    opt.save(tmp_path / f"x.{suffix}")
    other.load(tmp_path / f"x.{suffix}")
    assert everything(other) == everything(opt)
    assert (other.step_count, other.skipped_steps) == (3, 3)
    for one in (opt, other):
        one.step()
        take_steps(one, 2)
    assert everything(other) == everything(opt)
    without = made(60)
    with unchanged(without), pytest.raises(FastoptError, match="'master'"):
        without.load(tmp_path / f"x.{suffix}")


def test_files_that_cannot_be_loaded_change_nothing(tmp_path):
    opt = two_groups("nadam")
    step(opt, 5)
    other, path = two_groups("nadam", lr=0.5), tmp_path / "x.npz"
    step(other, 1)
    other.save(path)
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        whole[:-1],
        whole.replace(b"exp_avg", b"exp_agv"),
    ):
        path.write_bytes(damaged)
        with unchanged(opt), pytest.raises(FastoptError, match="damaged"):
            opt.load(path)
    KalmanSGD(3).save(path)
    with unchanged(opt), pytest.raises(FastoptError, match="holds 'KalmanSGD'"):
        opt.load(path)
    two_groups("adam").save(path)
    with unchanged(opt), pytest.raises(FastoptError, match="rule 'Adam'"):
        opt.load(path)
    with unchanged(opt), pytest.raises(FileNotFoundError):
        opt.load(tmp_path / "absent.npz")
    other.save(path)
    opt.param_groups[1]["params"][0].flags.writeable = False
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 2 is read-only"):
        opt.load(path)


def test_file_contains_the_position_in_the_epoch(tmp_path):
    rows = np.random.default_rng(0).standard_normal((10, 3))

    def run(opt, batches, epochs=1):
        for _ in range(epochs):
            for (batch,) in batches:
                opt.step(opt.params - batch.mean(axis=0))
                yield

    def pair(**options):
        return Adam(np.ones(3), lr=0.1), Batches(rows, batch_size=4, **options)

    opt, batches = pair()
    steps = run(opt, batches, epochs=3)
    for _ in range(5):
        next(steps)
    opt.save(tmp_path / "run.npz", batches=batches)
    other, others = pair()
    other.load(tmp_path / "run.npz", batches=others)
    list(steps)
    list(run(other, others, epochs=2))
    assert everything(other) == everything(opt)
    assert others.state_dict() == batches.state_dict()

    opt.save(tmp_path / "alone.npz")
    for name, (other, others), message in (
        ("alone.npz", pair(), "was saved without batches"),
        ("run.npz", pair(drop_last=True), "drop_last"),
        ("run.npz", (SGD(np.ones(3)), pair()[1]), "rule"),
    ):
        before = others.state_dict()
        with unchanged(other), pytest.raises(FastoptError, match=message):
            other.load(tmp_path / name, batches=others)
        assert others.state_dict() == before


def test_saving_and_loading_inside_extrapolated_is_refused(tmp_path):
    opt = SGD(arrays(3), momentum=0.9, nesterov="lookahead", lr_in_buffer=True)
    opt.save(tmp_path / "x.npz")
    with opt.extrapolated():
        for refused in (opt.save, opt.load):
            with pytest.raises(FastoptError, match="inside extrapolated"):
                refused(tmp_path / "x.npz")


def test_shallow_copy_is_refused():
    with pytest.raises(TypeError, match=r"copy\.copy of Adam.*copy\.deepcopy"):
        copy.copy(Adam(arrays(3)))


@pytest.mark.parametrize("rule", [*ALL_RULES])
def test_restored_arrays_may_be_in_read_only_memory(rule):
    """With pickle protocol 5, whoever unpickles chooses the memory of the buffers."""
    average = {"ema_decay": 0.5} if takes(rule, {"ema_decay": 0.5}) else {}
    opt = make(rule, arrays((4, 3), 5), **average, lr=0.1)
    opt.accumulate(arrays((4, 3), 5, seed=1))
    opt.step()
    opt.accumulate(arrays((4, 3), 5, seed=2))
    buffers = []
    data = pickle.dumps(opt, protocol=5, buffer_callback=buffers.append)
    writable = {w.ctypes.data: w for w in opt.params}
    read_only = [
        # Only parameters get writeable memory: a step refuses read-only parameters.
        bytearray(b) if np.frombuffer(b).ctypes.data in writable else bytes(b)
        for b in map(memoryview, buffers)
    ]
    assert {type(b) for b in read_only} == {bytes, bytearray}
    other = pickle.loads(data, buffers=read_only)
    for one in (opt, other):
        one.accumulate(arrays((4, 3), 5, seed=3))
        one.step()
        one.step(arrays((4, 3), 5, seed=4))
    assert everything(other) == everything(opt)


def test_numpy_scalars_as_names_and_in_a_schedule(tmp_path):
    def made():
        lr = ReduceOnPlateau(0.5, factor=0.5, patience=0)
        return SGD({np.int64(3): np.ones(2), "b": np.ones(2)}, lr=lr)

    opt, other = made(), made()
    opt.param_groups[0].schedule.report(np.float32(0.3))
    opt.param_groups[0].schedule.report(np.float32(0.4))
    opt.save(tmp_path / "x.npz")
    other.load(tmp_path / "x.npz")
    assert other.lr == opt.lr == 0.25
    assert everything(other) == everything(opt)


def test_numbers_of_a_rule_that_are_not_finite_can_be_loaded():
    w = np.ones(3)
    opt = NovoGrad(w)
    opt.step(np.array([1.0, np.nan, 2.0]))
    saved = opt.state_dict()
    assert np.isnan(saved["state"][0]["exp_avg_sq"])
    other = NovoGrad(np.ones(3))
    other.load_state_dict(saved)
    assert bits(other.state_dict()) == bits(saved)

"""minimize(checkpoint=...): a run that was ended by anything resumes with equal bits."""

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support import bits
from training_to_kill import train

from fastopt import Batches, FastoptError, KalmanSGD, RowSparse, minimize, schedules
from fastopt.optimizers.base.optimizer import Optimizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=23)


def squared(params, X, y):
    w, b = params["w"], params["b"]
    residual = X @ w + b - y
    return residual @ residual / len(y), {"w": 2 * X.T @ residual / len(y), "b": residual.mean()}


def bowl(x):
    return x @ x / 2 + np.cos(x).sum(), x - np.sin(x)


START = {"w": np.zeros(3), "b": np.zeros(())}
# fun, x0, data and options, made anew for each call: batches and schedules have state.
RUNS = {
    "adam": lambda: (squared, START, (X, Y), {"batch_size": 5, "seed": 3, "epochs": 6}),
    "textbook nesterov": lambda: (
        squared, START, Batches(X, Y, batch_size=4, seed=1, drop_last=True),
        {"method": "nesterov", "convention": "textbook", "lr": 0.02, "max_steps": 23},
    ),
    "nadam, float32": lambda: (
        lambda x, X: (((x[0] - X) ** 2).mean(), [x[0] - X.mean(axis=0)]),
        [np.ones(3, np.float32)], X.astype(np.float32),
        {"method": "nadam", "batch_size": 7, "seed": 0, "epochs": 5},
    ),
    "full batch, tol": lambda: (
        squared, START, (X, Y), {"method": "adagrad", "lr": 0.5, "tol": 1e-3, "patience": 3},
    ),
    "plateau": lambda: (
        squared, START, (X, Y),
        {"batch_size": 5, "seed": 3, "epochs": 12, "tol": 1e-12, "method": "momentum",
         "schedule": schedules.ReduceOnPlateau(0.2, factor=0.5, patience=0)},
    ),
    "without data": lambda: (
        bowl, np.ones(4), None,
        {"method": "amsgrad", "schedule": schedules.cosine(0.3, 30), "epochs": 25},
    ),
    "settles": lambda: (
        bowl, np.ones(4), None, {"method": "gd", "lr": 0.9, "tol": 1e-2, "patience": 4},
    ),
    "best": lambda: (
        bowl, np.ones(4), None,
        {"method": "momentum", "lr": 0.9, "restore_best": True, "epochs": 12},
    ),
    "mini-batches look": lambda: (
        squared, START, (X, Y),
        {"batch_size": 5, "seed": 3, "method": "sgd", "lr": 0.01, "epochs": 14, "tol": 0.9,
         "gtol": 1e-9, "patience": 1, "restore_best": True},
    ),
}  # fmt: skip


def run(name, checkpoint=None, fun=None, **changes):
    own, x0, data, options = RUNS[name]()
    return minimize(fun or own, x0, data, checkpoint=checkpoint, **{**options, **changes})


def outcome(result):
    """Return what must be equal in two results, bit for bit."""
    history = {name: values for name, values in result.history.items() if name != "seconds"}
    seconds = result.history["seconds"]
    assert len(seconds) == len(history["loss"])
    assert seconds == sorted(seconds)
    return bits({**result, "history": history})


@pytest.fixture(params=["npz", "safetensors"])
def path(request, tmp_path):
    return tmp_path / f"run.{request.param}"


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("every", [None, 0.0, 1e9])
def test_a_checkpoint_changes_no_result_and_a_repeated_call_returns_at_once(name, every, path):
    uninterrupted = run(name)
    spec = path if every is None else (str(path), every)
    calls = []

    def counted(*arguments):
        calls.append(1)
        return RUNS[name]()[0](*arguments)

    assert outcome(run(name, spec)) == outcome(uninterrupted)
    assert outcome(run(name, spec, counted)) == outcome(uninterrupted)
    # Loss and gradient at x are evaluated again.
    assert len(calls) == (name in ("without data", "full batch, tol", "best", "settles"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("every", [None, 0.0])
def test_resuming_from_every_file_that_was_written(name, every, tmp_path):
    """Each is the file that would exist after a kill before one of the evaluations."""
    path, files = tmp_path / "run.npz", []

    def recorded(*arguments):
        files.append(path.read_bytes())
        return RUNS[name]()[0](*arguments)

    spec = path if every is None else (path, every)
    uninterrupted = outcome(run(name, spec, recorded))
    different = list(dict.fromkeys(files))
    if every is None:
        assert len(different) >= 5
    else:
        steps = run(name).nit
        assert len(different) >= steps - 1
    for content in different:
        path.write_bytes(content)
        assert outcome(run(name, (path, 1e9))) == uninterrupted


@pytest.mark.parametrize("name", RUNS)
def test_a_run_resumed_after_every_step(name, path):
    """Each call has a budget of one step more and ends as an uninterrupted run of that budget."""
    uninterrupted = run(name)
    for steps in range(1, uninterrupted.nit + 1):
        part = run(name, path, max_steps=steps)
        if steps % 4 == 0:
            assert outcome(part) == outcome(run(name, max_steps=steps))
        assert part.nit == steps
    assert outcome(run(name, path)) == outcome(uninterrupted)


@pytest.mark.parametrize("name", RUNS)
def test_resuming_after_interrupts_and_exceptions(name, path):
    """They are raised in an evaluation, also in the last one of an epoch."""
    uninterrupted = run(name)
    for at in range(2, 8):
        for how in (KeyboardInterrupt, ZeroDivisionError):
            calls = []

            def stopped(*arguments, calls=calls, at=at, how=how):
                calls.append(1)
                if len(calls) == at:
                    raise how
                return RUNS[name]()[0](*arguments)

            if how is KeyboardInterrupt:
                assert run(name, (path, 1e9), stopped).status == 3
            else:
                with pytest.raises(ZeroDivisionError):
                    run(name, (path, 1e9), stopped)
            assert outcome(run(name, (path, 1e9))) == outcome(uninterrupted)
            path.unlink()


def test_a_signal_between_an_epochs_last_step_and_its_end(path, monkeypatch):
    uninterrupted = run("plateau")
    step = Optimizer.step

    def interrupted(self, grads):
        step(self, grads)
        if self.step_count == 10:  # of 5 an epoch
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Optimizer, "step", interrupted)
    assert run("plateau", path).status == 3
    monkeypatch.undo()
    assert outcome(run("plateau", path)) == outcome(uninterrupted)


def test_resuming_after_a_callback_has_stopped_the_run(path):
    uninterrupted = run("adam")
    stopped = run("adam", path, callback=lambda state: state.nit == 10)
    assert (stopped.status, stopped.nit) == (2, 10)
    calls = []
    resumed = run("adam", path, callback=lambda state: calls.append(state.nit))
    assert calls == [15, 20, 25, 30]
    assert outcome(resumed) == outcome(uninterrupted)


def test_a_smaller_budget_returns_the_saved_run(path):
    uninterrupted = run("adam", path, epochs=4)
    less = run("adam", path, epochs=2)
    assert (less.nit, less.status) == (20, 1)
    assert bits(less.x) == bits(uninterrupted.x)
    cut = run("adam", path, max_steps=22)
    assert bits(run("adam", path, epochs=2).x) == bits(cut.x)


def test_a_seed_that_was_drawn_is_kept(path):
    first = run("adam", path, seed=None, epochs=2)
    batches = Batches(X, Y, batch_size=5)
    minimize(squared, START, batches, epochs=6, checkpoint=path)
    uninterrupted = run("adam", seed=batches.seed)
    assert batches.epoch == 6
    assert outcome(run("adam", path, seed=None)) == outcome(uninterrupted)
    assert first.history["loss"] == uninterrupted.history["loss"][:2]


def test_resuming_moves_batches_to_the_saved_position(path):
    batches = Batches(X, Y, batch_size=5, seed=3)
    minimize(squared, START, batches, max_steps=7, checkpoint=path)
    again = Batches(X, Y, batch_size=5, seed=3)
    minimize(squared, START, again, max_steps=7, checkpoint=path)
    assert again.state_dict() == batches.state_dict()
    assert (again.epoch, again.position) == (1, 2)


def test_sparse_gradients_and_low_precision(path):
    """The file contains no sparse gradient, so jac is None if no further step is taken."""
    indices = RNG.integers(0, 50, size=(40, 6))
    table = RNG.normal(size=(50, 4)).astype(ml_dtypes.bfloat16)

    def pull(x, indices):
        rows = indices.ravel()
        return float((x[0][rows] ** 2).sum()), [RowSparse(rows, 2 * x[0][rows])]

    def call(checkpoint, epochs):
        return minimize(
            pull, [table], indices, method="adagrad", lr=0.1, batch_size=8, seed=0, epochs=epochs,
            rounding="stochastic", master="float32", checkpoint=checkpoint,
        )  # fmt: skip

    uninterrupted = call(None, 6)
    assert call(path, 3).nit == 15
    resumed = call(path, 6)
    assert bits(resumed.x) == bits(uninterrupted.x)
    assert resumed.history["loss"] == uninterrupted.history["loss"]
    assert bits(resumed.jac[0].values) == bits(uninterrupted.jac[0].values)
    again = call(path, 6)
    assert again.jac == [None]
    assert bits(again.x) == bits(uninterrupted.x)


def test_another_mask_of_weight_decay_is_refused(path):
    def call(*decaying, **changes):
        options = {"weight_decay": 0.3, "weight_decay_mask": lambda name: name in decaying}
        return run("plateau", path, **{**options, **changes})

    call("w", epochs=5)
    resumed = call("w")
    path.unlink()
    assert outcome(call("w")) == outcome(resumed)
    for other in (("b",), (), ("w", "b")):
        with pytest.raises(FastoptError, match="is of a run with"):
            call(*other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "sgd"}, "method 'Adam'; here it is 'SGD'"),
        ({"lr": 0.5}, r"options .*'lr': 0.001.*; here it is .*'lr': 0.5"),
        ({"convention": "keras"}, "options .*'eps_mode': 'hat'"),
        ({"schedule": schedules.constant(0.001)}, "options "),
        ({"tol": 0.1}, "tol None; here it is 0.1"),
        ({"batch_size": 6}, "checkpoint .*: the state dict has batch_size 5; here it is 6"),
        ({"seed": 4}, "checkpoint .*: the state dict has seed 3; here it is 4"),
    ],
)
def test_another_run_is_refused(changes, message, path):
    run("adam", path, epochs=2)
    before = path.read_bytes()
    with pytest.raises(FastoptError, match=message):
        run("adam", path, **changes)
    assert path.read_bytes() == before


def test_other_structures_and_schedules_are_refused(path):
    def call(x0, data=None, schedule=None):
        minimize(
            lambda x, *_: (0.0, [np.zeros_like(w) for w in x]), x0, data, epochs=1,
            checkpoint=path, schedule=schedule,
        )  # fmt: skip

    plateau = schedules.ReduceOnPlateau(0.5)
    plateau.report(1.0)
    call([np.zeros(2)], (np.zeros((4, 2)),), plateau)
    other = Batches(np.zeros((4, 2)))
    before = plateau.state_dict(), other.state_dict()
    for x0, data, schedule, message in (
        ([np.zeros(3)], other, plateau, "x0 .*2.*; here it is .*3"),
        ([np.zeros(2, np.float32)], other, plateau, "x0 .*float64.*; here it is .*float32"),
        ([np.zeros(2), np.zeros(2)], other, plateau, "x0 "),
        ([np.zeros(2)], None, plateau, "data .*; here it is None"),
        ([np.zeros(2)], np.zeros((4, 3)), plateau, "data "),
        ([np.zeros(2)], np.zeros((5, 2)), plateau, "n_rows 4; here it is 5"),
        ([np.zeros(2)], other, schedules.ReduceOnPlateau(0.6), r"schedule .*0\.5.*0\.6"),
        ([np.zeros(2)], other, lambda _: 0.5, "schedule "),
    ):
        with pytest.raises(FastoptError, match=message):
            call(x0, data, schedule)
    assert (plateau.state_dict(), other.state_dict()) == before


def test_the_address_of_a_schedule_is_not_compared(path):
    def repeated():
        return run("adam", path, schedule=lambda _: 0.1)

    assert outcome(repeated()) == outcome(repeated())


FACTOR = 0.5


def scaled(factor, t):
    return factor * t


def captured(factor):
    return lambda t: factor / t


def default(factor):
    return lambda t, factor=factor: factor / t


@pytest.mark.parametrize(
    ("schedule", "other"),
    [
        (lambda _: 0.1, lambda _: 0.2),
        (lambda t: 0.1 * t, lambda t: 0.1 / t),
        (lambda t: 0.1 if t in {1, 2} else 0.2, lambda t: 0.1 if t in {1, 3} else 0.2),
        (lambda t: min(0.1, t), lambda t: max(0.1, t)),
        (captured(0.1), captured(0.2)),
        (default(0.1), default(0.2)),
        (functools.partial(scaled, 0.1), functools.partial(scaled, 0.2)),
        (lambda t: scaled(0.1, t), lambda t: FACTOR / t),
    ],
)
def test_another_function_as_schedule_is_refused(schedule, other, path):
    def call(schedule):
        return run("adam", path, schedule=schedule, epochs=2)

    assert outcome(call(schedule)) == outcome(call(schedule))
    with pytest.raises(FastoptError, match="is of a run with schedule"):
        call(other)


def test_a_global_variable_of_a_schedule_is_compared(path, monkeypatch):
    def call():
        return run("adam", path, schedule=lambda t: FACTOR / t, epochs=2)

    assert outcome(call()) == outcome(call())
    monkeypatch.setitem(globals(), "FACTOR", 0.25)
    with pytest.raises(FastoptError, match="is of a run with schedule_code"):
        call()


def test_the_code_of_a_schedule_is_not_compared_between_versions_of_python(path, monkeypatch):
    monkeypatch.setattr(sys.implementation, "cache_tag", "another")
    run("adam", path, schedule=lambda _: 0.1, epochs=2)
    monkeypatch.undo()
    run("adam", path, schedule=lambda _: 0.2, epochs=2)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (3, TypeError, "checkpoint is 3; a path or"),
        ((1, 2, 3), TypeError, r"checkpoint is \(1, 2, 3\)"),
        (("x", -1.0), FastoptError, r"checkpoint\[1\] is -1\.0"),
        (("x", None, 2), TypeError, "checkpoint is"),
        ("absent/x.npz", FileNotFoundError, "absent"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(
    spec, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run("adam", spec, lambda *_: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused(path):
    run("adam", path)
    content = path.read_bytes()
    for damaged in (b"", content[:-9]):
        path.write_bytes(damaged)
        with pytest.raises(FastoptError, match="damaged"):
            run("adam", path)
        assert path.read_bytes() == damaged
    KalmanSGD(2).save(path)
    with pytest.raises(FastoptError, match="holds 'KalmanSGD'"):
        run("adam", path)


# kill -9; FASTOPT_KILLS=20 kills more often

KILLS = int(os.environ.get("FASTOPT_KILLS", "3"))


@pytest.mark.parametrize(("name", "seconds"), [("run.npz", 0.0), ("run.safetensors", None)])
def test_kill_9(name, seconds, tmp_path):
    """Kill a run at random moments, several times, then let it finish."""
    path, steps = tmp_path / name, 50 * (KILLS + 2)
    arguments = [sys.executable, "-P", str(Path(__file__).parents[1] / "training_to_kill.py")]
    while_writing = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [*arguments, str(steps), str(path), str(seconds)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout.readline() == "started\n"
            time.sleep(random.uniform(0.0, 0.15))
            child.kill()
        assert child.returncode == -signal.SIGKILL, "it ended before it was killed"
        while_writing += any(file != path for file in tmp_path.iterdir())
    print(f"{name}, {seconds}: {KILLS} kills, {while_writing} while the file was written")
    resumed, uninterrupted = train(steps, (path, 1e9)), train(steps)
    assert resumed.nit == steps
    assert outcome(resumed) == outcome(uninterrupted)
    assert [file.name for file in path.parent.iterdir()] == [path.name]

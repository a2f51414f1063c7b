"""Files with malformed content: FastoptError, no other exception, and little memory."""

import copy
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from problems import X, squared, y
from support import bits, everything

from fastopt import Adam, Batches, FastoptError, KalmanSGD, NAdam, checkpoint, minimize, schedules

VALUES = [None, 0, -1, 3, 2**70, 1.5, float("nan"), "", "text", True, [], {}, [1], {"a": 1}, (1, 2),
          np.zeros(2), np.array("text"), np.zeros((3, 3), np.float32), np.array(1.0)]  # fmt: skip


def mutated(content, rng):
    """Return a copy of the content in which one random value is replaced, removed or added."""
    content = copy.deepcopy(content)
    holder, key = content, rng.choice(list(content))
    while True:
        inner = holder[key]
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))[:100] \
            if isinstance(inner, list) else []  # fmt: skip
        if not keys or rng.random() < 0.2:
            break
        holder, key = inner, keys[rng.integers(len(keys))]
    how = rng.integers(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder["another"] = VALUES[rng.integers(len(VALUES))]
    elif how == 2 and isinstance(holder[key], np.ndarray):
        holder[key] = holder[key][..., None]
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]
    return content


def optimizer_with_batches():
    params = {"w": np.ones((2, 3)), "b": np.ones(2, np.float32)}
    opt = NAdam(params, lr=schedules.ReduceOnPlateau(0.1))
    batches = Batches(np.arange(9), batch_size=2, seed=0)
    opt.step({name: np.ones_like(w) for name, w in params.items()})
    opt.accumulate({name: np.ones_like(w) for name, w in params.items()})
    next(iter(batches))
    return opt, batches


def test_optimizers(tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    opt, batches = optimizer_with_batches()
    opt.save(path, batches=batches)
    content = checkpoint.read(path, "optimizer")
    for _ in range(300):
        checkpoint.write(path, "optimizer", mutated(content, rng))
        opt, batches = optimizer_with_batches()
        before = everything(opt), batches.state_dict()
        try:
            opt.load(path, batches=batches)
        except FastoptError:
            assert (everything(opt), batches.state_dict()) == before


FILTERS = {
    "plain": dict(m0=1.0),
    "ud": dict(m0=1.0, mode="ud", dtype="float32"),
    "qr": dict(mode="qr"),
    "diag": dict(m0=1.0, covariance="diag"),
    "blocks": dict(m0=1.0, covariance=[[0, 2], [1]]),
    "stop": dict(m0=1.0, stop=("se", 1e-3)),
}


@pytest.mark.parametrize("form", FILTERS)
def test_filters(form, tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    KalmanSGD(3, **FILTERS[form]).partial_fit(X, y).save(path)
    content = checkpoint.read(path, "KalmanSGD")
    for _ in range(100):
        checkpoint.write(path, "KalmanSGD", mutated(content, rng))
        with suppress(FastoptError):
            assert isinstance(KalmanSGD.load(path), KalmanSGD)


@pytest.mark.parametrize("form", FILTERS)
def test_a_small_file_of_a_large_filter_is_refused_without_building_it(form, tmp_path):
    path = tmp_path / "x.npz"
    KalmanSGD(3, **FILTERS[form]).save(path)
    content = checkpoint.read(path, "KalmanSGD")
    content["options"]["n_params_or_w0"] = 20_000
    if form == "blocks":
        content["options"]["covariance"] = [np.arange(20_000)]
    checkpoint.write(path, "KalmanSGD", content)
    tracemalloc.start()
    try:
        with pytest.raises(FastoptError, match=r"the state has arrays of at most \d+ elements"):
            KalmanSGD.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_runs(tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)

    def run(epochs=2):
        return minimize(
            squared, np.zeros(3), (X, y), batch_size=5, seed=0, epochs=epochs, tol=1e-9,
            restore_best=True, schedule=schedules.ReduceOnPlateau(0.1), checkpoint=(path, 1e9),
        )  # fmt: skip

    run()
    content = checkpoint.read(path, "minimize")
    for _ in range(150):
        changed = mutated(content, rng)
        checkpoint.write(path, "minimize", changed)
        with suppress(FastoptError):
            run(epochs=3)
    assert bits(content) != bits(changed)


def test_content_that_is_not_a_dict(tmp_path):
    path = tmp_path / "x.npz"
    for content in (["a"], "text", 5, ("a", "b")):
        checkpoint.write(path, "optimizer", content)
        with pytest.raises(FastoptError, match="damaged"):
            Adam(np.zeros(2)).load(path)

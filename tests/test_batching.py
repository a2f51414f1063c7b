"""Batches: rows and their order, copies and buffers, saving and resuming, bad input."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest

from fastopt import Batches, FastoptError


def rows(batches):
    """Return the rows of each batch of an epoch, for the data np.arange(n)."""
    return [batch[0].tolist() for batch in batches]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("batch_size", "drop_last"),
    [*itertools.product([1, 2, 3, 7, 12, 13], [False, True]), (14, False), (50, False)],
)
def test_each_row_exactly_once_an_epoch(batch_size, drop_last, shuffle):
    batches = Batches(
        np.arange(13), batch_size=batch_size, shuffle=shuffle, seed=3, drop_last=drop_last
    )
    for _ in range(3):
        epoch = rows(batches)
        assert len(epoch) == len(batches)
        assert [len(batch) for batch in epoch[:-1]] == [batch_size] * (len(batches) - 1)
        seen = [row for batch in epoch for row in batch]
        assert len(seen) == (13 - 13 % batch_size if drop_last else 13)
        assert len(set(seen)) == len(seen)
        if not shuffle:
            assert seen == list(range(len(seen)))


def test_arrays_have_the_same_rows_in_a_batch():
    X, y = np.arange(30.0).reshape(10, 3), np.arange(10)
    for X_batch, y_batch in Batches(X, y, batch_size=4, seed=0):
        assert (X_batch == X[y_batch]).all()


def test_the_order_depends_on_seed_and_epoch_only():
    batches = Batches(np.arange(20), batch_size=20, seed=5)
    first, second = rows(batches), rows(batches)
    assert first != second
    np.random.seed(1)
    again = Batches(np.arange(20), batch_size=20, seed=np.int32(5))
    rows(again)
    np.random.random(7)
    assert rows(again) == second
    for epoch, order in enumerate((first, second)):
        assert order == [np.random.default_rng([5, epoch]).permutation(20).tolist()]
    assert rows(Batches(np.arange(20), batch_size=20, seed=6)) != first
    in_threes = itertools.chain.from_iterable(rows(Batches(np.arange(20), batch_size=3, seed=5)))
    assert [list(in_threes)] == first


def test_a_drawn_seed_does_not_change():
    batches = Batches(np.arange(20), batch_size=5)
    seed = batches.state_dict()["seed"]
    assert seed != Batches(np.arange(20), batch_size=5).seed
    assert rows(batches) == rows(Batches(np.arange(20), batch_size=5, seed=seed))
    assert batches.seed == seed


LAYOUTS = {
    "contiguous": lambda a: np.array(a, order="C"),
    "fortran": lambda a: np.array(a, order="F"),
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "rows backwards": lambda a: np.array(a[::-1])[::-1],
    "columns backwards": lambda a: np.array(a[:, ::-1])[:, ::-1],
    "one row broadcast": lambda a: np.broadcast_to(a[0], a.shape),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "matrix": lambda a: np.asmatrix(a),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("reuse_buffers", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, reuse_buffers):
    values = np.random.default_rng(0).normal(size=(11, 6))
    data = LAYOUTS[layout](values)
    batches = Batches(
        data, np.arange(11), batch_size=4, seed=1, shuffle=True, reuse_buffers=reuse_buffers
    )
    for batch, index in batches:
        assert type(batch) is np.ndarray
        assert batch.flags.c_contiguous
        assert batch.dtype == data.dtype
        assert batch.tobytes() == np.asarray(data)[index].tobytes()


@pytest.mark.parametrize(
    "dtype",
    ["f2", "f4", "f8", "g", "c8", "c16", "i1", "u8", "?", "U5", "S3", "M8[s]", "O", "i4,f8", "V3",
     np.dtypes.StringDType()],
    ids=str,
)  # fmt: skip
def test_dtypes(dtype):
    data = np.arange(14).astype("V3" if dtype == "V3" else "O" if dtype == "O" else "i8")
    data = data.astype(dtype).reshape(7, 2)
    for batch, index in Batches(data, np.arange(7), batch_size=3, seed=0):
        assert batch.dtype == data.dtype
        assert batch.tolist() == data[index].tolist()


@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 0), (9, 2, 3), (1, 4)])
def test_shapes(shape):
    data = np.arange(float(np.prod(shape))).reshape(shape)
    index = np.arange(shape[0])
    for batch, rows_of_batch in Batches(data, index, batch_size=2, seed=0):
        assert batch.shape == (len(rows_of_batch), *shape[1:])
        assert (batch == data[rows_of_batch]).all()


def test_batches_large_enough_to_be_copied_in_parallel():
    data = np.random.default_rng(0).normal(
        size=(9000, 130)
    )  # more than FASTOPT_SERIAL_BELOW elements
    for batch, index in Batches(data, np.arange(9000), batch_size=6000, seed=0):
        assert (batch == data[index]).all()


def test_memory_mapped(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3)).astype("f4")
    np.save(tmp_path / "data.npy", values)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    batches = Batches(mapped, np.arange(50), batch_size=8, seed=0)
    assert np.shares_memory(batches.arrays[0], mapped)
    for batch, index in batches:
        assert type(batch) is np.ndarray
        assert (batch == values[index]).all()


def test_sparse_file_larger_than_memory(tmp_path):
    data = np.memmap(
        tmp_path / "data", "f4", "w+", shape=(1 << 20, 1 << 18)
    )  # 1 TiB, none of it allocated
    data[12345, -1] = 7.0
    batches = Batches(data, batch_size=1, shuffle=False)
    batches.load_state_dict({**batches.state_dict(), "position": 12345})
    ((row,),) = itertools.islice(batches, 1)
    assert row.shape == (1, 1 << 18)
    assert row[0, -1] == 7.0
    ((full,),) = Batches(data)
    assert np.shares_memory(full[:1], data[:1])


def test_batches_are_separate_writable_copies():
    data = np.arange(10.0)
    for shuffle in (False, True):
        batches = [batch for (batch,) in Batches(data, batch_size=4, seed=0, shuffle=shuffle)]
        for batch in batches:
            assert batch.flags.owndata
            assert batch.flags.writeable
        batches[0][:] = -1.0
        assert data.tolist() == list(range(10))
        assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(batches))


def test_buffers_are_reused_over_epochs():
    data = np.arange(10.0)
    fresh = Batches(data, batch_size=4, seed=0)
    batches = Batches(data, batch_size=4, seed=0, reuse_buffers=True)
    addresses = set()
    for _ in range(2):
        for (batch,), (expected,) in zip(batches, fresh, strict=True):
            assert (batch == expected).all()
            addresses.add(batch.ctypes.data)
    assert len(addresses) == 1


def test_reused_buffers_when_the_first_batch_is_the_short_last_one():
    batches = Batches(np.arange(10), batch_size=4, seed=0, reuse_buffers=True)
    batches.load_state_dict({**batches.state_dict(), "position": 2})
    assert [len(epoch) for epoch in rows(batches)] == [2]
    assert [len(epoch) for epoch in rows(batches)] == [4, 4, 2]


def test_the_full_batch_is_a_read_only_view():
    X, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    batches = Batches(X, y, seed=0)
    assert len(batches) == 1
    for _ in range(2):
        ((X_batch, y_batch),) = batches
        assert np.shares_memory(X_batch, X)
        assert (y_batch == y).all()
        with pytest.raises(ValueError, match="read-only"):
            X_batch[0] = 0.0
    assert X.flags.writeable
    assert batches.epoch == 2


def test_changes_of_the_data_appear_in_later_batches():
    data = np.zeros(4)
    batches = Batches(data, batch_size=2)
    data[:] = 1.0
    assert rows(batches) == [[1.0, 1.0], [1.0, 1.0]]


# Saving and resuming


def make(**options):
    return Batches(np.arange(10), **{"batch_size": 3, "seed": 7, **options})


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("taken", range(9))
def test_resume_at_every_batch(taken, drop_last):
    reference = make(drop_last=drop_last)
    expected = [rows(reference) for _ in range(4)]
    batches = make(drop_last=drop_last)
    stream = itertools.chain.from_iterable(itertools.repeat(batches))
    head = [batch.tolist() for (batch,) in itertools.islice(stream, taken)]

    def rest(resumed):
        """Return the remaining epochs of four."""
        return [rows(resumed) for _ in range(4 - resumed.epoch)]

    loaded = make(drop_last=drop_last)
    loaded.load_state_dict(json.loads(json.dumps(batches.state_dict())))
    unpickled = pickle.loads(pickle.dumps(batches))
    copied = copy.deepcopy(batches)
    tail = rest(batches)
    assert [*head, *itertools.chain(*tail)] == [*itertools.chain(*expected)]
    assert [len(epoch) for epoch in tail[1:]] == [len(reference)] * len(tail[1:])
    for resumed in (loaded, unpickled, copied):
        assert rest(resumed) == tail


def test_a_state_saved_in_the_loop_counts_the_current_batch_as_done():
    batches = make()
    for i, _ in enumerate(batches, 1):
        state = batches.state_dict()
        assert (state["epoch"], state["position"]) == ((0, i) if i < 4 else (1, 0))


def test_an_iteration_after_break_returns_the_remaining_batches():
    batches = make()
    expected = rows(make())
    for (batch,) in batches:
        assert batch.tolist() == expected[0]
        break
    assert rows(batches) == expected[1:]
    assert len(rows(batches)) == len(batches) == 4


def test_two_iterators_share_the_epoch():
    batches = make()
    one, other = iter(batches), iter(batches)
    shared = [next(iterator)[0].tolist() for iterator in (one, other, one, other)]
    assert shared == rows(make())
    assert next(one, None) is next(other, None) is None


def test_a_drawn_seed_is_replaced_and_a_given_one_must_be_equal():
    saved = make(seed=None)
    next(iter(saved))
    other = make(seed=None)
    other.load_state_dict(saved.state_dict())
    assert rows(other) == rows(saved)
    with pytest.raises(FastoptError, match=r"has seed \d+; here it is 7"):
        make().load_state_dict(saved.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "has seed 8; here it is 7"),
        ({"batch_size": 4}, "has batch_size 4; here it is 3"),
        ({"batch_size": None}, "has batch_size None; here it is 3"),
        ({"n_rows": 11}, "has n_rows 11; here it is 10"),
        ({"shuffle": False}, "has shuffle False; here it is True"),
        ({"drop_last": True}, "has drop_last True; here it is False"),
        ({"position": 4}, "position is 4; allowed: 0 to 3"),
        ({"position": -1}, "position is -1"),
        ({"epoch": -1}, "epoch is -1"),
        ({"other": 1}, "keys needed"),
    ],
)
def test_states_of_other_batches_are_refused(change, message):
    batches = make()
    next(iter(batches))
    before = batches.state_dict()
    with pytest.raises(FastoptError, match=message):
        batches.load_state_dict({**before, "epoch": 5, **change})
    assert batches.state_dict() == before


def test_damaged_states_are_refused():
    batches = make()
    with pytest.raises(FastoptError, match="keys needed"):
        batches.load_state_dict({"epoch": 1})
    with pytest.raises(FastoptError, match="keys needed"):
        batches.load_state_dict([("epoch", 1)])
    with pytest.raises(TypeError, match=r"epoch is 1\.5"):
        batches.load_state_dict({**batches.state_dict(), "epoch": 1.5})


def test_pickles_do_not_contain_the_buffers():
    data = np.zeros(1000)
    plain = Batches(data, batch_size=1000, seed=0)
    batches = Batches(data, batch_size=1000, seed=0, reuse_buffers=True)
    assert len(rows(batches)) == len(rows(plain)) == 1
    assert abs(len(pickle.dumps(batches)) - len(pickle.dumps(plain))) < 100


# Bad input

GOOD = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((), {}, FastoptError, "at least one array"),
        ((GOOD, [1, 2, 3]), {}, TypeError, r"arrays\[1\] is a list; a numpy.ndarray"),
        ((3.0,), {}, TypeError, r"arrays\[0\] is a float"),
        ((np.ma.array([1, 2]),), {}, TypeError, r"arrays\[0\] is a masked array"),
        ((np.array(1.0),), {}, FastoptError, r"arrays\[0\] has shape \(\)"),
        ((np.zeros((0, 2)),), {}, FastoptError, r"arrays\[0\] has shape \(0, 2\); .* one row"),
        ((GOOD, np.zeros(2)), {}, FastoptError, r"arrays\[1\] has 2 rows; arrays\[0\] has 3"),
        ((GOOD,), {"batch_size": 0}, FastoptError, "batch_size is 0; allowed: 1 or more"),
        ((GOOD,), {"batch_size": -1}, FastoptError, "batch_size is -1"),
        ((GOOD,), {"batch_size": True}, TypeError, "batch_size is True; a whole number"),
        ((GOOD,), {"batch_size": 2.0}, TypeError, r"batch_size is 2\.0"),
        ((GOOD,), {"batch_size": 4, "drop_last": True}, FastoptError, "batch_size is 4.*1 to 3"),
        ((GOOD,), {"seed": -1}, FastoptError, "seed is -1"),
        ((GOOD,), {"seed": "a"}, TypeError, "seed is 'a'"),
        ((GOOD,), {"shuffle": 1}, TypeError, "shuffle is 1; True or False"),
        ((GOOD,), {"drop_last": None}, TypeError, "drop_last is None"),
        ((GOOD,), {"reuse_buffers": 0}, TypeError, "reuse_buffers is 0"),
    ],
)
def test_bad_input_is_refused(arrays, options, error, message):
    with pytest.raises(error, match=message):
        Batches(*arrays, **options)


def test_repr():
    batches = Batches(np.zeros((1797, 8, 8), "f4"), np.zeros(1797, int), batch_size=32, seed=4)
    next(iter(batches))
    assert repr(batches) == (
        "Batches: 1,797 rows of (8, 8) float32, () int64; 0 epochs and 1 of 57 batches done\n"
        "  batch_size=32, shuffle=True, seed=4, drop_last=False, reuse_buffers=False"
    )


def test_the_number_of_threads_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("FASTOPT_NUM_THREADS", "none")
    with pytest.raises(TypeError, match="FASTOPT_NUM_THREADS"):
        rows(make())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_an_array_that_was_resized_is_refused(order, shuffle, batch_size):
    array = np.array(np.arange(12.0).reshape(6, 2), order=order)
    batches = Batches(np.arange(6), array, batch_size=batch_size, shuffle=shuffle, seed=0)
    epoch = iter(batches)
    if batch_size:
        next(epoch)
    before = batches.state_dict()
    array.resize((4, 2), refcheck=False)
    for iteration in (epoch, iter(batches)):
        with pytest.raises(FastoptError, match=r"arrays\[1\] has shape \(4, 2\); it had \(6, 2\)"):
            next(iteration)
    assert batches.state_dict() == before


def test_indices_have_64_bits(monkeypatch):
    """NumPy's default integer, and so the result of permutation, may have 32 bits."""
    generator = np.random.default_rng
    arange = np.arange
    monkeypatch.setattr(np, "arange", lambda *a, dtype=np.int32: arange(*a, dtype=dtype))

    class Short:
        def __init__(self, seed):
            self.seed = seed

        def permutation(self, n):
            return generator(self.seed).permutation(n).astype(np.int32)

    data = arange(10)
    for shuffle in (False, True):
        monkeypatch.setattr(np.random, "default_rng", generator)
        expected = rows(Batches(data, batch_size=3, seed=1, shuffle=shuffle))
        monkeypatch.setattr(np.random, "default_rng", Short)
        assert rows(Batches(data, batch_size=3, seed=1, shuffle=shuffle)) == expected

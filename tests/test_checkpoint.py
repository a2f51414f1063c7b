"""Saved files: what is read is what was written, and nothing is ever half written."""

import numpy as np
import pytest
from support import bits

from fastopt import checkpoint
from fastopt._errors import FastoptError

CONTENT = {
    "options": {"lr": 0.1, "betas": (0.9, (0.5, None)), "bound": float("inf"), "names": ["a"]},
    "arrays": [np.arange(3.0), {"x": np.float32([[1, 2]])}],
    "empty": {},
    "flag": True,
}


def test_what_is_read_was_written(tmp_path):
    path = tmp_path / "x.npz"
    checkpoint.write(path, CONTENT)
    found = checkpoint.read(path)
    assert bits(found) == bits(CONTENT)
    assert found["options"] == CONTENT["options"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_a_failed_write_leaves_the_file(tmp_path):
    path = tmp_path / "x.npz"
    checkpoint.write(path, CONTENT)
    before = path.read_bytes()
    for bad in ({"x": {1, 2}}, {"x": np.array([object()])}):
        with pytest.raises((TypeError, ValueError)):
            checkpoint.write(path, bad)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    checkpoint.write(path, CONTENT)
    whole = path.read_bytes()
    foreign = tmp_path / "y.npz"
    np.savez(foreign, a=np.ones(3))
    np.save(tmp_path / "z.npy", np.ones(3))
    for damaged in (b"", b"text", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(FastoptError, match="damaged"):
            checkpoint.read(path)
    for other in (foreign, tmp_path / "z.npy"):
        with pytest.raises(FastoptError, match="damaged"):
            checkpoint.read(other)
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "absent")

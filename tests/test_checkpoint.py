"""Saved files: content, atomic replacement, and errors for damaged files."""

import errno
import gc
import io
import itertools
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from support import bits

from fastopt import checkpoint
from fastopt._errors import FastoptError
from fastopt.checkpoint import replacing, saved_file

CONTENT = {
    "options": {"lr": 0.1, "betas": (0.9, (0.5, None)), "bound": float("inf"), "names": ["a"]},
    "arrays": [np.arange(3.0), {"x": np.float32([[1, 2]])}, np.array(np.nan), np.zeros((0, 2))],
    "fortran": np.arange(6.0).reshape(2, 3).T,
    "half": np.arange(3.0).astype(np.float16),
    "bfloat16": np.array([[1.5, -2.0], [np.inf, 3e38]], ml_dtypes.bfloat16),
    "by index": {0: {"step": 3, "sum": np.ones(2)}, ("a", 1): {}},
    # Names that are reserved in the formats, and two that could be confused.
    "file": np.ones(1),
    "plain": np.zeros(1),
    "__metadata__": np.ones(2),
    "marks": [{"__array__": "file"}, {"__array__": np.ones(3), "__bits__": "x"}, {"__items__": []}],
    "a": {"b": np.ones(3), "b/c\n": np.zeros(3)},
    "a.b": np.zeros(3),
    "empty": {},
    "flag": True,
}


@pytest.fixture(params=["x.npz", "x.safetensors"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_content_is_read_as_it_was_written(path):
    checkpoint.write(path, "test", CONTENT)
    found = checkpoint.read(path, "test")
    assert bits(found) == bits(CONTENT)
    assert found["options"] == CONTENT["options"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    moved = path.rename(path.parent / "another.name")
    assert bits(checkpoint.read(moved, "test")) == bits(CONTENT)


def test_the_suffix_selects_the_format(tmp_path):
    content = {"w": np.arange(3.0), "lr": 0.5}
    for name in ("x.npz", "x.safetensors"):
        checkpoint.write(tmp_path / name, "test", content)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["w"].tolist() == [0.0, 1.0, 2.0]
        assert json.loads(str(file["plain"]))["content"]["lr"] == 0.5
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.get_tensor("w").tolist() == [0.0, 1.0, 2.0]
        assert json.loads(file.metadata()["plain"])["content"]["lr"] == 0.5


def test_a_failed_write_leaves_the_file_unchanged(path):
    checkpoint.write(path, "test", CONTENT)
    before = path.read_bytes()
    for bad in ({"x": {1, 2}}, {"x": np.array([object()])}):
        with pytest.raises((TypeError, ValueError, KeyError)):
            checkpoint.write(path, "test", bad)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_damaged_and_foreign_files_are_refused(path):
    checkpoint.write(path, "test", CONTENT)
    content = path.read_bytes()
    foreign = path.parent / "y.npz"
    np.savez(foreign, a=np.ones(3))
    np.save(path.parent / "z.npy", np.ones(3))
    save_file({"a": np.ones(3)}, path.parent / "w.safetensors")
    for damaged in (b"", b"text", content[: len(content) // 2], content[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(FastoptError, match="damaged"):
            checkpoint.read(path, "test")
    for other in ("y.npz", "z.npy", "w.safetensors"):
        with pytest.raises(FastoptError, match="damaged"):
            checkpoint.read(path.parent / other, "test")
    with pytest.raises(FileNotFoundError):
        checkpoint.read(path.parent / "absent", "test")


def test_changed_bytes_are_found(path):
    """A changed byte is an error, or has no meaning, like the dates in a zip file."""
    content = {"w": np.arange(3.0), "lr": 0.5}
    checkpoint.write(path, "test", content)
    original, refused = path.read_bytes(), 0
    for at in range(0, len(original), 3):
        damaged = bytearray(original)
        damaged[at] ^= 0x15
        path.write_bytes(damaged)
        try:
            assert bits(checkpoint.read(path, "test")) == bits(content)
        except FastoptError:
            refused += 1
    assert refused > len(original) / 6


def test_another_kind_or_a_later_version_is_refused(path, monkeypatch):
    checkpoint.write(path, "test", CONTENT)
    with pytest.raises(FastoptError, match="holds 'test' in version 1; 'other' in version 1"):
        checkpoint.read(path, "other")
    monkeypatch.setattr(saved_file, "VERSION", 2)
    with pytest.raises(FastoptError, match="version 1; 'test' in version 2"):
        checkpoint.read(path, "test")


def test_without_safetensors_the_error_names_the_extra_to_install(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, "test", {})
    before = path.read_bytes()
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(FastoptError, match=r"pip install '\.\[checkpoint\]'"):
        checkpoint.write(path, "test", {"a": 1})
    with pytest.raises(FastoptError, match=r"pip install '\.\[checkpoint\]'"):
        checkpoint.read(path, "test")
    assert path.read_bytes() == before
    checkpoint.write(tmp_path / "x.npz", "test", {"a": 1})
    assert checkpoint.read(tmp_path / "x.npz", "test") == {"a": 1}


def temporary_name(path):
    """Return the name of the temporary file of a write, which is not removed meanwhile."""
    folder = path.resolve().parent
    before, during = set(folder.iterdir()), set()

    def look(file):
        during.update(folder.iterdir())
        checkpoint.remove_leftovers(path)
        file.write(b"x")

    replacing.replace(path, look)
    (file,) = during - before
    return file.name


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    """The files of running writers and those of the user are kept."""
    path = tmp_path / "x[1].npz"
    name = temporary_name(path)
    assert path.read_bytes() == b"x"
    others = {
        temporary_name(tmp_path / "x1.npz"),
        name.replace(".part", "0.part"),
        name.replace(".part", ".npz"),
        "x[1].npz.0123abcd.part",
        "x1.npz",
        "x[1].npz",
    }
    for remove in (lambda: checkpoint.remove_leftovers(path),
                   lambda: checkpoint.write(path, "test", {})):  # fmt: skip
        for file in {name, *others} - {"x[1].npz"}:
            (tmp_path / file).write_bytes(b"")
        remove()
        assert {file.name for file in tmp_path.iterdir()} == others


@pytest.mark.skipif(not replacing.fcntl, reason="needs flock")
def test_a_temporary_file_that_is_deleted_before_it_is_locked(tmp_path, monkeypatch):
    flock, deleted = replacing.fcntl.flock, []

    def delete_first(file, operation):
        if not deleted:
            deleted.extend(tmp_path.iterdir())
            deleted[0].unlink()
        flock(file, operation)

    monkeypatch.setattr(replacing.fcntl, "flock", delete_first)
    checkpoint.write(tmp_path / "x.npz", "test", {"n": 1})
    assert len(deleted) == 1
    assert checkpoint.read(tmp_path / "x.npz", "test") == {"n": 1}


def test_a_killed_write_leaves_the_old_file_and_the_next_write_cleans_up(path):
    checkpoint.write(path, "test", {"n": 1})
    code = f"""
import os, signal
from fastopt import checkpoint
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write({str(path)!r}, "test", {{"n": 2}})
"""
    child = subprocess.run([sys.executable, "-P", "-c", code], check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(list(path.parent.iterdir())) == 2
    assert checkpoint.read(path, "test") == {"n": 1}
    checkpoint.write(path, "test", {"n": 3})
    assert list(path.parent.iterdir()) == [path]


# Which paths are accepted


@pytest.fixture(params=["a directory", "a named pipe", "a socket", "a device"])
def special(request, tmp_path):
    """Yield a kind and the path of such a file.

    The device is a terminal of this test, so that no fault can replace a device of others.
    """
    path = tmp_path / "special.npz"
    if request.param == "a directory":
        path.mkdir()
    elif request.param == "a named pipe":
        os.mkfifo(path)
    elif request.param == "a socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        ends = os.openpty()
        path.symlink_to(os.ttyname(ends[1]))
    yield request.param, path
    if request.param == "a device":
        for end in ends:
            os.close(end)


def test_only_regular_files_are_replaced_and_read(special):
    kind, path = special
    before = path.stat()
    message = f"special.npz' is {kind}; a regular file is needed"
    with pytest.raises(FastoptError, match=message):
        checkpoint.write(path, "test", {})
    with pytest.raises(FastoptError, match=message):
        checkpoint.read(path, "test")
    assert os.path.samestat(path.stat(), before)
    assert list(path.parent.iterdir()) == [path]


def test_file_descriptors_are_refused(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        for call in (
            lambda: checkpoint.write(file.fileno(), "test", {}),
            lambda: checkpoint.read(file.fileno(), "test"),
        ):
            with pytest.raises(TypeError, match=r"path is \d+; a str or os\.PathLike is needed"):
                call()
        file.write(b"it is still open")


def test_long_names(tmp_path):
    for length in (241, 242, 255):
        path = tmp_path / ("x" * (length - 4) + ".npz")
        checkpoint.write(path, "test", {"n": length})
        assert checkpoint.read(path, "test") == {"n": length}


def test_keys_longer_than_the_formats_allow(path):
    content = {"k" * 70_000: np.ones(2), "k" * 70_001: {"w": np.zeros(3)}}
    checkpoint.write(path, "test", content)
    assert bits(checkpoint.read(path, "test")) == bits(content)


def test_a_mount_point_cannot_be_replaced(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    checkpoint.write(path, "test", {"n": 1})

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(FastoptError, match=r"x\.npz' is a mount point.* mount its directory"):
        checkpoint.write(path, "test", {"n": 2})
    assert checkpoint.read(path, "test") == {"n": 1}
    assert list(tmp_path.iterdir()) == [path]


# Files that `write` does not write


def npy(array, shape=None):
    """Return the bytes of a .npy file, whose header may state another shape."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape or array.shape})
    return stream.getvalue() + array.tobytes()


PLAIN = npy(np.array(json.dumps({"fastopt": 1, "kind": "test", "content": {}})))


def zipped(path, members, compression=zipfile.ZIP_STORED, before=b""):
    """Write a zip file with the JSON of an empty content and these members."""
    with path.open("wb") as file:
        file.write(before)
        with zipfile.ZipFile(file, "a" if before else "w", compression) as archive:
            for name, content in [("plain.npy", PLAIN), *members]:
                archive.writestr(name, content)


ZEROS = npy(np.zeros(200_000))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ([("w.npy", ZEROS)], {"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ([("w.npy", ZEROS)], {"compression": zipfile.ZIP_LZMA}, "compressed"),
        ([("w.npy", npy(np.ones(1)))] * 2, {}, "two members of one name"),
        ([(".npy", npy(np.ones(1)))], {}, "not an array"),
        ([("w", b"text")], {}, "not an array"),
        ([("w.npy", npy(np.ones(1), (10**9,)))], {}, "its header says 8000000000"),
        ([("w.npy", npy(np.ones(3), (1,)))], {}, "24 bytes of data; its header says 8"),
        ([("w.npy", b"text that is long enough")], {}, "magic"),
        ([("w.npy", b"\x93NUMPY\x07\x00" + ZEROS[8:])], {}, ""),
        ([], {"before": b"PK"}, "does not begin"),
    ],
    ids=range(10),
)
def test_other_zip_files_are_refused_without_allocating(members, options, message, tmp_path):
    path = tmp_path / "x.npz"
    zipped(path, [])
    assert checkpoint.read(path, "test") == {}
    zipped(path, members, **options)
    tracemalloc.start()
    try:
        with pytest.raises(FastoptError, match="damaged") as caught:
            checkpoint.read(path, "test")
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    assert message in str(caught.value.__cause__)


def test_members_that_overlap_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    zipped(path, [("a.npy", ZEROS), ("b.npy", ZEROS)])
    with zipfile.ZipFile(path) as archive:
        first, second = (archive.getinfo(name).header_offset for name in ("a.npy", "b.npy"))
    content = path.read_bytes()
    directory = content.rindex(struct.pack("<L", second))
    path.write_bytes(content[:directory] + struct.pack("<L", first) + content[directory + 4 :])
    with pytest.raises(FastoptError, match="damaged") as caught:
        checkpoint.read(path, "test")
    assert "does not end where the next" in str(caught.value.__cause__)


def test_random_damage_is_reported_as_damage(path):
    """No other exception is raised, and little memory is allocated."""
    checkpoint.write(path, "test", CONTENT)
    original, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(original)
        for at in rng.integers(len(original), size=rng.integers(1, 6)):
            damaged[at] = rng.integers(256)
        if rng.integers(2):
            begin, end = np.sort(rng.integers(len(damaged), size=2))
            damaged[begin:end] = damaged[begin:end][: rng.integers(30)]
        path.write_bytes(damaged)
        with suppress(FastoptError):
            checkpoint.read(path, "test")


@pytest.mark.parametrize("error", [MemoryError, TimeoutError, RuntimeError, KeyboardInterrupt])
def test_errors_that_are_not_damage_are_passed_on(error, path, monkeypatch):
    """A signal handler may raise any error while a file is read."""
    checkpoint.write(path, "test", {"w": np.ones(3)})

    def raise_it(*_):
        raise error

    monkeypatch.setattr(saved_file, "decode", raise_it)
    with pytest.raises(error):
        checkpoint.read(path, "test")


def test_array_names_that_end_in_npy(tmp_path):
    content = {"x": np.ones(2), "x.npy": np.full(2, 2.0), "x.npy_": np.full(2, 3.0)}
    for suffix in ("npz", "safetensors"):
        checkpoint.write(tmp_path / f"x.{suffix}", "test", content)
        assert bits(checkpoint.read(tmp_path / f"x.{suffix}", "test")) == bits(content)


def test_a_file_from_a_machine_of_the_other_byte_order(tmp_path):
    native = {name: value for name, value in CONTENT.items() if name != "arrays"}
    native["counts"] = np.arange(3)
    checkpoint.write(tmp_path / "native.npz", "test", native)
    with np.load(tmp_path / "native.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name != "plain"}
        swapped = {name: a.astype(a.dtype.newbyteorder()) for name, a in arrays.items()}
        plain = stored["plain"]
    assert [a.dtype.byteorder for a in swapped.values()].count(">") >= 5 or sys.byteorder == "big"
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        for name, array in {"plain": plain.astype(plain.dtype.newbyteorder()), **swapped}.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    read = checkpoint.read(tmp_path / "foreign.npz", "test")
    assert bits(read) == bits(checkpoint.read(tmp_path / "native.npz", "test"))
    assert read["bfloat16"].tolist() == native["bfloat16"].tolist()


def test_numpy_scalars_keep_their_types(tmp_path):
    numbers = [np.float32(0.1), np.float16(0.1), ml_dtypes.bfloat16(0.1), np.complex64(1j)]
    content = {
        "plain": numbers,
        "integers": (np.int64(3), np.bool_(True), np.float64(0.1)),
        "keys": {np.int64(7): 1.0, np.float32(0.5): None},
    }
    for suffix in ("npz", "safetensors"):
        checkpoint.write(tmp_path / f"x.{suffix}", "test", content)
        found = checkpoint.read(tmp_path / f"x.{suffix}", "test")
        assert [type(value) for value in found["plain"]] == [type(value) for value in numbers]
        assert found == content


@pytest.mark.parametrize("value", [1j, {1, 2}, len])
def test_a_value_that_cannot_be_saved_is_named(value, tmp_path):
    with pytest.raises(TypeError, match=r"schedule\.best is a .*cannot be saved"):
        checkpoint.write(tmp_path / "x.npz", "test", {"schedule": {"best": value}})
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_path_of_the_user(tmp_path, monkeypatch):
    missing = tmp_path / "missing" / "run.npz"
    with pytest.raises(FileNotFoundError, match=re.escape(repr(str(missing)))) as refused:
        checkpoint.write(missing, "test", {})
    assert ".part" not in str(refused.value)

    def fails(*names):
        raise OSError(errno.EXDEV, "no", "a.part", None, "b")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match=r"no: '.*run\.npz'$"):
        checkpoint.write(tmp_path / "run.npz", "test", {})
    assert list(tmp_path.iterdir()) == []


def test_symbolic_links_and_file_modes_are_kept(tmp_path):
    (tmp_path / "big").mkdir()
    target, link = tmp_path / "big" / "x.npz", tmp_path / "x.npz"
    link.symlink_to(target)
    for number in (1, 2):
        checkpoint.write(link, "test", {"n": number})
        assert link.is_symlink()
        assert checkpoint.read(target, "test") == {"n": number}
        target.chmod(0o600)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    left = target.with_name(temporary_name(link))
    left.touch()
    checkpoint.remove_leftovers(link)
    assert [*(tmp_path / "big").iterdir()] == [target]


@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_call_of_a_read_is_raised(path):
    """There are two exceptions: `__del__`, where Python cannot raise it, and NumPy's `str`."""
    checkpoint.write(path, "test", {"w": np.arange(3.0), "b": np.float32(0.5)})
    checkpoint.read(path, "test")  # imports what it needs
    before = sys.gettrace()
    gc.disable()  # Python ignores errors in the callbacks that other packages have in gc.callbacks
    for last in itertools.count():
        calls = itertools.count()

        def interrupt(_frame, _event, _arg, calls=calls, last=last):
            if next(calls) == last:
                raise KeyboardInterrupt

        try:
            sys.settrace(interrupt)
            checkpoint.read(path, "test")
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(before)
        break
    gc.enable()
    assert next(calls) == last  # none was left for this one
    assert last > 10

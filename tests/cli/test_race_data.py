"""`fastopt race`: which data files are read, and how a bad one is reported."""

import numpy as np
import pytest
from race_cases import table, write_csv

from fastopt import FastoptError
from fastopt.cli import main
from fastopt.cli.race.data.load import load


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(tmp_path, delimiter, header, newline):
    made = table()
    loaded = load(write_csv(tmp_path / "a.CSV", made, header, delimiter, newline), None)
    np.testing.assert_array_equal(loaded.X, made.X)
    np.testing.assert_array_equal(loaded.y, made.y)
    assert loaded.columns == (made.columns if header else ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("target", "column"), [(None, 4), ("colour", 4), ("x1", 1), ("0", 0), ("-2", 3)]
)
def test_csv_target_by_name_or_index(tmp_path, target, column):
    made = table(target="numbers")
    loaded = load(write_csv(tmp_path / "a.csv", made), target)
    everything = np.column_stack([made.X, made.y])
    np.testing.assert_array_equal(loaded.y, everything[:, column])
    np.testing.assert_array_equal(loaded.X, np.delete(everything, column, axis=1))


def test_csv_with_byte_order_mark_blank_lines_spaces_quotes_and_numeric_names(tmp_path):
    rows = "".join(f'{i}, "{i % 3}.5" ,{i % 2}\n\n' for i in range(12))
    (tmp_path / "a.csv").write_text("\ufeff0,1,label\n\n" + rows, encoding="utf-8")
    loaded = load(str(tmp_path / "a.csv"), None)
    assert loaded.columns == ["0", "1"]
    np.testing.assert_array_equal(loaded.X[:3], [[0, 0.5], [1, 1.5], [2, 2.5]])
    np.testing.assert_array_equal(loaded.y, np.arange(12) % 2)


def test_underscores_do_not_separate_digits(tmp_path, capsys):
    """In Python they do: float("2021_1") is 20211."""
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "1,1_1\n2,11\n" * 10)
    assert sorted(set(load(str(path), None).y)) == ["11", "1_1"]
    path.write_text("a,y\n" + "1,0\n2,1\n" * 10 + "2021_1,0\n")
    with pytest.raises(FastoptError, match="line 22: column 'a' is '2021_1'; features must be"):
        load(str(path), None)
    path.write_text("2021_1,2021_2\n" + "1,0\n2,1\n" * 10)
    assert load(str(path), None).columns == ["2021_1"]
    with pytest.raises(FastoptError, match="--target is '1_0'; allowed: an index"):
        load(str(path), "1_0")


def test_tsv_is_separated_by_tabs(tmp_path):
    """Its first line may have more commas than tabs."""
    path = tmp_path / "a.tsv"
    path.write_text("width, in mm, rounded\ty\n" + "1\tred\n2\tblue\n" * 10)
    loaded = load(str(path), None)
    assert loaded.columns == ["width, in mm, rounded"]
    np.testing.assert_array_equal(loaded.X[:2], [[1], [2]])


def test_header_of_numbers_is_declared(tmp_path, race):
    """Without --header, a header of numbers cannot be distinguished from data."""
    path = tmp_path / "a.csv"
    path.write_text("1990,2000,7\n" + "".join(f"{i},{i % 5},{i % 2}\n" for i in range(20)))
    for header, n_rows, columns in (
        (True, 20, ["1990", "2000"]),
        (False, 21, ["0", "1"]),
        (None, 21, ["0", "1"]),
    ):
        loaded = load(str(path), None, header)
        assert loaded.X.shape == (n_rows, 2)
        assert loaded.columns == columns
    np.testing.assert_array_equal(load(str(path), "2000", True).y, np.arange(20) % 5)
    _, result = race(str(path), "--header", "--rules", "sgd", "--epochs", "1")
    assert result["data"]["train_rows"] + result["data"]["held_out_rows"] == 20


def test_no_header_makes_the_first_line_data(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,a\n2,b\n" * 10)
    with pytest.raises(FastoptError, match="line 1: column '0' is 'a'; features must be finite"):
        load(str(path), None, False)
    path.write_text("1\n")
    with pytest.raises(FastoptError, match="0 rows of 0 features"):
        load(str(path), None, True)


@pytest.mark.parametrize("option", ["--header", "--no-header"])
def test_header_is_refused_for_other_formats(option, tmp_path, capsys):
    np.savez(tmp_path / "a.npz", X=X20, y=Y20)
    for args in ([str(tmp_path / "a.npz")], []):
        assert main(["race", *args, option, "--out", str(tmp_path)]) == 2
        assert f"{option} needs DATA in .csv or .tsv" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0"])
@pytest.mark.parametrize("start", [0, 1])
def test_unnamed_column_of_row_numbers_is_left_out(name, start, tmp_path, race, capsys):
    """pandas and R write such a column."""
    path = tmp_path / "a.csv"
    rows = "".join(f"{i + start},{i % 3},{i % 2}\n" for i in range(20))
    path.write_text(f"{name},a,y\n{rows}")
    loaded = load(str(path), None)
    assert loaded.columns == ["a"]
    np.testing.assert_array_equal(loaded.X[:, 0], np.arange(20) % 3)
    np.testing.assert_array_equal(load(str(path), "1").y, np.arange(20) % 3)
    _, result = race(str(path), "--rules", "sgd", "--epochs", "1")
    note = "The first column has no name and numbers the rows; it is left out."
    assert result["data"]["notes"] == [note]
    assert main(["race", str(path), "--rules", "sgd", "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert note in " ".join(capsys.readouterr().out.split())


def test_other_first_columns_are_features(tmp_path):
    path = tmp_path / "a.csv"
    for name, values in (
        ("id", range(20)),
        ("", range(2, 22)),
        ("", [*range(19), 20]),
        ("", [0.5 * i for i in range(20)]),
    ):
        rows = "".join(f"{value},{i % 2}\n" for i, value in enumerate(values))
        path.write_text(f"{name},y\n{rows}")
        loaded = load(str(path), None)
        assert loaded.columns == [name]
        assert loaded.notes == ()
    path.write_text(",y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    np.testing.assert_array_equal(load(str(path), "0").y, np.arange(20))


def test_npz(tmp_path):
    made = table()
    np.savez(tmp_path / "a.npz", X=made.X.astype(np.float32), y=made.y, w=made.X)
    np.savez(tmp_path / "b.npz", inputs=made.X, label=made.y)
    np.savez(tmp_path / "c.npz", X=made.X, y=np.arange(60)[:, None])
    a, b, c = (
        load(str(tmp_path / f"{name}.npz"), target)
        for name, target in (("a", None), ("b", "label"), ("c", None))
    )
    np.testing.assert_array_equal(a.X, made.X.astype(np.float32))
    np.testing.assert_array_equal(b.X, made.X)
    for loaded in (a, b):
        np.testing.assert_array_equal(loaded.y, made.y)
    np.testing.assert_array_equal(c.y, np.arange(60))


@pytest.mark.parametrize("ending", ["svm", "svmlight", "libsvm"])
def test_svmlight(tmp_path, race, ending):
    lines = "".join(f"{(-1) ** i} 1:{i % 2} 3:{i}\n" for i in range(20))
    path = tmp_path / f"a.{ending}"
    path.write_text(lines)
    loaded = load(str(path), None)
    np.testing.assert_array_equal(loaded.X[:3], [[0, 0, 0], [1, 0, 1], [0, 0, 2]])
    _, result = race(str(path), "--model", "logistic", "--rules", "adam", "--epochs", "2")
    assert result["data"]["classes"] == ["-1", "1"]
    assert result["model"]["loss"] == "logistic"


GOOD_ROWS = "1,2,0\n2,1,1\n" * 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,b,y\n", "0 rows of 2 features"),
        ("a,b,y\n1,2,0\n", "1 row of 2 features; 10 rows"),
        ("y\n" + "1\n" * 20, "20 rows of 0 features"),
        (GOOD_ROWS + "1,,0\n", "line 21: column '1' is missing ('')"),
        ("a,b,y\n" + GOOD_ROWS + "NA,1,0\n", "line 22: column 'a' is missing ('NA')"),
        ("?,1,0\n" + GOOD_ROWS, "line 1: column '0' is missing ('?')"),
        ("a,b,y\n\n" + GOOD_ROWS + "1,nan,0\n", "line 23: column 'b' is missing ('nan')"),
        ("a,b,y\n" + GOOD_ROWS + "1,red,0\n", "column 'b' is 'red'; features must be finite"),
        ("a,b,y\n" + GOOD_ROWS + "1,inf,0\n", "column 'b' is 'inf'; features must be finite"),
        ("a,b,y\n" + GOOD_ROWS + "1,2,\n", "line 22: target 'y' is missing"),
        ("a,b,y\n" + GOOD_ROWS + "1,2\n", "line 22: 2 cells; the first line has 3"),
        ("a,b,y\n" + "1,2,0\n" * 20, "the target is always '0"),
        ("a,b,y\n" + "".join(f"1,2,u{i}\n" for i in range(20)), "20 different values in 20"),
        ("a,b,y\n" + GOOD_ROWS + "1,2,inf\n", "the target of row 20 (from 0) is inf"),
        (b"\xff\xfe\x00\x01", "not text in UTF-8"),
    ],
)
def test_bad_csv_is_one_line_on_stderr(tmp_path, capsys, text, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["race", str(path), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("fastopt race: error: ")
    assert message in printed.err
    assert not (tmp_path / "race.png").exists()


X20 = np.arange(40.0).reshape(20, 2)
Y20 = np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X20}, "arrays X and y are needed; it has X"),
        ({"a": X20, "b": X20, "y": Y20}, "arrays X and y are needed; it has a, b, y"),
        ({"X": X20[:, 0], "y": Y20}, "X has shape (20,)"),
        ({"X": X20.astype(str), "y": Y20}, "real numbers"),
        ({"X": X20, "y": Y20[:5]}, "y has shape (5,)"),
        ({"X": X20, "y": X20}, "y has shape (20, 2)"),
        ({"X": X20.astype(object), "y": Y20}, "allow_pickle"),
        ({"X": np.where(X20 == 7, np.nan, X20), "y": Y20}, "row 3, column 1 (from 0) is nan"),
        ({"X": X20, "y": np.where(Y20, np.nan, 1.0)}, "the target of row 1 (from 0) is nan"),
    ],
)
def test_bad_npz(tmp_path, capsys, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert main(["race", str(tmp_path / "bad.npz"), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"PK not a zip", "a.npz"),
        ("a.npz", b"", "a.npz"),
        ("a.svm", b"1 2:x 3:y\n", "not in svmlight's format"),
        ("a.svm", b"1 1:1 900000000:1\n" * 20, "as a dense array; 2 are allowed"),
        ("a.svm", b"1 1:nan\n0 1:2\n" * 20, "row 0, column 0 (from 0) is nan"),
        ("a.xlsx", b"", "must end in one of .csv"),
    ],
)
def test_bad_files(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert main(["race", str(tmp_path / name), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_npy_file_named_npz_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", X20)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(FastoptError, match="not an npz file"):
        load(str(tmp_path / "a.npz"), None)

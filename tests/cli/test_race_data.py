"""`fastopt race`: which data files are read, and how a bad one is reported."""

import re

import numpy as np
import pytest
from race_cases import table, write_csv

from fastopt import FastoptError
from fastopt.cli import main
from fastopt.cli.race.data.load import load
from fastopt.cli.race.data.options import DataOptions


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(tmp_path, delimiter, header, newline):
    made = table()
    loaded = load(write_csv(tmp_path / "a.CSV", made, header, delimiter, newline))
    np.testing.assert_array_equal(loaded.X, made.X)
    np.testing.assert_array_equal(loaded.y, made.y)
    assert loaded.columns == (made.columns if header else ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("target", "column"), [(None, 4), ("colour", 4), ("x1", 1), ("0", 0), ("-2", 3)]
)
def test_csv_target_by_name_or_index(tmp_path, target, column):
    made = table(target="numbers")
    loaded = load(write_csv(tmp_path / "a.csv", made), DataOptions(target))
    everything = np.column_stack([made.X, made.y])
    np.testing.assert_array_equal(loaded.y, everything[:, column])
    np.testing.assert_array_equal(loaded.X, np.delete(everything, column, axis=1))


def test_csv_with_byte_order_mark_blank_lines_spaces_quotes_and_numeric_names(tmp_path):
    rows = "".join(f'{i}, "{i % 3}.5" ,{i % 2}\n\n' for i in range(12))
    (tmp_path / "a.csv").write_text("\ufeff0,1,label\n\n" + rows, encoding="utf-8")
    loaded = load(str(tmp_path / "a.csv"))
    assert loaded.columns == ["0", "1"]
    np.testing.assert_array_equal(loaded.X[:3], [[0, 0.5], [1, 1.5], [2, 2.5]])
    np.testing.assert_array_equal(loaded.y, np.arange(12) % 2)


def test_underscores_do_not_separate_digits(tmp_path, capsys):
    """Python accepts underscores between digits: float("2021_1") is 20211."""
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "1,1_1\n2,11\n" * 10)
    assert sorted(set(load(str(path)).y)) == ["11", "1_1"]
    path.write_text("a,y\n" + "1,0\n2,1\n" * 10 + "2021_1,0\n")
    with pytest.raises(FastoptError, match="line 22: column 'a' is '2021_1'; features must be"):
        load(str(path))
    path.write_text("2021_1,2021_2\n" + "1,0\n2,1\n" * 10)
    assert load(str(path)).columns == ["2021_1"]
    with pytest.raises(FastoptError, match="--target is '1_0'; allowed: an index"):
        load(str(path), DataOptions("1_0"))


def test_tsv_is_separated_by_tabs(tmp_path):
    """This holds even if the first line has more commas than tabs."""
    path = tmp_path / "a.tsv"
    path.write_text("width, in mm, rounded\ty\n" + "1\tred\n2\tblue\n" * 10)
    loaded = load(str(path))
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
        loaded = load(str(path), DataOptions(header=header))
        assert loaded.X.shape == (n_rows, 2)
        assert loaded.columns == columns
    np.testing.assert_array_equal(load(str(path), DataOptions("2000", True)).y, np.arange(20) % 5)
    _, result = race(str(path), "--header", "--rules", "sgd", "--epochs", "1")
    assert result["data"]["train_rows"] + result["data"]["held_out_rows"] == 20


def test_no_header_makes_the_first_line_data(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,a\n2,b\n" * 10)
    with pytest.raises(FastoptError, match="line 1: column '0' is 'a'; features must be finite"):
        load(str(path), DataOptions(header=False))
    path.write_text("1\n")
    with pytest.raises(FastoptError, match="0 rows of 0 features"):
        load(str(path), DataOptions(header=True))


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("a.npz", ["--header"], "--header needs DATA in .csv or .tsv"),
        ("a.npz", ["--no-header"], "--no-header needs DATA in .csv or .tsv"),
        ("a.npz", ["--encode"], "--encode needs DATA in .csv or .tsv"),
        ("a.npz", ["--drop", "a,b"], "--drop is 'a,b'; it needs DATA in .csv or .tsv"),
        ("a.svm", ["--target", "y"], "--target is 'y'; it needs DATA in .csv or .tsv or .npz"),
        ("a.csv", ["--features", "Z"], "--features is 'Z'; it needs DATA in .npz"),
        (None, ["--header"], "--header needs DATA in .csv or .tsv"),
        (None, ["--features", "Z"], "--features is 'Z'; it needs DATA in .npz"),
    ],
)
def test_options_are_refused_for_other_formats(name, option, message, tmp_path, capsys):
    data = [] if name is None else [str(tmp_path / name)]
    assert main(["race", *data, *option, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0"])
@pytest.mark.parametrize("start", [0, 1])
def test_unnamed_column_of_row_numbers_is_left_out(name, start, tmp_path, race, capsys):
    """pandas and R write such a column."""
    path = tmp_path / "a.csv"
    rows = "".join(f"{i + start},{i % 3},{i % 2}\n" for i in range(20))
    path.write_text(f"{name},a,y\n{rows}")
    loaded = load(str(path))
    assert loaded.columns == ["a"]
    np.testing.assert_array_equal(loaded.X[:, 0], np.arange(20) % 3)
    np.testing.assert_array_equal(load(str(path), DataOptions("1")).y, np.arange(20) % 3)
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
        loaded = load(str(path))
        assert loaded.columns == [name]
        assert loaded.notes == ()
    path.write_text(",y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    np.testing.assert_array_equal(load(str(path), DataOptions("0")).y, np.arange(20))


PEOPLE = "name,age,town,sex,y\n" + "".join(
    f"p{i},{20 + i},{('Rome', 'Oslo', 'Nice')[i % 3]},{'mf'[i % 2]},{i % 2}\n" for i in range(18)
)


def test_text_columns_are_dropped(tmp_path, race):
    path = tmp_path / "a.csv"
    path.write_text(PEOPLE)
    for drop in (("name", "town", "sex"), ("0", "2", "-2"), ("sex", "0", "town")):
        loaded = load(str(path), DataOptions(drop=drop))
        assert loaded.columns == ["age"]
        np.testing.assert_array_equal(loaded.X[:, 0], np.arange(20, 38))
    _, result = race(str(path), "--drop", "name, town,sex", "--rules", "sgd", "--epochs", "1")
    assert result["data"]["features"] == 1


def test_a_dropped_column_may_have_a_comma_in_its_name(tmp_path, race):
    path = tmp_path / "a.csv"
    path.write_text('"size, cm",b,y\n' + "".join(f"x,{i},{i % 2}\n" for i in range(20)))
    _, result = race(str(path), "--drop", '"size, cm"', "--rules", "sgd", "--epochs", "1")
    assert result["data"]["features"] == 1


def test_text_columns_are_encoded(tmp_path, race, capsys):
    path = tmp_path / "a.csv"
    path.write_text(PEOPLE)
    loaded = load(str(path), DataOptions(drop=("name",), encode=True))
    assert loaded.columns == ["age", "town=Nice", "town=Oslo", "town=Rome", "sex=f", "sex=m"]
    i = np.arange(18)
    expected = [20 + i, i % 3 == 2, i % 3 == 1, i % 3 == 0, i % 2 == 1, i % 2 == 0]
    np.testing.assert_array_equal(loaded.X, np.column_stack(expected))
    assert loaded.notes == ("2 columns of text are encoded as 5 columns of 0 and 1.",)
    args = (str(path), "--drop", "name", "--encode", "--rules", "sgd", "--epochs", "1")
    _, result = race(*args)
    assert result["data"]["features"] == 6
    assert main(["race", *args, "--out", str(tmp_path)]) == 0
    assert loaded.notes[0] in " ".join(capsys.readouterr().out.split())


def test_encoding_a_table_of_numbers_changes_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", table())
    plain, encoded = load(path), load(path, DataOptions(encode=True))
    np.testing.assert_array_equal(plain.X, encoded.X)
    assert (plain.columns, plain.notes) == (encoded.columns, encoded.notes)


def test_row_numbers_are_left_out_of_encoded_tables_too(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",town,y\n" + "".join(f"{i},{'ab'[i % 2]},{i % 2}\n" for i in range(20)))
    assert load(str(path), DataOptions(encode=True)).columns == ["town=a", "town=b"]


def test_dropping_the_first_column_does_not_drop_the_second(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Unnamed: 0,k,y\n" + "".join(f"x,{i},{i % 2}\n" for i in range(20)))
    loaded = load(str(path), DataOptions(drop=("0",)))
    assert loaded.columns == ["k"]
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (PEOPLE, [], "line 2: column 'name' is 'p0'; .*--drop leaves the column out.*--encode"),
        (PEOPLE, ["--drop", "name"], "line 2: column 'town' is 'Rome'; .*--encode"),
        (PEOPLE, ["--drop", "nome"], "--drop is 'nome'; allowed: an index .* name: name, age"),
        (PEOPLE, ["--drop", "9"], "--drop is '9'; allowed: an index from -5 to 4"),
        (PEOPLE, ["--drop", "y"], "--drop names 'y', which is the target"),
        (PEOPLE + "x,,Rome,m,1\n", ["--encode"], "line 20: column 'age' is missing .*--drop"),
        (
            "a,y\n" + "".join(f"u{i},{i % 2}\n" for i in range(101)),
            ["--encode"],
            "column 'a' has 101 different texts, such as 'u0'; --encode allows 100, and --drop",
        ),
        ("5.1 3.5 0\n4.9 3.0 1\n" * 10, [], "separated by spaces, as in '4.9 3.0 1', are not"),
        ("  a  b y\n 1 2 0\n 2 3 1\n", [], "separated by spaces"),
        ("1,5;2,5;0\n1;2,5;1\n" * 10, [], "seems to have decimal commas between semicolons"),
        ("a;b;y\n" + "1,5;2;0\n" * 10, [], "column 'a' is '1,5'; .* decimal point"),
        ("a;b;y\n" + "1,5;2;0\n" * 10, ["--encode"], "column 'a' is '1,5'; .* decimal point"),
    ],
)
def test_bad_tables_name_the_way_out(tmp_path, capsys, text, options, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["race", str(path), *options, "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert re.search(message, printed.err)


def test_spaces_inside_cells_are_no_delimiters(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a long name,y\n" + "1,so so\n2,very good\n" * 10)
    assert sorted(set(load(str(path)).y)) == ["so so", "very good"]


def test_features_of_npz_are_named(tmp_path, race):
    made = table()
    np.savez(tmp_path / "a.npz", X=made.X, inputs=2 * made.X, y=made.y, label=made.y[::-1])
    path = str(tmp_path / "a.npz")
    np.testing.assert_array_equal(load(path).X, made.X)
    loaded = load(path, DataOptions("label", features="inputs"))
    np.testing.assert_array_equal(loaded.X, 2 * made.X)
    np.testing.assert_array_equal(loaded.y, made.y[::-1])
    _, result = race(path, "--features", "inputs", "--rules", "sgd", "--epochs", "1")
    assert result["data"]["features"] == 4


def test_npz(tmp_path):
    made = table()
    np.savez(tmp_path / "a.npz", X=made.X.astype(np.float32), y=made.y, w=made.X)
    np.savez(tmp_path / "b.npz", inputs=made.X, label=made.y)
    np.savez(tmp_path / "c.npz", X=made.X, y=np.arange(60)[:, None])
    a, b, c = (
        load(str(tmp_path / f"{name}.npz"), DataOptions(target))
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
    loaded = load(str(path))
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
        ({"a": X20, "b": X20, "y": Y20}, "arrays X and y are needed; it has a, b, y (--features"),
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
        load(str(tmp_path / "a.npz"))

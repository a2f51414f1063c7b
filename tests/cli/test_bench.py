"""`fastopt bench`: the loop that moves the bytes, the timers, and the result that is shown."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from matplotlib.axes import Axes

import fastopt
from fastopt import FastoptError, _core
from fastopt.cli import main
from fastopt.cli.bench.picture import draw
from fastopt.cli.bench.result import Result
from fastopt.cli.bench.steps import (
    DEFAULT_RULES,
    RULES,
    bound,
    fastest,
    limit,
    limits,
    moved,
    paired,
    ratio,
    scale,
    together,
)

SMALL = ["bench", "--size", "3000", "--rounds", "3"]
BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


# The loop that moves the bytes


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("n_states", range(5))
def test_move_reads_and_writes_every_element_of_every_array(dtype, n_states):
    rng = np.random.default_rng(n_states)
    for size in (0, 1, 63, _core.CHUNK - 1, _core.CHUNK, 3 * _core.CHUNK + 5):
        state = np.float32 if np.dtype(dtype).itemsize == 2 else dtype
        arrays = [rng.standard_normal(size).astype(dtype)]
        arrays += [rng.standard_normal(size).astype(state) for _ in range(n_states)]
        source = np.ones(size, dtype)
        bits = [BITS[array.itemsize] for array in arrays]
        one = source.view(BITS[source.itemsize])
        # Elements of eight bytes are added as two words of four, without a carry between the two.
        expected = [
            (a.view(np.uint32) + one.view(np.uint32)).view(kind)
            if a.itemsize == 8
            else a.view(kind) + one.astype(kind)
            for a, kind in zip(arrays, bits, strict=True)
        ]
        threads = 1 + size % 3
        starts = [array.copy() for array in arrays]
        for loop in range(_core.N_LOOPS):
            for array, start in zip(arrays, starts, strict=True):
                array[:] = start
            _core.move(source, arrays, threads, loop)
            for array, kind, wanted in zip(arrays, bits, expected, strict=True):
                np.testing.assert_array_equal(array.view(kind), wanted)


def test_limit_does_not_change_the_arrays():
    _, arrays = bound("adam", 40_000, 2)
    arrays[0][:3] = np.nan, -0.0, np.inf
    before = [array.tobytes() for array in arrays]
    limit(arrays, 2)()
    for call in limits(arrays, 2):
        call()
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_loops_go_over_the_arrays_of_the_step_and_over_aligned_copies(dtype):
    _, arrays = bound("amsgrad", 5000, 1, dtype)
    calls = limits(arrays, 1)
    assert len(calls) == 2 * _core.N_LOOPS
    assert [call.args[3] for call in calls] == 2 * list(range(_core.N_LOOPS))
    for call in calls[_core.N_LOOPS :]:
        assert all(a is b for a, b in zip(call.args[1], arrays, strict=True))
    for call in calls[: _core.N_LOOPS]:
        copies = [call.args[0], *call.args[1]]
        assert [copy.ctypes.data % 64 for copy in copies] == [0] * 5
        assert len({copy.ctypes.data % 4096 for copy in copies}) == 5
        for copy, array in zip(copies[1:], arrays, strict=True):
            assert copy.tobytes() == array.tobytes()


def test_the_fastest_call_has_the_least_median():
    assert fastest([(1.0, 3.0, 2.0), (9.0, 3.0, 2.0), (9.0, 0.1, 2.5)]) == 2
    calls = [lambda: sum(range(20_000)), lambda: None, lambda: sum(range(9000))]
    assert fastest(together(calls, rounds=5, times=3)) == 1


@pytest.mark.parametrize(
    ("source", "arrays"),
    [
        (np.zeros(4, np.int32), [np.zeros(4, np.int32)]),
        (np.zeros(8)[::2], [np.zeros(4)]),
        (np.zeros(4), []),
        (np.zeros(4), [np.zeros(4)] * 6),
        (np.zeros(4), [np.zeros(5)]),
        (np.zeros(4), [np.zeros(4), np.zeros(4, np.float32)]),
        (np.zeros(4, np.float16), [np.zeros(4, np.float16)] * 2),
        (np.zeros(4), [np.broadcast_to(0.0, 4)]),
    ],
)
def test_move_refuses_unsupported_arrays(source, arrays):
    with pytest.raises(FastoptError, match="not of the form needed"):
        _core.move(source, arrays, 1)


@pytest.mark.parametrize("loop", [-1, _core.N_LOOPS])
def test_move_refuses_an_unknown_loop(loop):
    with pytest.raises(FastoptError, match="not of the form needed"):
        _core.move(np.zeros(4), [np.zeros(4)], 1, loop)


def test_moved_counts_the_bytes_of_a_step():
    for rule, dtype, n_bytes in (
        ("sgd", "float32", 4 + 8),
        ("adam", "float32", 4 + 24),
        ("amsgrad", "float64", 8 + 64),
        ("adamw", "bfloat16", 2 + 4 + 16),
        ("adan", "float32", 4 + 40),
        ("lamb", "float32", 28 + 16),
        ("lars", "float32", 20 + 8),
        ("stable_adamw", "float32", 28 + 8),
        ("lamb", "bfloat16", 22 + 4 + 8),
    ):
        _, arrays = bound(rule, 100, 1, dtype)
        assert moved(rule, arrays) == 100 * n_bytes
    assert scale("adan", arrays) == 1
    assert scale("lamb", arrays) == (22 + 12) / 22


def test_calls_are_timed_alternately():
    calls = []
    rounds = paired(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3, times=2)
    assert "".join(calls) == "ab" + "aaabbb" * 3  # before each is timed, it is called once
    assert len(rounds) == 3
    slow = ratio(lambda: sum(range(20_000)), lambda: None, rounds=5, times=3)
    assert slow > 10


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_an_optimizer_with_the_right_number_of_states(rule):
    opt, arrays = bound(rule, 50, 1, "float64")
    before = arrays[0].copy()
    for _ in range(6):  # the first steps of ADOPT and of Schedule-Free RAdam move nothing
        opt.step()
    assert not np.array_equal(arrays[0], before)
    assert len(arrays) == 1 + len(opt.param_groups[0].state_names)


# The command


def test_json_and_picture(tmp_path, capsys):
    assert main([*SMALL, "--json", "--out", str(tmp_path), "--threads", "1,2"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.err == ""
    assert not result["interrupted"]
    assert result["settings"] == {"size": 3000, "dtype": "float32", "rounds": 3}
    assert [(r["threads"], r["rule"]) for r in result["results"]] == [
        (n, rule) for n in (1, 2) for rule in DEFAULT_RULES
    ]
    for found in result["results"]:
        assert len(found["rounds"]) == 3
        loops, steps = (sorted(r[name] for r in found["rounds"]) for name in ("limit", "step"))
        assert (found["limit_seconds"], found["seconds"]) == (loops[1], steps[1])
        assert found["gigabytes_per_second"] == pytest.approx(found["bytes"] / steps[1] / 1e9)
        shares = sorted(r["limit"] / r["step"] for r in found["rounds"])
        assert found["share"] == pytest.approx(shares[1])
        assert found["share_quartiles"][0] <= found["share"] <= found["share_quartiles"][1]
    assert result["versions"]["fastopt"] == fastopt.__version__
    assert result["versions"]["instruction_set"] == _core.isa()
    picture = tmp_path / "bench.png"
    assert result["picture"] == str(picture)
    assert b"fastopt bench" in picture.read_bytes()[:1000]


def test_table_fits_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    args = ["--rules", "adam,RMSPROP_centered_momentum", "--dtype", "bfloat16", "--threads", "2"]
    assert main([*SMALL, *args, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "3,000 elements, bfloat16" in lines[1]
    assert any(line.startswith("Memory limit, 2 threads: ") for line in lines)
    cells = [line.split() for line in lines if line.startswith((" adam", " rmsprop"))]
    assert [row[0] for row in cells] == ["adam", "rmsprop_centered_momentum"]
    assert all(float(cell) > 0 for row in cells for cell in row[1:5])
    assert "FASTOPT_SERIAL_BELOW" in "".join(lines)


def test_table_is_printed_even_if_the_picture_cannot_be_written(tmp_path, capsys, monkeypatch):
    def fail(*_args):
        raise OSError("No space left on device")

    monkeypatch.setattr("fastopt.cli.bench.picture.draw", fail)
    assert main([*SMALL, "--rules", "sgd", "--threads", "1", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "\n sgd " in printed.out
    assert printed.err == "fastopt bench: error: No space left on device\n"


def test_ctrl_c_shows_the_measured_rules(tmp_path, capsys, monkeypatch):
    def interrupt(rule, size, threads, dtype):
        if (rule, threads) == ("momentum", 2):
            raise KeyboardInterrupt
        return bound(rule, size, threads, dtype)

    monkeypatch.setattr("fastopt.cli.bench.command.bound", interrupt)
    args = [*SMALL, "--rules", "sgd,momentum,adam", "--threads", "1,2", "--out", str(tmp_path)]
    assert main(args) == 130
    printed = capsys.readouterr()
    rules = [line.split()[0] for line in printed.out.splitlines() if line.strip()]
    assert [rule for rule in rules if rule in RULES] == ["sgd", "momentum", "adam", "sgd"]
    assert printed.err == "Interrupted; not measured (rule x threads): momentum x 2, adam x 2\n"
    assert (tmp_path / "bench.png").exists()
    assert main([*args, "--json"]) == 130
    result = json.loads(capsys.readouterr().out)
    assert result["interrupted"]
    assert len(result["results"]) == 4


def test_ctrl_c_before_the_first_rule_prints_nothing(tmp_path, capsys, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastopt.cli.bench.command.bound", interrupt)
    assert main([*SMALL, "--rules", "sgd", "--threads", "1", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "Interrupted; not measured (rule x threads): sgd x 1\n"
    assert not (tmp_path / "bench.png").exists()


def test_table_on_a_narrow_terminal_continues_below(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    args = ["--rules", "adam,rmsprop_centered_momentum", "--threads", "1"]
    assert main([*SMALL, *args, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 40
    assert "…" not in "".join(lines)
    cells = [line.split()[1:] for line in lines if line.startswith(" adam")]
    assert len(cells) > 1
    assert sum(map(len, cells)) == 6


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--rules", "adam,adm"], "--rules has 'adm'; allowed: sgd, momentum"),
        (["--size", "1e17"], "--size is 100,000,000,000,000,000; 13 arrays"),
        (["--size", "1e30"], "do not fit into memory"),
        (["--threads", "1,4096"], "--threads has 4096; allowed: at most "),
    ],
)
def test_bad_arguments(args, message, tmp_path, capsys):
    assert main([*SMALL, *args, "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--size", "0"], "'0' is not a whole number >= 1"),
        (["--size", "1.5"], "'1.5' is not a whole number >= 1"),
        (["--size", "inf"], "'inf' is not a whole number >= 1"),
        (["--threads", "1,x"], "'x' is not a whole number >= 1"),
        (["--dtype", "int8"], "int8"),
    ],
)
def test_bad_usage(args, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", *args])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bar_that_is_cut_off_is_marked(tmp_path, monkeypatch):
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda self, x, y, s, **more: texts.append(s) or text(self, x, y, s, **more)
    )
    results = [
        Result(rule, 1, 100, [(loop, 1.0)] * 3) for rule, loop in (("sgd", 1.62), ("adam", 1.0))
    ]
    draw(tmp_path / "a.png", results, {"size": 100, "dtype": "float32"})
    assert [shown for shown in texts if "cut off" in shown] == ["cut off: 1.62"]


def test_other_pictures_are_not_overwritten(tmp_path, capsys):
    picture = tmp_path / "bench.png"
    picture.write_bytes(b"mine")
    assert main([*SMALL, "--out", str(tmp_path)]) == 2
    assert "was not drawn by fastopt bench" in capsys.readouterr().err
    assert picture.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("missing", "extra"), [("matplotlib", "race"), ("rich", "race"), ("ml_dtypes", "bfloat16")]
)
def test_missing_extra_is_named(missing, extra, tmp_path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from fastopt.cli import main; "
        f"sys.exit(main({[*SMALL, '--dtype', 'bfloat16']}))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == (
        f"fastopt bench: error: {missing} is not installed; from a checkout: "
        f"pip install '.[{extra}]'\n"
    )

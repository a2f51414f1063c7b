"""The `fastopt` command: its arguments, `--help`, `--version` and `fastopt info`."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastopt
from fastopt.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "COMMAND"),
        (["walk"], "walk"),
        (["race", "--epochs", "0"], "'0' is not a whole number >= 1"),
        (["race", "--batch-size", "1.5"], "'1.5' is not a whole number >= 1"),
        (["race", "--seed", "-1"], "--seed"),
        (["race", "--lr", "nan"], "'nan' is not a finite number above 0"),
        (["race", "--lr", "fast"], "'fast' is not a finite number above 0"),
        (["race", "--model", "tree"], "tree"),
    ],
)
def test_bad_usage(capsys, args, message):
    with pytest.raises(SystemExit) as left:
        main(args)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("FASTOPT_NUM_THREADS", "3")
    assert main(["info"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastopt"].startswith(fastopt.__version__)
    assert lines["numpy"] == np.__version__
    assert fastopt._core.isa() in lines["instruction"]
    assert "-ffp-contract=off" in lines["build"]
    assert lines["threads"].startswith("3;")
    assert lines["FASTOPT_NUM_THREADS"] == "3"


def test_hints_name_a_command_that_works_from_a_checkout():
    """There is no release on PyPI, so that `pip install fastopt[...]` would fail."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    hints = {
        hint
        for path in Path(fastopt.__file__).parent.rglob("*.py")
        for hint in re.findall(r"pip install ([^\"`)\n]+)", path.read_text())
    }
    allowed = {f"'.[{extra}]'" for extra in extras} | {"'.[{extra}]'"}
    assert hints
    assert hints <= allowed


def test_info_needs_no_extra():
    code = (
        "import sys\nfor name in ('matplotlib', 'rich', 'sklearn'): sys.modules[name] = None\n"
        "from fastopt.cli import main; sys.exit(main(['info']))"
    )
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_version_and_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for args, words in (
        (["--version"], [f"fastopt {fastopt.__version__}"]),
        (["--help"], ["race", "bench", "fit", "predict", "info"]),
        (["bench", "--help"], ["--size", "--json", "bench.png"]),
        (["fit", "--help"], ["--target", "--impute", "--formula", "fit.png"]),
        (["predict", "--help"], ["MODEL", "--interval", "--out"]),
        (["race", "--help"], ["--target", "--json", "race.png"]),
    ):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
        assert max(map(len, out.splitlines())) <= 80

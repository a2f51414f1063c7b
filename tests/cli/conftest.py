"""Fixtures of the tests of `fastopt race`."""

import json

import pytest
from race_cases import table, write_csv

from fastopt.cli import main


@pytest.fixture
def csv_file(tmp_path):
    return write_csv(tmp_path / "data.csv", table())


@pytest.fixture
def race(tmp_path, capsys):
    """Run `fastopt race ... --json`; return the code and the object printed."""

    def run(*args):
        code = main(["race", *args, "--json", "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        assert printed.err == "" or code == 130
        return code, json.loads(printed.out)

    return run

"""The examples on the pages of the documentation run."""

import subprocess
import sys

import pytest
from documentation import ROOT, pages, run_page


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("name", ["ddp.py", "fsdp.py"])
def test_two_processes(name):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = ROOT / "docs" / "start" / name
    done = subprocess.run(
        [sys.executable, "-P", *launch, script], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) < 0.2

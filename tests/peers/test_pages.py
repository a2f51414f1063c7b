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
    command = [sys.executable, "-P", *launch, ROOT / "docs" / "start" / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if "terminate called without an active exception" in done.stderr:
        # With PyTorch 2.13 the threads of gloo outlive destroy_process_group, with torch.optim as
        # well, and can abort a process that exits (pytorch/pytorch#190489): once in 100 runs here.
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) < 0.2

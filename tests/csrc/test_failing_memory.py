"""A failed allocation raises MemoryError and changes nothing; see tests/failing_memory.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs LD_PRELOAD of Linux")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer replaces malloc already")
def test_every_failed_allocation_raises_memory_error(tmp_path):
    compiler = shutil.which("cc") or shutil.which("clang")
    assert compiler, "a C compiler is needed"
    library, source = str(tmp_path / "failing_memory.so"), str(TESTS / "failing_memory.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider",
         str(TESTS / "failing_memory.py")],
        env={**os.environ, "LD_PRELOAD": library},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

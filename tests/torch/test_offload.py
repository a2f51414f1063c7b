"""Run the tests of CPUOffload, offload_on_fake_device.py, in a process with a fake device.

A device must be registered before the first backward pass of a process, and cannot be removed.
Tests of other files would take it for the accelerator of the machine.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("offload_on_fake_device.py")


def test_on_a_fake_device():
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)],
        capture_output=True,
        text=True,
        cwd=TESTS.parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout

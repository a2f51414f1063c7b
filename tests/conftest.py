"""The environment of all tests."""

import importlib.util
import os
import signal
import sys

# Steps of moderate size are parallel, so that threads are tested without large arrays.
os.environ["FASTOPT_SERIAL_BELOW"] = "20000"

# A shell makes background jobs ignore Ctrl-C, which some tests send to themselves.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class NoEmptyTorch:
    """Without PyTorch, `import torch` would find tests/torch, as a package without modules."""

    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


found = importlib.util.find_spec("torch")
if found is not None and found.origin is None:
    sys.meta_path.insert(0, NoEmptyTorch())

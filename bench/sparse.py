"""Gradients of some rows of a matrix, by fastopt, PyTorch and plain C: python -m bench.sparse.

This is `python -m bench.peers --cases sparse` and takes the other options of that command.
"""

import sys

from bench.peers.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--cases", "sparse"]
    sys.exit(main())

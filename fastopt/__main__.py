"""Run the `fastopt` command as ``python -m fastopt``."""

import sys

from fastopt.cli import main

if __name__ == "__main__":
    sys.exit(main())

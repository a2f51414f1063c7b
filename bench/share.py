"""The share of the memory limit that each rule reaches, over several processes.

python -m bench.share [--sizes 1e7] [--processes 5]
"""

import argparse
import json
import statistics
import subprocess
import sys

import fastopt._core as core
from fastopt.cli.bench.steps import RULES, bound, limit, ratio, scale
from fastopt.cli.text import counted


def share(rule: str, size: int, threads: int, dtype: str = "float32", **extras: str) -> float:
    """Return the time of the limit divided by that of the step, in this process."""
    opt, arrays = bound(rule, size, threads, dtype, **extras)
    times = max(1, 2_000_000 // size)
    found = ratio(limit(arrays, threads), opt.step, rounds=9 if size > 2e7 else 15, times=times)
    return scale(rule, arrays) * found


def main() -> None:
    """Print the median and range over processes, since the arrays' addresses affect the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1e5,1e6,1e7,5e7")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounding", default="nearest")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    sizes = [int(float(size)) for size in options.sizes.split(",")]
    threads = [int(count) for count in options.threads.split(",")]
    rules = options.rules.split(",")

    if options.processes == 0:  # this is one of the processes that are started below
        extras = {"dtype": options.dtype, "rounding": options.rounding}
        found = [[share(r, n, k, **extras) for k in threads for n in sizes] for r in rules]
        print(json.dumps(found))
        return
    command = [sys.executable, "-m", "bench.share", *sys.argv[1:], "--processes", "0"]
    runs = []
    for _ in range(options.processes):
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(json.loads(out))
    print(f"share of the memory limit, {options.dtype}, rounded {options.rounding}, {core.isa()}:")
    processes = counted(options.processes, "process", "processes")
    print(f"median (lowest-highest) of {processes}, each the median of its paired ratios")
    heads = [f"{n:.0e} x {k}t" for k in threads for n in sizes]
    print(f"{'rule':26}" + "".join(f"{head:>19}" for head in heads))
    for i, rule in enumerate(rules):
        cells = []
        for j in range(len(heads)):
            values = [run[i][j] for run in runs]
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
        print(f"{rule:26}" + "".join(f"{cell:>19}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()

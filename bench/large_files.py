"""Time and memory of fits of large files: python -m bench.large_files.

A parquet file, a memory-mapped array and a comma-separated file are written to a temporary
directory, and deleted at the end.  Each fit runs in a separate process, which prints its time and
the most memory that was resident (`VmHWM`), with that after the imports.  It needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np

COLUMNS = 24
CHUNK = 2**18  # rows that are written at a time
FITS = {
    "parquet": 'GLMRegressor("binomial").fit("x.parquet", y="y")',
    "parquet, formula": (
        'GLMRegressor("binomial", formula="y ~ x0 + x1 * x2 + C(place)").fit("x.parquet")'
    ),
    "fastopt fit, parquet": 'command("fit x.parquet --target y --family binomial")',
    "memory map": (
        'GLMRegressor("binomial").fit(np.load("x.npy", mmap_mode="r"),'
        ' np.load("y.npy", mmap_mode="r"))'
    ),
    "text, a tenth": (
        'GLMRegressor("binomial").fit(lambda: pandas.read_csv("x.csv", chunksize=20_000), y="y")'
    ),
}


def write(folder: Path, rows: int, map_bytes: float) -> None:
    """Write the files; the parquet file has as many rows as given, the map as many bytes."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{j}" for j in range(COLUMNS)]
    coef = np.random.default_rng(0).normal(size=COLUMNS) / COLUMNS**0.5
    kinds = [("y", pa.float64()), *((name, pa.float64()) for name in names)]
    schema = pa.schema([*kinds, ("place", pa.int8())])

    def part(first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(first + 1)
        x = rng.normal(size=(n, COLUMNS))
        return x, (rng.random(n) < 1 / (1 + np.exp(-x @ coef - 0.5))).astype(float)

    with pq.ParquetWriter(folder / "x.parquet", schema) as file:
        for first in range(0, rows, CHUNK):
            x, y = part(first, min(CHUNK, rows - first))
            place = np.arange(len(y), dtype=np.int8) % 3
            file.write_table(pa.table([y, *x.T, place], schema=schema))
            if first <= rows // 10:
                pd.DataFrame(x, columns=names).assign(y=y).to_csv(
                    folder / "x.csv", mode="a", header=first == 0, index=False, float_format="%.6g"
                )
    n = int(map_bytes / 8 / COLUMNS)
    open_map = np.lib.format.open_memmap
    for first in range(0, n, CHUNK):
        mode = "r+" if first else "w+"
        x_map = open_map(folder / "x.npy", mode, np.float64, (n, COLUMNS))
        y_map = open_map(folder / "y.npy", mode, np.float64, (n,))
        own = slice(first, min(first + CHUNK, n))
        x_map[own], y_map[own] = part(first, own.stop - first)
        del x_map, y_map


def command(arguments: str) -> SimpleNamespace:
    """Run the command `fastopt fit`, and return its figures as an estimator has them."""
    from fastopt.cli import main

    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        assert main(arguments.split()) == 0
    result = json.loads(Path("fit.json").read_text())
    fitted = SimpleNamespace(n=result["data"]["rows"])
    return SimpleNamespace(n_iter_=result["fit"]["iterations"], fitted_=fitted)


def fit(expression: str) -> None:
    """Run a fit in this process, and print its figures."""
    import pandas

    from fastopt.estimators import GLMRegressor

    def megabytes() -> float:
        # Not ru_maxrss, which has the memory of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024

    imports, began = megabytes(), time.perf_counter()
    known = {"GLMRegressor": GLMRegressor, "np": np, "pandas": pandas, "command": command}
    model = eval(expression, known)
    print(json.dumps({
        "seconds": time.perf_counter() - began,
        "imports": imports,
        "megabytes": megabytes(),
        "rounds": model.n_iter_,
        "rows": model.fitted_.n,
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=5e6, help="rows of the parquet file")
    parser.add_argument("--map-bytes", type=float, default=4e9, help="bytes of the memory map")
    parser.add_argument("--directory", help="where a temporary directory is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        write(Path(folder), int(options.rows), options.map_bytes)
        sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
        print("MB of the files:", {name: round(size / 1e6) for name, size in sizes.items()})
        print(f"{'':22}{'rows':>10}{'rounds':>8}{'seconds':>9}{'MiB':>6}{'of which imports':>18}")
        for name, expression in FITS.items():
            shown = subprocess.run(
                [sys.executable, "-c", f"import bench.large_files as b; b.fit({expression!r})"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
                cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            got = json.loads(shown.stdout)
            print(
                f"{name:22}{got['rows']:>10}{got['rounds']:>8}{got['seconds']:>9.1f}"
                f"{got['megabytes']:>6.0f}{got['imports']:>18.0f}"
            )


if __name__ == "__main__":
    main()

"""fastopt and other libraries: python -m bench.peers [--quick] [--cases one,ksgd] [--write].

One table and one picture: fastopt and fastopt.torch, NumPy with out=, torch (default, foreach,
fused), optax (jitted, with donated buffers), DeepSpeed's CPUAdam, SciPy's BLAS, padasip and
statsmodels, with the time of a loop that moves the same bytes. The cases "glm" fit tables, with
fastopt.estimators, scikit-learn, statsmodels, glum and river, and have the memory of a fit, too.
The table says which libraries are not installed; to install them:

    pip install -e '.[bench,peers]' deepspeed ninja     (DeepSpeed compiles CPUAdam on first use)

--write replaces bench/RESULTS.md and bench/results.png.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.peers.cases import CASES, FASTOPT, GROUPS, LIMIT, Case
from bench.peers.libraries import library_of
from bench.peers.report import write
from bench.peers.results import Row, print_table
from bench.peers.workers import FailedError, Worker
from fastopt.cli.arguments import wholes
from fastopt.cli.text import counted

PAUSE = 0.01  # seconds between turns, since threads of the previous library may still spin
LEAST, MOST = 5, 11  # rounds
LEAST_OF_TABLES = 2  # some libraries take several seconds for a table
DIFFERS = "differs"  # the failure of a library whose parameters differ from those of fastopt


@dataclass
class Team:
    """The processes for one number of threads; each is started on first use."""

    threads: int
    workers: dict[str, Worker] = field(default_factory=dict)

    def worker(self, library: str) -> Worker:
        if library not in self.workers:
            self.workers[library] = Worker(library, self.threads)
        return self.workers[library]

    def stop(self, library: str) -> None:
        self.workers.pop(library).stop()

    def measure(self, case: Case, budget: float) -> Iterator[Row]:
        """Yield the times of each library.

        If the memory does not hold all libraries, groups of them are measured one after the
        other; fastopt and the limit are in every group.  For tables, a group has one library, so
        that slow ones do not take the time of others.
        """
        names = [name for name in library_of(case) if name not in (FASTOPT, LIMIT)]
        always = [name for name in library_of(case) if name not in names]
        room = max(1, int(0.7 * available_memory() / max(1, case.bytes)) - len(always))
        if case.rows:
            room = 1
        for begin in range(0, len(names), room):
            some = names[begin : begin + room]
            rows = self._rounds(case, always + some, budget * (len(some) + 1) / len(names))
            yield from (row for row in rows if begin == 0 or row.library in some)

    def _rounds(self, case: Case, libraries: list[str], budget: float) -> list[Row]:
        failed, memory = self._set_up(case, libraries)
        least = LEAST_OF_TABLES if case.rows else LEAST
        taking_part = [name for name in libraries if name not in failed]
        times: list[dict[str, float]] = []
        end = time.monotonic() + budget
        while len(times) < least or (len(times) < MOST and time.monotonic() < end):
            random.shuffle(taking_part)
            times.append({})
            for name in taking_part:
                time.sleep(PAUSE)
                try:
                    times[-1][name] = self.workers[name].run()
                except FailedError as failure:
                    failed[name] = str(failure)
            for name in set(taking_part) & failed.keys():
                taking_part.remove(name)
        for name in libraries:
            self.workers[name].drop()
            if failed.get(name, "").startswith("process"):
                self.stop(name)  # the next case starts a new process
        return [
            Row(case, name, self.threads, times, failed.get(name), memory.get(name))
            for name in libraries
        ]

    def _set_up(
        self, case: Case, libraries: list[str]
    ) -> tuple[dict[str, str], dict[str, float | None]]:
        """Set up a case in all processes at once; return the failures, and memory, by library."""
        failed, memory, found = {}, {}, {}
        for name in libraries:
            self.worker(name).start(case)
        for name in libraries:
            try:
                found[name] = self.workers[name].finish()
            except FailedError as failure:
                failed[name] = str(failure)
        for name in found:
            try:
                memory[name] = self.workers[name].calibrate()
            except FailedError as failure:
                failed[name] = str(failure)
        truth = found.get(FASTOPT)
        for name, there in found.items():
            if truth is not None and there is not None and not same(case, truth, there):
                failed[name] = DIFFERS
        return failed, memory


def same(case: Case, ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether the parameters of two libraries are equal, up to errors.

    Those of a step started at 0.1 and are float32.
    """
    if case.rows:
        return bool(np.abs(ours - theirs).max() <= case.tolerance)
    return bool(np.allclose(ours - 0.1, theirs - 0.1, rtol=0.05, atol=2e-8))


def available_memory() -> int:
    """Return the bytes of memory that are available according to Linux."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def main() -> int:
    """Measure and print, and write files with --write; return 1 if a library differs."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", default=",".join(GROUPS), metavar="A,B,...",
                        help=f"of {', '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--threads", type=wholes(1), default=(1, 2), metavar="N,M,...")
    parser.add_argument("--quick", action="store_true", help="small cases, few rounds")
    parser.add_argument(
        "--write", action="store_true", help="write bench/RESULTS.md and its picture"
    )
    options = parser.parse_args()
    groups = options.cases.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"--cases has {', '.join(sorted(unknown))}; allowed: {', '.join(GROUPS)}")
    cases = [c for c in CASES if c.group in groups and (c.is_quick or not options.quick)]

    random.seed(0)
    began, rows = time.monotonic(), []
    for threads in options.threads:
        team = Team(threads)
        for case in cases:
            print(f"{time.monotonic() - began:4.0f} s: {counted(threads, 'thread')}, {case.name}",
                  file=sys.stderr, flush=True)  # fmt: skip
            rows += team.measure(case, 0.5 if options.quick else 3.0)
        for name in list(team.workers):
            team.stop(name)
    took = time.monotonic() - began
    print_table(rows)
    if options.write:
        write(rows, shlex.join(["python", "-m", "bench.peers", *sys.argv[1:]]), took)
    return int(any(row.failure == DIFFERS for row in rows))


if __name__ == "__main__":
    sys.exit(main())
